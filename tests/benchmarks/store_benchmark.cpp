// What the store costs, as JSON: durable results a second by size of the group, a snapshot of
// 10,000 cells with curves, opening that store again, and queries over a million rows. No
// thresholds: it measures.
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "analysis/query.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace {

using namespace ropesweep;           // NOLINT: a program of its own
using namespace ropesweep::testing;  // NOLINT

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<Cell> many_cells(int64_t count) {
  std::vector<Cell> cells;
  for (int64_t i = 0; i < count; ++i) {
    Cell cell =
        make_cell(fmt::format("{:020x}", i), i % 3 == 0 ? "none" : "yarn", 1 << (8 + i % 6));
    cell.canonical = std::string(600, 'c');  // about what a real one takes
    cells.push_back(cell);
  }
  return cells;
}

/// Results acknowledged as durable per second when `group` of them share one sync.
double durable_rate(const std::filesystem::path& file, int64_t results, int64_t group) {
  const auto store = Store::open(file);
  const std::vector<Cell> cells = many_cells(results);
  store->plan(cells, {});
  store->sync();
  const double seconds = seconds_of([&] {
    for (int64_t i = 0; i < results; ++i) {
      const std::string& id = cells[static_cast<size_t>(i)].id;
      store->attempt_ended(make_attempt(id, "evaluation", 1), {id}, make_evaluation({id}), false);
      if ((i + 1) % group == 0) store->sync();
    }
    store->sync();
  });
  return static_cast<double>(results) / seconds;
}

/// 10,000 cells, half of them with results, 200 fine-tunes with curves of 400 steps.
nlohmann::json snapshot_cost(const std::filesystem::path& file) {
  double publish = 0;
  {
    const auto store = Store::open(file);
    const std::vector<Cell> cells = many_cells(10000);
    std::vector<FineTune> tunes;
    for (int i = 0; i < 200; ++i)
      tunes.push_back(make_fine_tune(fmt::format("{:020x}", 1 << 20 | i)));
    store->plan(cells, tunes);
    for (const FineTune& tune : tunes) {
      Outcome outcome = make_training(tune.id);
      Curve& curve = outcome.fine_tunes[0].curve;
      curve.step.clear();
      for (int step = 1; step <= 400; ++step) curve.step.push_back(step);
      for (auto* values : {&curve.training_loss, &curve.validation_loss, &curve.learning_rate,
                           &curve.gradient_norm}) {
        values->assign(400, 1.5);
      }
      store->attempt_ended(make_attempt(tune.id, "fine_tune", 1), {}, outcome, false);
    }
    for (size_t i = 0; i < cells.size(); i += 2) {
      store->attempt_ended(make_attempt(cells[i].id, "evaluation", 1), {cells[i].id},
                           make_evaluation({cells[i].id}), false);
    }
    store->sync();
    store->publish();
    publish = seconds_of([&] {
                for (int i = 0; i < 5; ++i) store->publish();
              }) /
              5;
  }
  const std::filesystem::path again = file.parent_path() / "again.h5";
  const double read_and_write = seconds_of([&] { write_snapshot(again, read_store(file), {}); });
  const double open = seconds_of([&] { Store::open(file); });
  return {{"cells", 10000},
          {"curves", 200},
          {"steps_per_curve", 400},
          {"publish_seconds", publish},
          {"read_and_write_seconds", read_and_write},
          {"open_seconds", open},
          {"h5_bytes", std::filesystem::file_size(file)}};
}

nlohmann::json query_cost() {
  constexpr size_t kRows = 1000000;
  Table table = {{"scheme", true, false, {}, {}},
                 {"context_length", false, true, {}, {}},
                 {"value", false, false, {}, {}}};
  for (size_t i = 0; i < kRows; ++i) {
    table[0].texts.push_back(i % 7 == 0 ? "yarn" : "dynamic-ntk(factor=2)");
    table[1].numbers.push_back(static_cast<double>(256 << (i % 8)));
    table[2].numbers.push_back(std::sin(static_cast<double>(i)));
  }
  Query filter{"scheme = 'yarn' and context_length >= 4096 or not value < 0.5", {}, {}, {}};
  Query order{"", {"-value"}, {"value"}, {}};
  Query pivot{"", {}, {}, {"scheme", "context_length", "value"}};
  return {{"rows", kRows},
          {"where_seconds", seconds_of([&] { run_query(table, filter); })},
          {"order_by_seconds", seconds_of([&] { run_query(table, order); })},
          {"pivot_seconds", seconds_of([&] { run_query(table, pivot); })}};
}

}  // namespace

int main() {
  const TemporaryFolder directory;
  nlohmann::json report;
  for (const int64_t group : {1, 10, 100, 1000}) {
    report["durable_results_per_second"][std::to_string(group)] =
        durable_rate(directory / fmt::format("group{}.h5", group), group == 1 ? 500 : 5000, group);
  }
  report["snapshot"] = snapshot_cost(directory / "snapshot.h5");
  report["query"] = query_cost();
  std::cout << report.dump(2) << '\n';
}
