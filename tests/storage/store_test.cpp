// The store as the coordinator uses it: what becomes final, what survives, who may write.
#include "storage/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/lock.h"
#include "storage/snapshot.h"
#include "storage/state.h"
#include "storage/tables.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using testing::fill;
using testing::make_attempt;
using testing::make_cell;
using testing::make_cells;
using testing::make_evaluation;
using testing::make_failure;
using testing::make_fine_tune;
using testing::make_training;

std::string error_of(const std::function<void()>& action, FailureKind kind) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

/// Equal to the bit, NaN equal to NaN.
void expect_equal(const Table& a, const Table& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].texts, b[i].texts) << a[i].name;
    ASSERT_EQ(a[i].numbers.size(), b[i].numbers.size()) << a[i].name;
    for (size_t row = 0; row < a[i].numbers.size(); ++row) {
      const double x = a[i].numbers[row], y = b[i].numbers[row];
      EXPECT_TRUE(x == y || (std::isnan(x) && std::isnan(y))) << a[i].name << " " << x << " " << y;
    }
  }
}

void expect_equal(const StoreContents& a, const StoreContents& b) {
  for (const char* table : {"cells", "fine_tunes", "attempts", "curves", "samples"}) {
    expect_equal(make_table(a, table), make_table(b, table));
  }
}

std::vector<std::string> statuses(const StoreContents& contents) {
  std::vector<std::string> result;
  for (const CellRecord& record : contents.cells) result.push_back(record.status);
  return result;
}

using Texts = std::vector<std::string>;

TEST(Store, AnOpeningRemovesTheFilesOfEvaluationsThatHaveEnded) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "s.h5", evaluations = folder / "s.d" / "evaluations";
  {
    const auto store = Store::open(file);
    store->plan({make_cell("a", "none", 256), make_cell("b", "none", 512)}, {});
    AttemptRecord ended = make_attempt("ended", "evaluation", 1, {"a"});
    store->attempt_started(ended);
    ended.status = "finished";
    store->attempt_ended(ended, {"a"}, make_evaluation({"a"}), false);
    store->attempt_started(make_attempt("going-on", "evaluation", 1, {"b"}));
    store->sync();
  }
  std::filesystem::create_directories(evaluations);
  for (const char* task : {"ended", "going-on"}) {
    folder.write(fmt::format("s.d/evaluations/{}.jsonl", task), "samples");
  }
  Store::open(file);
  EXPECT_FALSE(std::filesystem::exists(evaluations / "ended.jsonl"))
      << "its process died before it could";
  EXPECT_TRUE(std::filesystem::exists(evaluations / "going-on.jsonl"))
      << "its samples needn't be done again";
}

TEST(Store, KeepsWhatWasSyncedAcrossProcesses) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  StoreContents before;
  {
    const auto store = Store::open(file);
    fill(*store);
    before = store->contents();
  }
  EXPECT_EQ(statuses(before), (Texts{"finished", "failed", "finished", "pending"}));
  EXPECT_EQ(before.cells[1].failure, "bad data");
  EXPECT_EQ(before.cells[0].attempts, 1);
  EXPECT_EQ(before.fine_tunes[0].status, "finished");
  expect_equal(read_store(file), before);
  expect_equal(Store::open(file)->contents(), before);
}

TEST(Store, PlanAddsOnlyWhatIsNew) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  std::vector<Cell> cells = make_cells();
  cells.insert(cells.begin(), make_cell("c9", "ntk", 256));
  store->plan(cells, {make_fine_tune("f0"), make_fine_tune("f1")});
  EXPECT_EQ(statuses(store->contents()),
            (Texts{"finished", "failed", "finished", "pending", "pending"}));
  EXPECT_EQ(store->contents().cells.back().cell.id, "c9");
  EXPECT_EQ(store->contents().fine_tunes[0].status, "finished");
  store->sync();
  const auto size = std::filesystem::file_size(directory / "s.d/journal");
  store->plan(cells, {make_fine_tune("f0"), make_fine_tune("f1")});
  store->sync();
  EXPECT_EQ(std::filesystem::file_size(directory / "s.d/journal"), size) << "nothing was new";
}

