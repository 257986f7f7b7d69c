// Damage at every byte: `check` finds it, `--repair` keeps all other results and every byte that it
// replaces, and the next run completes.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "experiments/file_digests.h"
#include "storage/journal.h"
#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using testing::fill;
using testing::make_attempt;
using testing::make_cells;
using testing::make_evaluation;
using testing::make_fine_tune;
using testing::make_training;

namespace fs = std::filesystem;

using Bytes = std::vector<uint8_t>;

void overwrite(const fs::path& path, std::span<const uint8_t> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

/// What a cell's row says: its metrics to the bit, or its failure.
std::string figures_of(const CellRecord& record) {
  nlohmann::json measures = nlohmann::json::array();
  for (const Measure& measure : record.outcome.measures) measures.push_back(measure);
  return record.status + " " + record.failure + " " + measures.dump();
}

/// Each cell has what it had, or nothing: then the next run does it again. Returns how many have.
size_t expect_kept_or_pending(const StoreContents& now, const StoreContents& before) {
  std::map<std::string, std::string> had;
  for (const CellRecord& record : before.cells) had[record.cell.id] = figures_of(record);
  size_t kept = 0;
  for (const CellRecord& record : now.cells) {
    if (record.status == "pending") continue;
    EXPECT_EQ(figures_of(record), had[record.cell.id]) << record.cell.id;
    ++kept;
  }
  return kept;
}

/// As a run does: opens, plans, computes what is missing, publishes.
void complete(const fs::path& file) {
  const auto store = Store::open(file);
  store->plan(make_cells(), {make_fine_tune("f0")});
  const StoreContents before = store->contents();
  for (const FineTuneRecord& record : before.fine_tunes) {
    if (record.status == "finished") continue;
    store->attempt_ended(make_attempt(record.fine_tune.id, "fine_tune", 9), {},
                         make_training(record.fine_tune.id), false);
  }
  for (const CellRecord& record : before.cells) {
    if (record.status == "finished" || record.status == "failed") continue;
    const std::string& id = record.cell.id;
    store->attempt_ended(make_attempt("again-" + id, "evaluation", 9), {id}, make_evaluation({id}),
                         false);
  }
  store->publish();
}

/// The end of `complete`: four cells of the plan, each with its axes and its figures.
void expect_complete(const fs::path& file) {
  const CheckReport report = check_store(file, false);
  EXPECT_TRUE(report.findings.empty()) << report.findings.front();
  std::set<std::string> schemes;
  const StoreContents contents = read_store(file);
  EXPECT_EQ(contents.cells.size(), 4u);
  for (const CellRecord& record : contents.cells) {
    EXPECT_TRUE(record.status == "finished" || record.failure == "bad data") << record.cell.id;
    schemes.insert(record.cell.id + " " + record.cell.scheme);
  }
  EXPECT_EQ(schemes, (std::set<std::string>{"c0 none", "c1 none", "c2 yarn", "c3 yarn"}));
}

/// A store in whose journal every event is a frame of its own; `published`: with a file of before
/// the last of them.
class RepairTest : public ::testing::Test {
 protected:
  void make(bool published) {
    fs::remove_all(directory_ / "s.d");
    fs::remove(file_);
    const auto store = Store::open(file_);
    const auto synced = [&store] { store->sync(); };
    store->provenance("sweep", "name = \"test\"\n");
    store->plan(make_cells(), {make_fine_tune("f0")});
    synced();
    store->attempt_ended(make_attempt("f0", "fine_tune", 1), {}, make_training("f0"), false);
    synced();
    store->attempt_ended(make_attempt("t0", "evaluation", 1), {"c0"}, make_evaluation({"c0"}),
                         false);
    synced();
    if (published) store->publish();
    store->attempt_ended(make_attempt("t2", "evaluation", 1), {"c2"}, make_evaluation({"c2"}),
                         false);
    synced();
    store->attempt_started(make_attempt("t3", "evaluation", 1, {"c3"}));
    synced();
    before_ = store->contents();
  }

  void restore(const Bytes& journal, const Bytes& published) {
    fs::remove_all(directory_ / "s.d");
    fs::remove(file_);
    fs::create_directory(directory_ / "s.d");
    overwrite(journal_, journal);
    if (!published.empty()) overwrite(file_, published);
  }

  /// The journal damaged in one way: check tells, repair keeps, a run completes.
  void try_journal(const Bytes& damaged, const Bytes& published, size_t least_kept) {
    restore(damaged, published);
    const bool found = !check_store(file_, false).findings.empty();
    ASSERT_TRUE(found);
    ASSERT_EQ(read_file(journal_), damaged) << "a check changes nothing";
    const CheckReport report = check_store(file_, true);
    ASSERT_TRUE(report.repaired);
    ASSERT_TRUE(check_store(file_, false).findings.empty());
    ASSERT_GE(expect_kept_or_pending(read_store(file_), before_), least_kept);
    ASSERT_TRUE(is_kept(damaged)) << "the damaged bytes are gone";
    complete(file_);
    expect_complete(file_);
  }

  /// Some file in NAME.d ends as `bytes` do.
  bool is_kept(const Bytes& bytes) const {
    for (const auto& entry : fs::directory_iterator(directory_ / "s.d")) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("journal.damaged") && !name.starts_with("journal.cut")) continue;
      const Bytes kept = read_file(entry.path());
      if (kept.size() <= bytes.size() && std::equal(kept.rbegin(), kept.rend(), bytes.rbegin())) {
        return true;
      }
    }
    return false;
  }

  TemporaryFolder directory_;
  fs::path file_ = directory_ / "s.h5", journal_ = directory_ / "s.d/journal";
  StoreContents before_;
};

