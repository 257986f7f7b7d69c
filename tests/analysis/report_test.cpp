// The report's page: made from a published file alone, self-contained, and no ranking within the
// errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "analysis/derived_tables.h"
#include "analysis/format.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using ::testing::HasSubstr;
using testing::make_cell;
using ::testing::Not;

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
    std::ofstream pairs(directory_ / "s.pairs.csv");
    print_csv(pairs, make_pairs(contents));
    pairs.close();
    const std::string output = (directory_ / "report.html").string();
    const std::string command = "/usr/bin/python3 " ROPESWEEP_SOURCE_DIR
                                "/analysis/plots/report.py " +
                                (directory_ / "s.h5").string() + " " + output;
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream file(output);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryFolder directory_;
};

TEST_F(ReportTest, ClaimsNoRankingWithinTheErrors) {
  StoreContents contents;
  contents.provenance.text["sweep"] = "name = \"my <sweep>\"\n";
  contents.cells = {accuracy_cell("a", "none", 256, 50), accuracy_cell("b", "yarn", 256, 55)};
  const std::string close = page(contents);
  EXPECT_THAT(close, HasSubstr("the schemes are <b>not distinguishable</b>"));
  EXPECT_THAT(close, Not(HasSubstr("class=\"best\"")));
  EXPECT_THAT(close, HasSubstr("<h1>my &lt;sweep&gt;</h1>"));

  contents.cells.set(1, accuracy_cell("b", "yarn", 256, 95));
  const std::string apart = page(contents);
  EXPECT_THAT(apart, HasSubstr("At 256 tokens <b>yarn</b> is best"));
  EXPECT_THAT(apart, HasSubstr("class=\"best\">95.0 %"));
}

/// 100 answers of which the first `hits` are right.
std::vector<SampleRecord> answers(int64_t hits) {
  std::vector<SampleRecord> records;
  for (int64_t i = 0; i < 100; ++i) records.push_back({i, "", "", i < hits, ""});
  return records;
}

TEST_F(ReportTest, SaysWhereOnlyPairedDifferencesTell) {
  StoreContents contents;
  contents.cells = {accuracy_cell("a", "none", 256, 75), accuracy_cell("b", "yarn", 256, 85)};
  EXPECT_THAT(page(contents), HasSubstr("the schemes are <b>not distinguishable</b>"));
  contents.cells.change(0, [](CellRecord& record) { record.outcome.samples = answers(75); });
  contents.cells.change(1, [](CellRecord& record) { record.outcome.samples = answers(85); });
  const std::string html = page(contents);
  EXPECT_THAT(html,
              HasSubstr("At 256 tokens <b>yarn</b> is best. The interval of <b>yarn</b> overlaps "
                        "with <b>none</b>; only the paired differences over the same samples "
                        "tell them apart."));
  EXPECT_THAT(html, Not(HasSubstr("overlaps no other")));
  EXPECT_THAT(html, HasSubstr("<summary>paired differences at 256</summary>"));
  EXPECT_THAT(html, HasSubstr("+10.0<span class=\"error\">± 3.3 points</span>"));
}

TEST_F(ReportTest, ShowsContextsDepthsPositionsAndFindings) {
  StoreContents contents;
  for (const int64_t length : {256, 512}) {
    for (const char* scheme : {"none", "linear", "yarn"}) {
      const std::string id = scheme + std::to_string(length);
      CellRecord answered = accuracy_cell(id, scheme, length, length == 256 ? 90 : 30);
      answered.outcome.measures.push_back({"accuracy@0.3", 10, 0, 0, 7, 0, 0, 0});
      contents.cells.push_back(answered);
      CellRecord loss = accuracy_cell("l" + id, scheme, length, 0);
      loss.cell.dataset = "book";
      loss.outcome.measures = {{"ppl_token", 2, 200, 100, 0, 20200, 10100, 5200},
                               {"loss@1-15", 2, 200, 100, 0, 20200, 10100, 5200},
                               {"loss@16-255", 2, 100, 100, 0, 5200, 5100, 5200}};
      contents.cells.push_back(loss);
    }
  }
  const std::string html = page(contents);
  EXPECT_THAT(html, HasSubstr("<h2 id=contexts>Longest contexts</h2>"));
  EXPECT_THAT(html, HasSubstr("</span>linear</td><td>256</td>"));
  EXPECT_THAT(html, HasSubstr("<th>linear: depth</th><th>256</th><th>512</th>"));
  EXPECT_THAT(html, HasSubstr("0.3 to 0.4</td>"));
  EXPECT_THAT(html, HasSubstr("Loss by position in a window of 512 tokens"));
  EXPECT_THAT(html, HasSubstr("loss by position, window of 512\""));
  EXPECT_THAT(html, Not(HasSubstr("loss@"))) << "drawn, no table each";
  EXPECT_THAT(html, HasSubstr("<h2 id=findings>Findings</h2>"));
  for (const char* claim :
       {"The linear scheme is the most robust", "Scale N does not give N times the context",
        "Truncation and randomisation have fine perplexity but weak retrieval",
        "Instruction tuning lifts accuracy, not range",
        "Different tasks rank the schemes differently"}) {
    EXPECT_THAT(html, HasSubstr(claim));
  }
  EXPECT_THAT(html, HasSubstr("<span class=\"verdict\">these cells can't tell</span>"));
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
