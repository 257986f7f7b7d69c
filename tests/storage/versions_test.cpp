// A store is readable by every later version. fixtures/v1 was written by the first one: 12 cells of
// the tiny model, one fine-tune, one cell marked to be run again. It stays as it is for ever; a
// change of the format adds fixtures/v2 beside it.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "storage/migrations.h"
#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

const fs::path kFixture = fs::path(ROPESWEEP_SOURCE_DIR) / "tests/storage/fixtures/v1";

/// A table as `query --format csv` of the first version printed it.
std::string csv_of(const StoreContents& contents, const std::string& name) {
  const Table table = make_table(contents, name);
  const size_t rows = table[0].is_text ? table[0].texts.size() : table[0].numbers.size();
  std::string text;
  const auto field = [](const Column& column, size_t row) -> std::string {
    if (!column.is_text) {
      const double value = column.numbers[row];
      return std::isnan(value) ? "" : fmt::format("{}", value);
    }
    const std::string& value = column.texts[row];
    return value.find(',') == std::string::npos ? value : "\"" + value + "\"";
  };
  for (size_t i = 0; i < table.size(); ++i) text += (i > 0 ? "," : "") + table[i].name;
  for (size_t row = 0; row < rows; ++row) {
    text += "\n";
    for (size_t i = 0; i < table.size(); ++i) text += (i > 0 ? "," : "") + field(table[i], row);
  }
  return text + "\n";
}

std::string expected_csv(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(kFixture / (name + ".csv")).rdbuf();
  return text.str();
}

void expect_first_versions_tables(const StoreContents& contents) {
  for (const char* name : {"cells", "fine_tunes", "attempts", "curves", "samples"}) {
    EXPECT_EQ(csv_of(contents, name), expected_csv(name)) << name;
  }
}

TEST(Versions, TheFirstOnesJournalAndFileAreRead) {
  ASSERT_TRUE(fs::exists(kFixture / "old.d/journal"));
  expect_first_versions_tables(read_store(kFixture / "old.h5"));
  expect_first_versions_tables(read_snapshot(kFixture / "old.h5"));
  expect_first_versions_tables(read_results(kFixture / "old.h5"));
  EXPECT_TRUE(check_store(kFixture / "old.h5", false).findings.empty());
}

TEST(Versions, ARunGoesOnFromTheFirstOnesStore) {
  const TemporaryFolder directory;
  for (const bool with_journal : {true, false}) {
    const fs::path file = directory / (with_journal ? "a.h5" : "b.h5");
    fs::copy_file(kFixture / "old.h5", file);
    if (with_journal) {
      fs::create_directory(store_directory(file));
      fs::copy_file(kFixture / "old.d/journal", store_directory(file) / "journal");
    }
    {
      const auto store = Store::open(file);
      expect_first_versions_tables(store->contents());
      store->skipped("7b3e8fa2be5dd6d459e2", "in a later version");
      store->publish();
    }
    EXPECT_EQ(read_results(file).cells[1].failure, "in a later version");
    EXPECT_TRUE(check_store(file, false).findings.empty());
  }
}

// The mechanism, with steps of this test's own: the lists have none yet.
TEST(Versions, APublishedFilesContentsAreLedThroughEachStep) {
  const SchemaUpgrade steps[] = {
      [](StoreContents& contents) { contents.provenance.text["way"] += "1-2 "; },
      [](StoreContents& contents) { contents.provenance.text["way"] += "2-3 "; }};
  for (const auto& [version, way] :
       std::map<int64_t, std::string>{{1, "1-2 2-3 "}, {2, "2-3 "}, {3, ""}}) {
    StoreContents contents;
    upgrade_contents(contents, version, steps);
    EXPECT_EQ(contents.provenance.text["way"], way);
  }
}

}  // namespace
}  // namespace ropesweep
