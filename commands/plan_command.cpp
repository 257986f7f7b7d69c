// ropesweep plan: what a sweep will compute, what it costs, and what can't be scheduled and why.
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <unordered_set>

#include "commands/options.h"
#include "commands/sweep_inputs.h"
#include "coordinator/cost_model.h"
#include "coordinator/simulation.h"
#include "experiments/error.h"
#include "experiments/memory_plan.h"
#include "experiments/position_encoding.h"
#include "storage/store.h"
#include "worker/llama/config.h"

namespace ropesweep::commands {
namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

constexpr double kGigabyte = 1e9;

struct Problem {
  std::string cell, reason;
};

struct Plan {
  int64_t all = 0, finished = 0, to_do = 0;
  std::vector<FineTune> fine_tunes;  ///< of this sweep
  std::vector<std::string> notes;
  TaskPool tasks;
  std::vector<Problem> problems;
  double flops = 0, device_seconds = 0, memory_bytes = 0;
  std::string memory_text;  ///< of the fine-tune that needs the most
  int64_t gpus_per_task = 1;
};

StoreContents contents_of(const fs::path& store) {
  return fs::exists(store) || fs::exists(store_directory(store)) ? read_store(store)
                                                                 : StoreContents{};
}

/// Tasks above the sweep's memory limit, and the cells that wait for what failed earlier.
std::vector<Problem> find_problems(const SweepInputs& inputs, const TaskPool& tasks,
                                   const StoreContents& contents) {
  std::vector<Problem> problems;
  std::map<std::string, std::string> failed;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.status == "failed" || record.status == "diverged" || record.status == "skipped") {
      failed[record.fine_tune.id] = record.status + ": " + record.failure;
    }
  }
  const double limit = inputs.sweep.limits.memory_bytes;
  std::map<std::string, const FineTune*> fine_tunes;
  for (const FineTune& fine_tune : inputs.grid.fine_tunes) fine_tunes[fine_tune.id] = &fine_tune;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task task = tasks[i];
    std::string reason;
    if (limit > 0 && task.memory_bytes > limit) {
      reason = fmt::format("needs {:.1f} GB of memory, and the sweep's limit is {:.1f} GB",
                           task.memory_bytes / kGigabyte, limit / kGigabyte);
    }
    for (const std::string& need : task.needs) {
      if (const auto found = failed.find(need); found != failed.end()) {
        reason = fmt::format("fine-tune {} {}", need, found->second);
      }
    }
    if (!reason.empty() && task.kind == TaskKind::evaluation) {
      for (const Cell& cell : task.cells) {
        problems.push_back({cell.id, reason});
      }
    } else if (!reason.empty()) {
      for (const std::string& cell : fine_tunes.at(task.id)->shared_by) {
        problems.push_back({cell, fmt::format("fine-tune {}: {}", task.fine_tune.id, reason)});
      }
    }
  }
  return problems;
}

/// How the fine-tune that needs the most fits into the sweep's memory limit.
std::string memory_of_largest_fine_tune(const SweepInputs& inputs, const TaskPool& tasks) {
  std::optional<Task> largest;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks.kind(i) != TaskKind::fine_tune) continue;
    Task task = tasks[i];
    if (!largest || task.memory_bytes > largest->memory_bytes) largest = std::move(task);
  }
  if (!largest) return "";
  const llama::Config config = llama::read_config(
      largest->weights.empty() ? largest->fine_tune.recipe.init : largest->model);
  const auto positions = make_position_encoding(largest->scheme, largest->scale, config.rotary);
  return plan_memory(llama::geometry_of(config), largest->fine_tune.recipe,
                     inputs.sweep.workers.type, inputs.sweep.limits.memory_bytes,
                     inputs.sweep.workers.device != "cpu", inputs.sweep.workers.gpus_per_task,
                     positions->attention_rule())
      .text();
}