TEST(Store, RowsAndValuesDoNotDependOnTheOrderOfResults) {
  const TemporaryFolder directory;
  const auto a = Store::open(directory / "a.h5"), b = Store::open(directory / "b.h5");
  for (Store* store : {a.get(), b.get()}) store->plan(make_cells(), {});
  for (const char* id : {"c0", "c1", "c2"}) {
    a->attempt_ended(make_attempt(id, "evaluation", 1), {id}, make_evaluation({id}), false);
  }
  for (const char* id : {"c2", "c0", "c1"}) {
    b->attempt_ended(make_attempt(id, "evaluation", 1), {id}, make_evaluation({id}), false);
  }
  expect_equal(make_table(a->contents(), "cells"), make_table(b->contents(), "cells"));
}

TEST(Store, FailuresRetriesAndStopsAreCountedAsTheyShould) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  store->plan(make_cells(), {make_fine_tune("f0")});
  store->attempt_started(make_attempt("t", "evaluation", 1, {"c0", "c1"}));
  EXPECT_EQ(store->contents().cells[0].status, "running");
  store->attempt_ended(make_attempt("t", "evaluation", 1), {"c0", "c1"},
                       make_failure(FailureKind::transient, "killed"), false);
  EXPECT_EQ(store->contents().cells[0].status, "pending");
  EXPECT_EQ(store->contents().cells[0].attempts, 1);
  store->attempt_ended(make_attempt("t", "evaluation", 2), {"c0", "c1"},
                       make_failure(FailureKind::time, "allocation ended"), false);
  EXPECT_EQ(store->contents().cells[0].attempts, 1) << "an allocation's end is no attempt";
  EXPECT_EQ(store->contents().attempts[1].status, "stopped");
  store->attempt_ended(make_attempt("t", "evaluation", 3), {"c0", "c1"},
                       make_evaluation({"c0", "c1"}), false);
  EXPECT_EQ(store->contents().cells[0].status, "finished");
  EXPECT_EQ(store->contents().cells[0].failure, "");
  EXPECT_EQ(store->contents().cells[0].attempts, 2);
  // A late failure of an older attempt does not undo it.
  store->attempt_ended(make_attempt("t", "evaluation", 4), {"c0", "c1"},
                       make_failure(FailureKind::transient, "late"), true);
  EXPECT_EQ(store->contents().cells[0].status, "finished");
  EXPECT_EQ(store->contents().attempts.size(), 4u);
}

TEST(Store, ADivergedFineTuneIsAResultWithItsCurve) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  store->plan(make_cells(), {make_fine_tune("f0")});
  Outcome outcome = make_training("f0");
  outcome.failure_kind = FailureKind::diverged;
  outcome.failure = "loss is NaN at step 4";
  store->attempt_ended(make_attempt("f0", "fine_tune", 1), {}, outcome, true);
  store->skipped("c2", "its fine-tune diverged");
  const FineTuneRecord& record = store->contents().fine_tunes[0];
  EXPECT_EQ(record.status, "diverged");
  EXPECT_EQ(record.outcome.curve.step.size(), 3u);
  EXPECT_EQ(store->contents().cells[2].status, "skipped");
}

TEST(Store, RerunForgetsFiguresAndKeepsAttempts) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  store->rerun({"c0", "f0"});
  EXPECT_EQ(store->contents().cells[0].status, "pending");
  EXPECT_TRUE(store->contents().cells[0].outcome.measures.empty());
  EXPECT_EQ(store->contents().fine_tunes[0].status, "pending");
  EXPECT_TRUE(store->contents().fine_tunes[0].outcome.curve.step.empty());
  EXPECT_EQ(store->contents().attempts.size(), 4u);
}

TEST(Store, WhatRanWhenTheRunEndedIsPendingAgain) {
  const TemporaryFolder directory;
  {
    const auto store = Store::open(directory / "s.h5");
    store->plan(make_cells(), {make_fine_tune("f0")});
    store->attempt_started(make_attempt("f0", "fine_tune", 1));
    store->attempt_started(make_attempt("t0", "evaluation", 1, {"c0"}));
    store->sync();
  }
  const auto store = Store::open(directory / "s.h5");
  EXPECT_EQ(store->contents().cells[0].status, "pending");
  EXPECT_EQ(store->contents().fine_tunes[0].status, "pending");
  EXPECT_EQ(store->contents().attempts[0].status, "lost");
}

TEST(Store, OneWriterAtATimeAndItIsNamed) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  EXPECT_FALSE(lock_holder(directory / "s.d").has_value());
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto store = Store::open(file);
    char byte = 'r';
    if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1) _exit(1);
    pause();  // killed with the lock held
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const std::string message = error_of([&] { Store::open(file); }, FailureKind::user);
  EXPECT_NE(message.find(std::to_string(child)), std::string::npos) << message;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  EXPECT_NE(message.find(host), std::string::npos) << message;
  EXPECT_EQ(lock_holder(directory / "s.d").value().pid, child);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const auto store = Store::open(file);  // the crash left no lock behind
  error_of([&] { Store::open(file); }, FailureKind::user);
}

