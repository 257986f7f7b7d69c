// What one coordinator bears, as JSON lines: the scheduler alone, the reactor over the loopback
// channel with workers that answer at once, and the same with a store on disk. No thresholds: it
// measures.
//
//   coordinator_benchmark [--workers W] [--cells N] [--fine-tunes F] [--only
//   scheduler|reactor|store]
//                         [--store DIRECTORY]
//
// Every cell is a task of its own, the worst case. Seconds are of this thread's processor time, so
// that others on the machine change them little; what the simulated workers take is counted apart.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <random>
#include <string>

#include "coordinator/protocol/loopback_channel.h"
#include "coordinator/reactor.h"
#include "coordinator/simulation.h"
#include "tests/benchmarks/process_memory.h"

namespace {

using namespace ropesweep;  // NOLINT: a program of its own

struct Settings {
  int workers = 10000;
  int64_t cells = 1000000;
  int64_t fine_tunes = 1000;
  std::string only;
  std::string directory = "/tmp";
};

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string identity(char kind, int64_t number) { return fmt::format("{}{:019x}", kind, number); }

/// As make_tasks makes it: a cell of its own text, settings that many share.
Task evaluation(const Settings& settings, int64_t number) {
  static const std::vector<std::string> schemes = {"none", "linear", "ntk", "yarn", "power(0.5)"};
  const int64_t of = settings.fine_tunes > 0 ? number % (2 * settings.fine_tunes) : 0;
  Task task;
  task.id = identity('e', number);
  task.model = "/scratch/models/llama-2-7b-hf";
  task.weights_key = std::string(64, 'a');
  task.weights = task.model;
  if (of < settings.fine_tunes) {  // every second cell needs no training
    task.needs = {identity('f', of)};
    task.weights_key = task.needs[0];
    task.weights = "/scratch/sweeps/llama.d/checkpoints/" + task.needs[0];
  }
  task.output = "/scratch/sweeps/llama.d/evaluations/" + task.id + ".jsonl";
  task.scheme = schemes[static_cast<size_t>(number) % schemes.size()];
  task.scale = static_cast<double>(1 + number % 8);
  task.dataset.name = "proofpile";
  task.dataset.kind = "text";
  task.dataset.path = "/scratch/data/proofpile/test.jsonl.zst";
  task.dataset.samples = 50;
  task.flops = 1e12 * static_cast<double>(1 + number % 97);
  task.memory_bytes = 1.5e10;
  Cell cell;
  cell.id = identity('c', number);
  cell.model = "default";
  cell.recipe = task.needs.empty() ? "zero-shot" : "redpajama";
  cell.scheme = task.scheme;
  cell.dataset = task.dataset.name;
  cell.train_scale = cell.eval_scale = task.scale;
  cell.context_length = 1024 * (1 + number % 64);
  cell.seed = number / 1000;
  if (!task.needs.empty()) cell.fine_tune = task.needs[0];
  cell.canonical = fmt::format(
      R"({{"context_length":{},"data":{{"bos":"auto","digest":"{}","kind":"text","samples":50,)"
      R"("stride":256,"text_field":"text","window":"sliding"}},"eval_scale":{},"fine_tune":"{}",)"
      R"("scheme":"{}","seed":{},"train_scale":{},"type":"bf16"}})",
      cell.context_length, std::string(64, 'd'), cell.eval_scale, cell.fine_tune, cell.scheme,
      cell.seed, cell.train_scale);
  task.cells = {cell};
  return task;
}

Task training(int64_t number) {
  Task task;
  task.id = identity('f', number);
  task.kind = TaskKind::fine_tune;
  task.model = task.weights = "/scratch/models/llama-2-7b-hf";
  task.weights_key = std::string(64, 'a');
  if (number % 4 == 3) {
    task.needs = {identity('f', number - 1)};
    task.weights_key = task.needs[0];
  }
  task.fine_tune.id = task.id;
  task.fine_tune.scheme = "yarn";
  task.fine_tune.recipe.name = "redpajama";
  task.fine_tune.recipe.data = "/scratch/data/redpajama.jsonl.zst";
  task.training_data.kind = "text";
  task.training_data.path = task.fine_tune.recipe.data;
  task.output = "/scratch/sweeps/llama.d/checkpoints/" + task.id;
  task.flops = 1e15;
  return task;
}

template <typename Add>
void make_tasks(const Settings& settings, const Add& add) {
  for (int64_t i = 0; i < settings.fine_tunes; ++i) add(training(i));
  for (int64_t i = 0; i < settings.cells; ++i) add(evaluation(settings, i));
}

Outcome outcome_of(const Assign& assign) {
  Outcome outcome;
  outcome.seconds = assign.task.flops / 1e14;
  outcome.device = "cuda (NVIDIA H100 80GB HBM3)";
  outcome.type = "bf16";
  for (const Cell& cell : assign.task.cells) {
    CellOutcome result;
    result.cell = cell.id;
    result.seconds = outcome.seconds;
    result.measures.resize(2);
    result.measures[0] = {"ppl_token", 50, 1234.5, 409600, 0, 31000.25, 1e7, 3.4e9};
    result.measures[1] = {"ppl_window", 50, 120.25, 0, 0, 300.5, 50, 50};
    outcome.cells.push_back(result);
  }
  if (assign.task.kind == TaskKind::fine_tune) {
    FineTuneOutcome result;
    result.fine_tune = assign.task.id;
    outcome.fine_tunes.push_back(result);
  }
  return outcome;
}

/// Keeps nothing.
class NoStore : public Store {
 public:
  const StoreContents& contents() const override { return contents_; }
  const std::filesystem::path& directory() const override { return directory_; }
  void plan(const PackedVector<Cell>&, const std::vector<FineTune>&) override {}
  void provenance(const std::string&, const std::string&) override {}
  void attempt_started(const AttemptRecord&) override {}
  void losses(const FineTuneOutcome&) override {}
  void attempt_ended(const AttemptRecord&, const std::vector<std::string>&, const Outcome&,
                     bool) override {}
  void skipped(const std::string&, const std::string&) override {}
  void rerun(const std::vector<std::string>&) override {}
  void sync() override {}
  void publish() override {}
  void publish_if_due() override {}