Plan make_plan(const SweepInputs& inputs) {
  const StoreContents contents = contents_of(inputs.store);
  Plan plan;
  plan.all = static_cast<int64_t>(inputs.grid.cells.size());
  plan.fine_tunes = inputs.grid.fine_tunes;
  plan.notes = inputs.grid.notes;
  plan.tasks = remaining_tasks(inputs, contents);
  std::unordered_set<std::string> wanted;
  for (const Cell& cell : inputs.grid.cells) {
    if (!contents.cells.empty()) wanted.insert(cell.id);
  }
  for (const CellRecord& record : contents.cells) {
    if (wanted.contains(record.cell.id) &&
        (record.status == "finished" || record.status == "diverged")) {
      ++plan.finished;
    }
  }
  plan.problems = find_problems(inputs, plan.tasks, contents);
  std::set<std::string> impossible;
  for (const Problem& problem : plan.problems) {
    impossible.insert(problem.cell);
  }
  for (const CellRecord& record : contents.cells) {
    if (wanted.contains(record.cell.id) &&
        (record.status == "failed" || record.status == "skipped") &&
        impossible.insert(record.cell.id).second) {
      plan.problems.push_back({record.cell.id, record.status + ": " + record.failure +
                                                   " (ropesweep rerun marks it to run again)"});
    }
  }
  plan.to_do = plan.all - plan.finished - static_cast<int64_t>(impossible.size());
  plan.gpus_per_task = inputs.sweep.workers.gpus_per_task;
  const CostModel costs;
  for (size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task task = plan.tasks[i];
    plan.flops += task.flops;
    plan.device_seconds += costs.seconds(task) * static_cast<double>(plan.gpus_per_task);
    plan.memory_bytes = std::max(plan.memory_bytes, task.memory_bytes);
  }
  plan.memory_text = memory_of_largest_fine_tune(inputs, plan.tasks);
  return plan;
}

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json json;
  json["cells"] = {{"all", plan.all},
                   {"finished", plan.finished},
                   {"to_do", plan.to_do},
                   {"impossible", plan.all - plan.finished - plan.to_do}};
  json["fine_tunes"] = nlohmann::json::array();
  for (const FineTune& fine_tune : plan.fine_tunes) {
    json["fine_tunes"].push_back({{"id", fine_tune.id},
                                  {"recipe", fine_tune.recipe.name},
                                  {"scheme", fine_tune.scheme},
                                  {"train_scale", fine_tune.train_scale},
                                  {"seed", fine_tune.seed},
                                  {"shared_by", fine_tune.shared_by}});
  }
  json["tasks"] = plan.tasks.size();
  json["flops"] = plan.flops;
  json["device_hours"] = plan.device_seconds / 3600;
  json["memory_bytes"] = plan.memory_bytes;
  if (!plan.memory_text.empty()) json["memory_of_largest_fine_tune"] = plan.memory_text;
  json["problems"] = nlohmann::json::array();
  for (const Problem& problem : plan.problems) {
    json["problems"].push_back({{"cell", problem.cell}, {"reason", problem.reason}});
  }
  json["notes"] = plan.notes;
  return json;
}

void print_table(const Plan& plan) {
  fmt::memory_buffer text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "cells         {} in all, {} finished, {} to do, {} impossible\n", plan.all,
                 plan.finished, plan.to_do, plan.all - plan.finished - plan.to_do);
  fmt::format_to(
      out, "tasks         {}{}\n", plan.tasks.size(),
      plan.gpus_per_task == 1 ? "" : fmt::format(", on {} GPUs each", plan.gpus_per_task));
  fmt::format_to(out, "work          {:.3g} FLOPs, about {:.2g} device hours at {:.0f} GFLOP/s\n",
                 plan.flops, plan.device_seconds / 3600, CostModel::kPriorRate / 1e9);
  fmt::format_to(out, "memory        {:.2g} GB for the largest task\n",
                 plan.memory_bytes / kGigabyte);
  if (!plan.memory_text.empty()) {
    fmt::format_to(out, "              the largest fine-tune: {}{}\n", plan.memory_text,
                   plan.gpus_per_task == 1 ? "" : ", of each GPU");
  }
  if (!plan.fine_tunes.empty()) {
    fmt::format_to(out, "\n{:<20}  {:<20} {:<20} {:>5} {:>4}  {}\n", "fine-tune", "recipe",
                   "scheme", "scale", "seed", "cells that share it");
    for (const FineTune& fine_tune : plan.fine_tunes) {
      fmt::format_to(out, "{:<20}  {:<20} {:<20} {:>5} {:>4}  {}\n", fine_tune.id,
                     fine_tune.recipe.name, fine_tune.scheme, fine_tune.train_scale, fine_tune.seed,
                     fine_tune.shared_by.size());
    }
  }
  for (const std::string& note : plan.notes) {
    fmt::format_to(out, "note: {}\n", note);
  }
  for (const Problem& problem : plan.problems) {
    fmt::format_to(out, "cell {}: {}\n", problem.cell, problem.reason);
  }
  std::cout << fmt::to_string(text);
}