TEST(Store, AKilledWriterLosesNoAcknowledgedResult) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  constexpr int kKills = 30;
  std::vector<Cell> cells;
  for (int i = 0; i < 2000; ++i) cells.push_back(make_cell(fmt::format("k{}", i), "none", i));
  int acknowledged = 0;
  for (int round = 0; round < kKills; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(pipe_ends[0]);
      const auto store = Store::open(file);
      store->plan(cells, {});
      for (int i = acknowledged; i < 2000; ++i) {
        const std::string id = fmt::format("k{}", i);
        store->attempt_ended(make_attempt(id, "evaluation", round), {id}, make_evaluation({id}),
                             false);
        store->sync();
        if (write(pipe_ends[1], &i, sizeof i) != sizeof i) _exit(1);
        if (i % 7 == 0) store->publish();
      }
      _exit(0);
    }
    close(pipe_ends[1]);
    // Some acknowledgements, then a kill at whatever it is doing.
    int last = -1, value = 0;
    for (int i = 0; i <= round % 9; ++i) {
      ASSERT_EQ(read(pipe_ends[0], &value, sizeof value), static_cast<ssize_t>(sizeof value));
      last = value;
    }
    usleep(static_cast<useconds_t>(137 * round));
    kill(child, SIGKILL);
    while (read(pipe_ends[0], &value, sizeof value) == sizeof value) last = value;
    waitpid(child, nullptr, 0);
    close(pipe_ends[0]);
    ASSERT_GE(last, acknowledged);
    acknowledged = last + 1;
    const StoreContents contents = read_store(file);
    for (int i = 0; i < acknowledged; ++i) {
      ASSERT_EQ(contents.cells[static_cast<size_t>(i)].status, "finished") << "round " << round;
    }
    if (std::filesystem::exists(file)) {
      EXPECT_EQ(read_snapshot(file).cells.size(), cells.size());
    }
  }
}

TEST(Store, AFailedPublishKeepsTheOldFile) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  store->publish();
  const StoreContents before = read_snapshot(directory / "s.h5");
  std::filesystem::create_directory(directory / "s.h5.new");  // the file beside can't be made
  store->skipped("c3", "because");
  error_of([&] { store->publish(); }, FailureKind::transient);
  expect_equal(read_snapshot(directory / "s.h5"), before);
  std::filesystem::remove(directory / "s.h5.new");
  store->publish();
  EXPECT_EQ(read_snapshot(directory / "s.h5").cells[3].status, "skipped");
}

TEST(Store, APublishedFileAloneIsReadAndGoesOn) {
  const TemporaryFolder directory;
  StoreContents before;
  {
    const auto store = Store::open(directory / "s.h5");
    fill(*store);
    store->publish();
    before = store->contents();
  }
  std::filesystem::copy_file(directory / "s.h5", directory / "copy.h5");
  expect_equal(read_store(directory / "copy.h5"), before);
  {
    const auto store = Store::open(directory / "copy.h5");
    expect_equal(store->contents(), before);
    EXPECT_EQ(store->contents().provenance.text.at("sweep"), "name = \"test\"\n");
    store->plan(make_cells(), {make_fine_tune("f0")});
    EXPECT_EQ(store->contents().fine_tunes[0].fine_tune.recipe.steps, 3);
    EXPECT_EQ(store->contents().fine_tunes[0].status, "finished");
    store->sync();
  }
  expect_equal(read_store(directory / "copy.h5"), before);
}

TEST(Store, WrongFilesAreTheUsersError) {
  const TemporaryFolder directory;
  EXPECT_NE(error_of([&] { read_store(directory / "missing.h5"); }, FailureKind::user)
                .find("no such store"),
            std::string::npos);
  error_of([&] { Store::open(directory / "store.txt"); }, FailureKind::user);
  const std::string text = "not HDF5";
  replace_file(directory / "text.h5", std::vector<uint8_t>(text.begin(), text.end()));
  error_of([&] { read_store(directory / "text.h5"); }, FailureKind::user);
}