 private:
  StoreContents contents_;
  std::filesystem::path directory_;
};

/// Workers that answer at once, with the messages of a shepherd, and give signs of life.
class SimulatedWorkers {
 public:
  SimulatedWorkers(LoopbackNetwork& network, int workers) : network_(network) {
    for (int rank = 1; rank <= workers; ++rank) {
      network_.channel(rank).send(0, Hello{fmt::format("node{}", rank / 8),
                                           "cuda (NVIDIA H100 80GB HBM3)", 1000 + rank, rank % 8});
      network_.channel(rank).send(0, RequestWork{});
    }
  }

  void turn(int workers, double now) {
    const bool beat = now >= next_beat_;
    next_beat_ = beat ? now + 1 : next_beat_;
    for (int rank = 1; rank <= workers; ++rank) {
      Channel& channel = network_.channel(rank);
      while (auto received = channel.poll()) {
        ++messages;
        if (const auto* assign = std::get_if<Assign>(&received->second)) {
          channel.send(0, Done{assign->attempt, outcome_of(*assign)});
          channel.send(0, RequestWork{assign->task.weights_key});
          ++assigned;
        } else if (std::holds_alternative<Acknowledge>(received->second)) {
          ++acknowledged;
        }
      }
      if (beat) channel.send(0, Heartbeat{});
    }
  }

  int64_t messages = 0, assigned = 0, acknowledged = 0;