/// "1,2,4" → numbers. Errors: user error.
std::vector<int64_t> worker_counts(const std::string& text) {
  std::vector<int64_t> counts;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int64_t count = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), count);
    if (error != std::errc{} || end != part.data() + part.size()) {
      throw_user_error("--simulate {}: \"{}\" is no number of workers, e.g. 4 or 1,2,4,8", text,
                       part);
    }
    if (count < 1) throw_user_error("--simulate {}: at least one worker", text);
    counts.push_back(count);
  }
  return counts;
}

/// One row for each number of workers; JSON with a number of seconds for each column.
nlohmann::json simulate_plan(const Plan& plan, const std::vector<int64_t>& counts, bool print) {
  nlohmann::json rows = nlohmann::json::array();
  if (print) {
    std::cout << fmt::format("\n{:>8}  {:>10}  {:>11}  {:>13}  {:>12}  {:>5}\n", "workers",
                             "makespan s", "lower bound", "longest chain", "work / teams", "idle");
  }
  const std::vector<ScheduledTask> tasks = scheduled_tasks(plan.tasks, CostModel{});
  for (const int64_t workers : counts) {
    SimulationOptions options;
    options.workers = workers / plan.gpus_per_task;
    const Simulation simulation = simulate(tasks, options);
    rows.push_back({{"workers", workers},
                    {"makespan_seconds", simulation.makespan},
                    {"lower_bound_seconds", simulation.bounds.best()},
                    {"critical_path_seconds", simulation.critical_path},
                    {"work_seconds", simulation.total_seconds},
                    {"idle_share", simulation.idle_share}});
    if (print) {
      std::cout << fmt::format("{:>8}  {:>10.0f}  {:>11.0f}  {:>13.0f}  {:>12.0f}  {:>3.0f} %\n",
                               workers, simulation.makespan, simulation.bounds.best(),
                               simulation.critical_path,
                               simulation.total_seconds / static_cast<double>(options.workers),
                               100 * simulation.idle_share);
    }
  }
  return rows;
}

}  // namespace

int plan_command(const Arguments& arguments) {
  std::string sweep, store, format, simulated;
  bool without_data = false;
  po::options_description options("Options");
  auto add = options.add_options();
  add("sweep", po::value(&sweep)->required()->value_name("SWEEP"), sweep_help().c_str());
  add("store", po::value(&store)->value_name("S"), kStoreHelp);
  add("simulate", po::value(&simulated)->value_name("N,…"),
      "makespan on N workers, its lower bound and their idle share, for each N");
  add("without-data", po::bool_switch(&without_data),
      "plan though data files are not there yet (of a model, config.json and tokenizer suffice)");
  add("format", po::value(&format)->default_value("table")->value_name("F"), "table | json");
  po::positional_options_description positional;
  positional.add("sweep", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep plan SWEEP [options]", options, positional, values)) {
    return 0;
  }
  if (format != "table" && format != "json") {
    throw_user_error("--format {}: table or json", format);
  }
  const std::vector<int64_t> counts = worker_counts(simulated);
  std::vector<std::string> missing;
  const SweepInputs inputs = read_sweep_inputs(sweep, store, "", without_data ? &missing : nullptr);
  Plan plan = make_plan(inputs);
  for (const std::string& what : missing) plan.notes.push_back(what);
  if (!missing.empty()) {
    plan.notes.emplace_back("cells of what is missing will have other ids once it is there");
  }
  nlohmann::json json = to_json(plan);
  if (format == "table") {
    print_table(plan);
  }
  for (const int64_t workers : counts) {
    if (workers < plan.gpus_per_task) {
      throw_user_error("--simulate {}: a task takes {} workers ([workers] gpus_per_task)", workers,
                       plan.gpus_per_task);
    }
  }
  if (!counts.empty()) {
    json["simulations"] = simulate_plan(plan, counts, format == "table");
    json["simulation"] = json["simulations"][0];  // as it was when there was one
  }
  if (format == "json") {
    std::cout << json.dump() << "\n";
  }
  return 0;
}

}  // namespace ropesweep::commands
