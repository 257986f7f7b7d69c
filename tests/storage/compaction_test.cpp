// A journal written anew says the same, whenever it is interrupted; readers that begin at the
// published file see what the journal says.
#include "storage/compaction.h"

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using testing::fill;
using testing::make_attempt;
using testing::make_cell;
using testing::make_evaluation;
using testing::make_fine_tune;

namespace fs = std::filesystem;

/// Every table, and what no table shows, as text.
std::string all_of(const StoreContents& contents) {
  const nlohmann::json json = {{"cells", contents.cells},
                               {"fine_tunes", contents.fine_tunes},
                               {"attempts", contents.attempts}};
  return json.dump();
}

std::string text_of(const Table& table) {
  std::string text;
  for (const Column& column : table) {
    text += column.name;
    for (const std::string& each : column.texts) text += "|" + each;
    for (const double each : column.numbers) text += fmt::format("|{}", each);
  }
  return text;
}

std::string tables_of(const StoreContents& contents) {
  std::string text;
  for (const char* name : {"cells", "fine_tunes", "attempts", "curves", "samples"}) {
    text += text_of(make_table(contents, name));
  }
  return text;
}

/// Journal bytes of no use: a fine-tune's losses again and again.
void pad(Store& store, int64_t bytes) {
  store.plan({}, {make_fine_tune("long")});
  store.attempt_started(make_attempt("long", "fine_tune", 1));
  FineTuneOutcome so_far;
  so_far.fine_tune = "long";
  so_far.checkpoint = std::string(1 << 20, 'x');
  for (int64_t i = 0; i <= bytes >> 20; ++i) store.losses(so_far);
  Outcome ended = testing::make_failure(FailureKind::user, "enough");
  store.attempt_ended(make_attempt("long", "fine_tune", 1), {}, ended, true);
  store.rerun({"long"});
  store.sync();
}

TEST(Compaction, TheContentsAreTheSame) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5";
  {
    const auto store = Store::open(file);
    fill(*store);
  }
  const StoreContents before = read_store(file);
  write_journal(directory / "s.d/journal", before);
  const StoreContents after = read_store(file);
  EXPECT_EQ(all_of(after), all_of(before));
  EXPECT_EQ(after.provenance.text, before.provenance.text);
}

TEST(Compaction, AnOpeningWritesALargeObsoleteJournalAnewAndCheckKnowsTheOlderFile) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5", journal = directory / "s.d/journal";
  {
    const auto store = Store::open(file);
    fill(*store);
    pad(*store, int64_t{33} << 20);
    store->publish();
  }
  const auto bytes = fs::file_size(journal);
  const std::string before = all_of(read_store(file));
  Store::open(file);  // as a run that is killed before it publishes
  EXPECT_LT(fs::file_size(journal), bytes / 100);
  EXPECT_EQ(all_of(read_store(file)), before);
  EXPECT_TRUE(check_store(file, false).findings.empty());
  const auto again = fs::file_size(journal);
  Store::open(file);
  EXPECT_EQ(fs::file_size(journal), again) << "nothing is obsolete any more";
  Store::open(file)->publish();
  EXPECT_TRUE(check_store(file, false).findings.empty());
}

TEST(Compaction, ManyRecordsKeepTheirOrder) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5";
  std::vector<Cell> cells;
  for (int i = 0; i < 1203; ++i) cells.push_back(make_cell(fmt::format("k{}", i * 7), "none", i));
  {
    const auto store = Store::open(file);
    store->plan(cells, {});
    store->sync();
  }
  const StoreContents before = read_store(file);
  write_journal(directory / "s.d/journal", before);
  EXPECT_EQ(all_of(read_store(file)), all_of(before));
}

/// Runs `work` in a child that is killed as it enters its n-th system call from `begin` on. Returns
/// false when it ended before that; nothing can be said where tracing is not allowed.
std::optional<bool> killed_at_call(int64_t n, const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(99);
    raise(SIGSTOP);
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) return std::nullopt;
  for (int64_t stops = 0; stops < 2 * n; ++stops) {  // one stop on entry, one on leaving
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) return false;
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return true;
}

TEST(Compaction, KilledAtAnySystemCallTheStoreSaysTheSame) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5", journal = directory / "s.d/journal";
  {
    const auto store = Store::open(file);
    fill(*store);
    store->publish();
  }
  const std::vector<uint8_t> old = read_file(journal);
  const StoreContents contents = read_store(file);
  const std::string before = all_of(contents);
  int64_t calls = 0;
  for (int64_t n = 1;; ++n) {
    const std::optional<bool> killed = killed_at_call(n, [&] { write_journal(journal, contents); });
    if (!killed) GTEST_SKIP() << "processes can't be traced here";
    ASSERT_EQ(all_of(read_store(file)), before) << "killed at call " << n;
    Store::open(file)->publish();
    ASSERT_EQ(all_of(read_store(file)), before) << "killed at call " << n;
    replace_file(journal, old);
    fs::remove(journal.string() + ".new");
    if (!*killed) break;
    calls = n;
  }
  EXPECT_GT(calls, 10) << "create, write, sync, rename, sync";
}

/// Both ways to read sooner say what the whole journal says.
void expect_sooner_is_the_same(const fs::path& file) {
  const StoreContents whole = read_store(file);
  EXPECT_EQ(tables_of(read_results(file)), tables_of(whole));
  for (const char* name : {"cells", "fine_tunes", "attempts", "curves", "samples"}) {
    EXPECT_EQ(text_of(read_table(file, name)), text_of(make_table(whole, name))) << name;
  }
}

TEST(ReadResults, PublishedFileAndTheJournalsTailAreTheWholeJournal) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5";
  const auto store = Store::open(file);
  expect_sooner_is_the_same(file);
  fill(*store);
  expect_sooner_is_the_same(file);
  store->publish();
  expect_sooner_is_the_same(file);
  store->attempt_started(make_attempt("t3", "evaluation", 1, {"c3"}));
  store->sync();
  expect_sooner_is_the_same(file);
  EXPECT_EQ(read_results(file).cells[3].status, "running");
  store->attempt_ended(make_attempt("t3", "evaluation", 1, {"c3"}), {"c3"}, make_evaluation({"c3"}),
                       false);
  store->rerun({"c0", "f0"});
  store->sync();
  expect_sooner_is_the_same(file);
}

TEST(ReadResults, DoesNotReadTheJournalBeforeThePublishedFile) {
  const TemporaryFolder directory;
  const fs::path file = directory / "s.h5", journal = directory / "s.d/journal";
  {
    const auto store = Store::open(file);
    fill(*store);
    store->publish();
    store->skipped("c3", "after");
    store->sync();
  }
  std::vector<uint8_t> bytes = read_file(journal);
  bytes[200] ^= 1;
  replace_file(journal, bytes);
  EXPECT_THROW(read_store(file), Error);
  EXPECT_EQ(read_results(file).cells[3].status, "skipped");
}

}  // namespace
}  // namespace ropesweep