 private:
  LoopbackNetwork& network_;
  double next_beat_ = 0;
};

/// Percentiles of the turns' lengths would say little: a turn has as many events as have come.
nlohmann::json run_reactor(const Settings& settings, Store& store, Reactor& reactor,
                           LoopbackNetwork& network) {
  SimulatedWorkers workers(network, settings.workers);
  int64_t messages = 0, turns = 0;
  double coordinator = 0, others = 0, longest_turn = 0;
  const double start = wall_seconds();
  while (!reactor.all_settled()) {
    const double before = processor_seconds();
    const double now = wall_seconds();
    while (auto received = network.channel(0).poll()) {
      reactor.on_message(received->first, received->second, now);
      ++messages;
    }
    reactor.on_turn(now);
    reactor.commit(now);
    store.publish_if_due();
    const double between = processor_seconds();
    workers.turn(settings.workers, now);
    coordinator += between - before;
    longest_turn = std::max(longest_turn, between - before);
    others += processor_seconds() - between;
    ++turns;
  }
  const double wall = wall_seconds() - start;
  const auto tasks = static_cast<double>(workers.assigned);
  return {
      {"workers", settings.workers},
      {"tasks", workers.assigned},
      {"acknowledged", workers.acknowledged},
      {"turns", turns},
      {"wall_seconds", wall},
      {"coordinator_processor_seconds", coordinator},
      {"workers_processor_seconds", others},
      {"dispatches_per_second", tasks / coordinator},
      {"dispatches_per_second_with_the_workers_on_the_same_core", tasks / (coordinator + others)},
      {"messages_per_second", static_cast<double>(messages + workers.messages) / coordinator},
      {"microseconds_per_task", 1e6 * coordinator / tasks},
      {"longest_turn_seconds", longest_turn},
      {"peak_memory_mib", process_memory("VmHWM")}};
}

nlohmann::json measure_reactor(const Settings& settings) {
  NoStore store;
  LoopbackNetwork network(settings.workers + 1);
  TaskPool tasks;
  const double packing = processor_seconds();
  make_tasks(settings, [&](const Task& task) { tasks.add(task); });
  const double packed = processor_seconds() - packing;
  const double of_tasks = process_memory("VmRSS");
  const double before = processor_seconds();
  Reactor reactor({}, std::move(tasks), store, network.channel(0), wall_seconds());
  const double start_up = processor_seconds() - before;
  const double at_start = process_memory("VmRSS");
  nlohmann::json result = run_reactor(settings, store, reactor, network);
  result["what"] = "reactor and scheduler over the loopback channel, no store";
  result["pool_seconds"] = packed;
  result["pool_mib"] = of_tasks;
  result["start_up_seconds"] = start_up;
  result["memory_before_the_first_task_mib"] = at_start;
  return result;
}

nlohmann::json measure_store(const Settings& settings) {
  const std::filesystem::path directory =
      std::filesystem::path(settings.directory) / fmt::format("coordinator-{}", ::getpid());
  std::filesystem::create_directories(directory);
  nlohmann::json result;
  {
    const auto store = Store::open(directory / "s.h5");
    constexpr size_t kPlanned = 10000;  // the grid's own memory is no subject here
    double planning = 0;
    LoopbackNetwork network(settings.workers + 1);
    TaskPool tasks;
    PackedVector<Cell> cells;
    std::vector<FineTune> tunes;
    make_tasks(settings, [&](const Task& task) {
      if (task.kind == TaskKind::fine_tune) {
        tunes.push_back(task.fine_tune);
      } else {
        cells.push_back(task.cells[0]);
      }
      tasks.add(task);
      if (cells.size() == kPlanned) {
        const double start = processor_seconds();
        store->plan(cells, {});
        planning += processor_seconds() - start;
        cells = {};
      }
    });
    const double before = processor_seconds();
    store->plan(cells, tunes);
    store->sync();
    planning += processor_seconds() - before;
    cells = {};
    Reactor reactor({}, std::move(tasks), *store, network.channel(0), wall_seconds());
    const double at_start = process_memory("VmRSS");
    result = run_reactor(settings, *store, reactor, network);
    result["plan_seconds"] = planning;
    result["memory_before_the_first_task_mib"] = at_start;
    result["acknowledged_per_second_of_wall"] =
        result["acknowledged"].get<double>() /
        (result["wall_seconds"].get<double>() - result["workers_processor_seconds"].get<double>());
    result["journal_mib"] =
        static_cast<double>(std::filesystem::file_size(directory / "s.d" / "journal")) / (1 << 20);
    const double publishing = wall_seconds();
    store->publish();
    result["publish_seconds"] = wall_seconds() - publishing;
    result["peak_memory_with_publishing_mib"] = process_memory("VmHWM");
  }
  result["what"] = "reactor over the loopback channel, a store on disk with group commit";
  std::filesystem::remove_all(directory);
  return result;
}

struct Spread {
  std::vector<float> microseconds;
  void add(double seconds) { microseconds.push_back(static_cast<float>(1e6 * seconds)); }
  nlohmann::json json() {
    std::sort(microseconds.begin(), microseconds.end());
    double sum = 0;
    for (const float each : microseconds) sum += each;
    const size_t count = microseconds.size();
    return {{"mean", sum / static_cast<double>(count)},
            {"p99", microseconds[count * 99 / 100]},
            {"p99.9", microseconds[count * 999 / 1000]},
            {"most", microseconds.back()}};
  }
};

/// A whole sweep in virtual time; each decision (choose and start) and each end is timed.
nlohmann::json measure_scheduler(const Settings& settings) {
  std::vector<ScheduledTask> tasks;
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-1, 3);
  for (int64_t i = 0; i < settings.fine_tunes; ++i) {
    ScheduledTask task{std::pow(10, exponent(random)) * 10, true, "base", {}};
    if (i % 4 == 3) task.needs = {i - 1}, task.weights_key = std::to_string(i - 1);
    tasks.push_back(task);
  }
  for (int64_t i = 0; i < settings.cells; ++i) {
    const int64_t of = settings.fine_tunes > 0 ? i % (2 * settings.fine_tunes) : 0;
    ScheduledTask task{std::pow(10, exponent(random)), i % 3 != 0, "base", {}};
    if (of < settings.fine_tunes) task.needs = {of}, task.weights_key = std::to_string(of);
    tasks.push_back(task);
  }
  const double before = processor_seconds();
  Scheduler scheduler(std::move(tasks));
  const double made = processor_seconds() - before;
  using End = std::tuple<double, int64_t, TaskIndex>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  std::vector<WeightsIndex> held(static_cast<size_t>(settings.workers), kNoWeights);
  std::vector<int64_t> idle;
  for (int64_t worker = settings.workers; worker-- > 0;) idle.push_back(worker);
  Spread decisions, finishes;
  double now = 0;
  const auto seconds_of = [](const auto& work) {
    const double start = processor_seconds();
    work();
    return processor_seconds() - start;
  };
  while (!scheduler.all_settled()) {
    while (!idle.empty() && scheduler.ready() > 0) {
      const int64_t worker = idle.back();
      WeightsIndex& weights = held[static_cast<size_t>(worker)];
      std::optional<TaskIndex> task;
      decisions.add(seconds_of([&] {
        task = scheduler.choose(worker, weights, settings.workers, 1e9);
        scheduler.start(*task);
        scheduler.release(weights);
        weights = scheduler.weights(*task);
        scheduler.hold(weights);
      }));
      idle.pop_back();
      ends.emplace(now + scheduler.seconds(*task), worker, *task);
    }
    const auto [time, worker, task] = ends.top();
    ends.pop();
    now = time;
    finishes.add(seconds_of([&] { scheduler.finish(task); }));
    idle.push_back(worker);
  }
  return {{"what", "the scheduler alone, a whole sweep in virtual time"},
          {"workers", settings.workers},
          {"tasks", scheduler.size()},
          {"start_up_seconds", made},
          {"decision_microseconds", decisions.json()},
          {"end_microseconds", finishes.json()},
          {"peak_memory_mib", process_memory("VmHWM")}};
}

}  // namespace

int main(int count, char** arguments) {
  Settings settings;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    if (name == "--workers") settings.workers = std::atoi(value.c_str());
    if (name == "--cells") settings.cells = std::atoll(value.c_str());
    if (name == "--fine-tunes") settings.fine_tunes = std::atoll(value.c_str());
    if (name == "--only") settings.only = value;
    if (name == "--store") settings.directory = value;
  }
  const auto wanted = [&](const char* name) {
    return settings.only.empty() || settings.only == name;
  };
  if (wanted("scheduler")) std::cout << measure_scheduler(settings).dump() << std::endl;
  if (wanted("reactor")) std::cout << measure_reactor(settings).dump() << std::endl;
  if (wanted("store")) std::cout << measure_store(settings).dump() << std::endl;
}
