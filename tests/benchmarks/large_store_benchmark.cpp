// What a store of very many cells costs, as JSON: large_store_benchmark [CELLS] [FILE.h5]. Every
// cell is planned, started and finished with two metrics, as a run does it; then the journal's
// bytes, the seconds to publish, to replay, to read for a query and to open. FILE.h5 (deleted
// first) is left for `query` and `status` to be timed on. Memory is the most that the process had
// so far, with whatever it reads or writes. No thresholds: it measures.
#include <chrono>
#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/error.h"
#include "tests/benchmarks/process_memory.h"
#include "tests/storage/sample_store.h"

namespace {

using namespace ropesweep;           // NOLINT: a program of its own
using namespace ropesweep::testing;  // NOLINT

/// Seconds, and of the processor: the ones that count where others use the machine, too; MiB.
nlohmann::json cost_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t start_cpu = std::clock();
  work();
  return {
      {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
      {"processor", static_cast<double>(std::clock() - start_cpu) / CLOCKS_PER_SEC},
      {"memory_mib", process_memory("VmRSS")},
      {"most_memory_mib", process_memory("VmHWM")}};
}

Cell cell_of(int64_t i) {
  Cell cell = make_cell(fmt::format("{:020x}", i), i % 3 == 0 ? "none" : "yarn", 256 << (i % 6));
  cell.canonical = fmt::format(  // about what a real one takes
      R"({{"context_length":{},"data":{{"bos":"auto","digest":"{}","kind":"text","samples":50,)"
      R"("stride":256,"text_field":"text","window":"sliding"}},"eval_scale":2,"fine_tune":"{}",)"
      R"("scheme":"{}","seed":{},"train_scale":2,"type":"bf16"}})",
      cell.context_length, std::string(64, 'd'), cell.fine_tune, cell.scheme, i / 1000);
  return cell;
}

/// Eight cells a task and a thousand results a sync.
void finish_all(Store& store, int64_t cells) {
  constexpr int64_t kPerTask = 8, kPerSync = 1000;
  for (int64_t first = 0; first < cells; first += kPerTask) {
    std::vector<std::string> ids;
    for (int64_t i = first; i < std::min(first + kPerTask, cells); ++i) {
      ids.push_back(fmt::format("{:020x}", i));
    }
    const std::string task = fmt::format("{:020x}", first);
    store.attempt_started(make_attempt(task, "evaluation", 1, ids));
    Outcome outcome = make_evaluation(ids);
    for (CellOutcome& each : outcome.cells) each.samples.clear();
    AttemptRecord attempt = make_attempt(task, "evaluation", 1, ids);
    attempt.status = "finished";
    store.attempt_ended(attempt, ids, outcome, false);
    if ((first / kPerTask) % (kPerSync / kPerTask) == 0) store.sync();
  }
  store.sync();
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t count = argc > 1 ? std::stoll(argv[1]) : 1000000;
  const std::filesystem::path file = argc > 2 ? argv[2] : "large.h5";
  const std::filesystem::path journal = store_directory(file) / "journal";
  std::filesystem::remove(file);
  std::filesystem::remove_all(store_directory(file));
  nlohmann::ordered_json report = {{"cells", count}};
  {
    const auto store = Store::open(file);
    PackedVector<Cell> cells;
    for (int64_t i = 0; i < count; ++i) cells.push_back(cell_of(i));
    report["plan"] = cost_of([&] {
      store->plan(cells, {});
      store->sync();
    });
    cells = {};
    report["finish"] = cost_of([&] { finish_all(*store, count); });
    report["durable_results_per_second"] =
        static_cast<double>(count) / report["finish"]["seconds"].get<double>();
    report["publish"] = cost_of([&] { store->publish(); });
  }
  report["journal_bytes"] = std::filesystem::file_size(journal);
  report["h5_bytes"] = std::filesystem::file_size(file);
  report["replay"] = cost_of([&] { read_store(file); });
  report["published_and_tail"] = cost_of([&] { read_results(file); });
  report["query"] = cost_of([&] { read_table(file, "cells"); });
  report["open"] = cost_of([&] { Store::open(file); });
  report["journal_bytes_after_open"] = std::filesystem::file_size(journal);
  report["open_again"] = cost_of([&] { Store::open(file); });
  std::cout << report.dump(2) << '\n';
}