// Steps are prime, so that over the two tests bytes of every kind of field are hit.
TEST_F(RepairTest, AFlippedByteOfTheJournalCostsAtMostItsFrame) {
  make(/*published=*/false);
  const Bytes whole = read_file(journal_);
  for (size_t at = 0; at < whole.size(); at += at < 64 ? 3 : 131) {
    SCOPED_TRACE(at);
    Bytes damaged = whole;
    damaged[at] ^= 0x21;
    try_journal(damaged, {}, 1);  // of two results at most one is in the frame that is hit
    if (HasFatalFailure()) return;
  }
}

TEST_F(RepairTest, WhatIsPublishedSurvivesAFlippedByteOfTheJournal) {
  make(/*published=*/true);
  const Bytes whole = read_file(journal_), published = read_file(file_);
  for (size_t at = 1; at < whole.size(); at += at < 64 ? 7 : 167) {
    SCOPED_TRACE(at);
    Bytes damaged = whole;
    damaged[at] ^= 0x80;
    try_journal(damaged, published, 1);
    if (HasFatalFailure()) return;
  }
}

TEST_F(RepairTest, ATruncatedJournalKeepsWhatIsBeforeAndWhatIsPublished) {
  make(/*published=*/true);
  const Bytes whole = read_file(journal_), published = read_file(file_);
  const int64_t covered = read_snapshot_stamp(file_).journal_bytes;
  for (size_t size = 0; size < whole.size(); size += 173) {
    SCOPED_TRACE(size);
    restore({whole.begin(), whole.begin() + static_cast<long>(size)}, published);
    if (size < static_cast<size_t>(covered)) {
      EXPECT_FALSE(check_store(file_, false).findings.empty());
    }
    check_store(file_, true);
    EXPECT_GE(expect_kept_or_pending(read_store(file_), before_), 1u);
    complete(file_);
    expect_complete(file_);
  }
}

