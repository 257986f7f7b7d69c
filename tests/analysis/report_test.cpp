// The report's page: made from a published file alone, self-contained, and no ranking within the
// errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using ::testing::HasSubstr;
using testing::make_cell;
using ::testing::Not;
using testing::TemporaryDirectory;

/// A finished cell with `hits` of 100 right.
CellRecord accuracy_cell(const std::string& id, const std::string& scheme, int64_t length,
                         int64_t hits) {
  CellRecord record;
  record.cell = make_cell(id, scheme, length);
  record.cell.dataset = "passkey";
  record.status = "finished";
  record.outcome.cell = id;
  record.outcome.measures = {{"accuracy", 100, 0, 0, hits, 0, 0, 0}};
  return record;
}

class ReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("/usr/bin/python3 -c 'import h5py, pandas, matplotlib' 2>/dev/null") != 0) {
      GTEST_SKIP() << "h5py, pandas and matplotlib are not installed";
    }
  }

  std::string page(const StoreContents& contents) const {
    write_snapshot(directory_ / "s.h5", contents, {});
    const std::string output = (directory_ / "report.html").string();
    const std::string command = "/usr/bin/python3 " ROPESWEEP_SOURCE_DIR
                                "/analysis/plots/report.py " +
                                (directory_ / "s.h5").string() + " " + output;
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream file(output);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryDirectory directory_;
};

TEST_F(ReportTest, ClaimsNoRankingWithinTheErrors) {
  StoreContents contents;
  contents.provenance.text["sweep"] = "name = \"my <sweep>\"\n";
  contents.cells = {accuracy_cell("a", "none", 256, 50), accuracy_cell("b", "yarn", 256, 55)};
  const std::string close = page(contents);
  EXPECT_THAT(close, HasSubstr("the schemes are <b>not distinguishable</b>"));
  EXPECT_THAT(close, Not(HasSubstr("class=\"best\"")));
  EXPECT_THAT(close, HasSubstr("<h1>my &lt;sweep&gt;</h1>"));

  contents.cells[1] = accuracy_cell("b", "yarn", 256, 95);
  const std::string apart = page(contents);
  EXPECT_THAT(apart, HasSubstr("At 256 tokens <b>yarn</b> is best"));
  EXPECT_THAT(apart, HasSubstr("class=\"best\">95.0 %"));
}

TEST_F(ReportTest, ShowsTrainingAndFailuresWithoutTheNetwork) {
  const auto store = Store::open(directory_ / "full.h5");
  testing::fill(*store);
  const std::string html = page(store->contents());
  EXPECT_THAT(html, HasSubstr("<svg role=\"img\" aria-label=\"tuned: loss by step\""));
  EXPECT_THAT(html, HasSubstr("bad data"));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
  EXPECT_THAT(html, Not(HasSubstr("<link")));
  EXPECT_THAT(html, Not(HasSubstr("@import")));
}

TEST_F(ReportTest, AStoreWithoutResultsIsAPageToo) {
  StoreContents contents;
  EXPECT_THAT(page(contents), HasSubstr("No cell has a result yet."));
  CellRecord pending;
  pending.cell = make_cell("p", "none", 256);
  contents.cells = {pending};
  EXPECT_THAT(page(contents), HasSubstr("No cell has a result yet."));
}

}  // namespace
}  // namespace ropesweep