TEST(Store, EventsOfOtherVersionsAreUpgradedOrRefused) {
  const EventUpgrade upgrades[] = {
      [](nlohmann::json& event) { event["value"] = event["value"].get<int>() + 1; },
      [](nlohmann::json& event) { event["value"] = event["value"].get<int>() * 10; }};
  const auto record = [](int version) {
    return nlohmann::json::to_cbor(nlohmann::json::array({version, {{"value", 4}}}));
  };
  EXPECT_EQ(decode_event(record(1), "j", upgrades)["value"], 50);
  EXPECT_EQ(decode_event(record(2), "j", upgrades)["value"], 40);
  EXPECT_EQ(decode_event(record(3), "j", upgrades)["value"], 4);
  const std::string message =
      error_of([&] { decode_event(record(4), "j", upgrades); }, FailureKind::user);
  EXPECT_NE(message.find("version 4"), std::string::npos) << message;
  error_of([&] { decode_event(std::vector<uint8_t>{0xff}, "j"); }, FailureKind::transient);
}

TEST(Store, ANumberOfAttemptsThatCannotBeCountedOnIsRefused) {
  const auto imported = [](int64_t attempts) {
    CellRecord record;
    record.cell.id = "a";
    nlohmann::json cell = record;
    cell["attempts"] = attempts;
    return nlohmann::json{{"event", "imported"},
                          {"cells", {cell}},
                          {"fine_tunes", nlohmann::json::array()},
                          {"attempts", nlohmann::json::array()},
                          {"provenance", nlohmann::json::object()}};
  };
  StoreState state;
  EXPECT_NO_THROW(state.apply(imported(3)));
  EXPECT_THROW(state.apply(imported(INT64_MAX)), Error);
  EXPECT_THROW(state.apply(imported(-1)), Error);
}

TEST(Store, AnEventThatNestsWithoutEndIsRefused) {
  const std::vector<uint8_t> deep(1 << 20, 0x81);  // arrays of one array
  EXPECT_THROW(decode_event(deep, "journal"), Error);
}

TEST(Store, PublishIfDuePublishesOnceAndNotAgainAtOnce) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  store->publish_if_due();
  ASSERT_TRUE(std::filesystem::exists(directory / "s.h5"));
  store->skipped("c3", "because");
  store->publish_if_due();
  EXPECT_EQ(read_snapshot(directory / "s.h5").cells[3].status, "pending") << "not due yet";
}

TEST(Store, ARunningFineTuneHasItsCurveAndARestartDoublesNoStep) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  const auto so_far = [](std::vector<int64_t> steps, std::vector<double> losses) {
    FineTuneOutcome outcome;
    outcome.fine_tune = "f0";
    outcome.steps = steps.back();
    outcome.training_loss = losses.back();
    outcome.curve.validation_loss = outcome.curve.learning_rate = outcome.curve.gradient_norm =
        losses;
    outcome.curve.step = std::move(steps);
    outcome.curve.training_loss = std::move(losses);
    return outcome;
  };
  {
    const auto store = Store::open(file);
    store->plan(make_cells(), {make_fine_tune("f0")});
    store->losses(so_far({1}, {7}));  // of an attempt that nobody began
    EXPECT_TRUE(store->contents().fine_tunes[0].outcome.curve.step.empty());
    store->attempt_started(make_attempt("f0", "fine_tune", 1));
    store->losses(so_far({1, 2}, {5, 4}));
    store->losses(so_far({3}, {3}));
    store->publish();
    EXPECT_EQ(row_count(make_table(read_store(file), "curves")), 3U);
    EXPECT_EQ(read_store(file).fine_tunes[0].outcome.steps, 3);
  }
  const auto store = Store::open(file);
  EXPECT_EQ(store->contents().fine_tunes[0].status, "pending");
  store->attempt_started(make_attempt("f0", "fine_tune", 2));
  store->losses(so_far({1, 2}, {5, 4}));  // its saved state was of step 2
  EXPECT_EQ(store->contents().fine_tunes[0].outcome.curve.step.size(), 2U);
  store->losses(so_far({3, 4}, {3, 2}));
  EXPECT_EQ(store->contents().fine_tunes[0].outcome.curve.training_loss,
            (std::vector<double>{5, 4, 3, 2}));
  const Outcome whole = make_training("f0");
  store->attempt_ended(make_attempt("f0", "fine_tune", 2), {}, whole, true);
  EXPECT_EQ(store->contents().fine_tunes[0].outcome.curve.step, whole.fine_tunes[0].curve.step);
}

}  // namespace
}  // namespace ropesweep