TEST_F(RepairTest, AFlippedByteOfThePublishedFileIsFoundAndItIsMadeAnew) {
  make(/*published=*/true);
  {
    const auto store = Store::open(file_);
    store->publish();
  }
  const Bytes journal = read_file(journal_), whole = read_file(file_);
  const std::string tables = figures_of(read_store(file_).cells[0]);
  for (size_t at = 0; at < whole.size(); at += 997) {
    SCOPED_TRACE(at);
    Bytes damaged = whole;
    damaged[at] ^= 0x04;
    restore(journal, damaged);
    ASSERT_FALSE(check_store(file_, false).findings.empty());
    EXPECT_EQ(figures_of(read_results(file_).cells[0]), tables) << "a reader takes the journal";
    ASSERT_TRUE(check_store(file_, true).repaired);
    ASSERT_TRUE(check_store(file_, false).findings.empty());
    EXPECT_EQ(figures_of(read_snapshot(file_).cells[0]), tables);
    EXPECT_EQ(read_file(directory_ / "s.d/published.damaged-1.h5"), damaged);
  }
}

TEST_F(RepairTest, ALostJournalComesBackFromThePublishedFileUnlessThatIsDamagedToo) {
  make(/*published=*/true);
  Bytes published = read_file(file_);
  fs::remove(journal_);
  EXPECT_FALSE(check_store(file_, false).findings.empty());
  ASSERT_TRUE(check_store(file_, true).repaired);
  EXPECT_GE(expect_kept_or_pending(read_store(file_), before_), 1u);
  complete(file_);
  expect_complete(file_);
  fs::remove(journal_);
  published[published.size() / 2] ^= 1;
  overwrite(file_, published);
  for (const auto& action : {std::function<void()>([&] { check_store(file_, true); }),
                             std::function<void()>([&] { Store::open(file_); })}) {
    EXPECT_THROW(action(), Error) << "figures that nothing vouches for";
    EXPECT_EQ(read_file(file_), published);
  }
}

TEST_F(RepairTest, DamagedWeightsAreSetAsideAndMadeAgainAndResultsStay) {
  const fs::path weights = directory_ / "s.d/checkpoints/f0";
  fs::create_directories(weights);
  for (const char* name : {"config.json", "model.safetensors", "finished.json"}) {
    std::ofstream(weights / name) << "content of " << name;
  }
  {
    const auto store = Store::open(file_);
    store->plan(make_cells(), {make_fine_tune("f0")});
    Outcome outcome = make_training("f0");
    outcome.fine_tunes[0].digests = checkpoint_digests(weights);
    store->attempt_ended(make_attempt("f0", "fine_tune", 1), {}, outcome, false);
    store->attempt_ended(make_attempt("t2", "evaluation", 1), {"c2"}, make_evaluation({"c2"}),
                         false);
    store->publish();
  }
  EXPECT_TRUE(check_store(file_, false).findings.empty());
  EXPECT_EQ(read_snapshot(file_).fine_tunes[0].outcome.digests, checkpoint_digests(weights));
  std::ofstream(weights / "model.safetensors") << "content of model.safetensorz";
  const CheckReport told = check_store(file_, false);
  ASSERT_EQ(told.findings.size(), 1u);
  EXPECT_NE(told.findings[0].find("f0/model.safetensors: its SHA-256 is"), std::string::npos);
  ASSERT_TRUE(check_store(file_, true).repaired);
  EXPECT_TRUE(check_store(file_, false).findings.empty());
  const StoreContents contents = read_store(file_);
  EXPECT_EQ(contents.fine_tunes[0].status, "pending");
  EXPECT_EQ(contents.cells[2].status, "finished");
  EXPECT_FALSE(fs::exists(weights));
  EXPECT_TRUE(fs::exists(directory_ / "s.d/checkpoint.damaged-f0-1/model.safetensors"));
}

TEST_F(RepairTest, LeftoversOfInterruptedWritesAreToldAndRemoved) {
  make(/*published=*/true);
  std::ofstream(directory_ / "s.h5.new") << "half";
  std::ofstream(directory_ / "s.d/journal.new") << "half";
  EXPECT_EQ(check_store(file_, false).findings.size(), 0u);
  EXPECT_GE(check_store(file_, false).notes.size(), 2u);
  check_store(file_, true);
  EXPECT_FALSE(fs::exists(directory_ / "s.h5.new"));
  EXPECT_FALSE(fs::exists(directory_ / "s.d/journal.new"));
}

}  // namespace
}  // namespace ropesweep
