// status, rerun and the printed summary, over a small store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "analysis/rerun.h"
#include "analysis/status.h"
#include "analysis/summary.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using ::testing::ElementsAre;
using testing::fill;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_cell;
using testing::make_cells;
using testing::make_failure;
using testing::make_fine_tune;
using ::testing::Not;

std::string status_text(const std::filesystem::path& file, double now) {
  std::ostringstream out;
  print_status(out, make_status(read_store(file), store_directory(file)), now);
  return out.str();
}

nlohmann::json status_json(const std::filesystem::path& file) {
  std::ostringstream out;
  print_status_json(out, make_status(read_store(file), store_directory(file)));
  return nlohmann::json::parse(out.str());
}

TEST(Status, TellsWhoRunsWhatAndWhyTasksWait) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  {
    const auto store = Store::open(file);
    fill(*store);
    std::ofstream(directory / "s.d/live.json")
        << R"({"updated_at": 1000, "eta_seconds": 3720, "workers": [
             {"rank": 1, "host": "n1", "device": "cpu", "task": "t3", "what": "window 4 of 9",
              "fraction": 0.44, "since": 970}, {"rank": 2, "host": "n2", "device": "cpu", "task": ""}],
             "waiting": [{"task": "t9", "reason": "needs f1"}],
             "left_out": [{"what": "node n3", "why": "3 different tasks died on it"}]})";
    const std::string text = status_text(file, 1001);
    EXPECT_THAT(text, HasSubstr("2 finished, 1 pending, 1 failed"));
    EXPECT_THAT(text, HasSubstr("44 %  window 4 of 9  task t3, since 31 s"));
    EXPECT_THAT(text, HasSubstr("idle"));
    EXPECT_THAT(text, HasSubstr("1 × needs f1 (t9)"));
    EXPECT_THAT(text, HasSubstr("node n3: 3 different tasks died on it"));
    const nlohmann::json json = status_json(file);
    EXPECT_EQ(json["left_out"][0]["what"], "node n3");
    EXPECT_EQ(json["workers"][0]["host"], "n1");
    std::map<std::string, std::string> waiting;
    for (const auto& each : json["waiting"]) waiting[each["id"]] = each["reason"];
    EXPECT_EQ(waiting["t9"], "needs f1");
    EXPECT_EQ(waiting.size(), 1U + static_cast<size_t>(json["cells"]["pending"]) +
                                  json["fine_tunes"].value("pending", size_t{0}))
        << "every pending cell has its reason";
    EXPECT_THAT(text, HasSubstr("ETA 1 h 02 min"));
    EXPECT_THAT(text, HasSubstr("1 × cell failed (user): bad data"));
    EXPECT_THAT(text, Not(HasSubstr("as of")));
    EXPECT_THAT(status_text(file, 1060), HasSubstr("as of 1 min ago"));
    std::ofstream(directory / "s.d/live.json") << "{\"workers\": 3";
    EXPECT_THAT(status_text(file, 1001), HasSubstr("running: process"));
  }
  EXPECT_THAT(status_text(file, 1001), HasSubstr("no run is going on"));
  EXPECT_FALSE(status_json(file)["waiting"].empty());
}

TEST(Rerun, ChoosesFailuresAndWhatTheyWaitFor) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  store->plan(make_cells(), {make_fine_tune("f0")});
  store->attempt_ended(testing::make_attempt("f0", "fine_tune", 1), {},
                       make_failure(FailureKind::user, "no data"), true);
  store->skipped("c2", "f0 failed");
  store->skipped("c3", "f0 failed");
  const RerunMarks marks = choose_rerun(store->contents(), {true, "", false});
  EXPECT_THAT(marks.cells, ElementsAre("c2", "c3"));
  EXPECT_THAT(marks.fine_tunes, ElementsAre("f0"));
}

TEST(Rerun, ChoosesByExpressionWithFineTunesAndTheirParents) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  FineTune child = make_fine_tune("f1");
  child.parent = "f0";
  store->plan({make_cell("d0", "yarn", 128, "f1")}, {make_fine_tune("f0"), child});
  fill(*store);
  store->attempt_ended(testing::make_attempt("f1", "fine_tune", 1), {},
                       testing::make_training("f1"), false);
  store->attempt_ended(testing::make_attempt("t", "evaluation", 1), {"d0"},
                       testing::make_evaluation({"d0"}), false);
  const std::string where = "context_length = 128";
  EXPECT_THAT(choose_rerun(store->contents(), {false, where, false}).cells, ElementsAre("d0"));
  EXPECT_THAT(choose_rerun(store->contents(), {false, where, false}).fine_tunes, IsEmpty());
  EXPECT_THAT(choose_rerun(store->contents(), {false, where, true}).fine_tunes,
              ElementsAre("f0", "f1"));
  EXPECT_THAT(choose_rerun(store->contents(), {false, "id = 'c3'", false}).cells, IsEmpty())
      << "pending already";
  EXPECT_THROW(choose_rerun(store->contents(), {}), Error);
}

TEST(Summary, ShowsTheMainMetricBySchemeAndLength) {
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  std::ostringstream out;
  print_summary(out, store->contents());
  EXPECT_THAT(out.str(), HasSubstr("wiki: ppl_token by context length (tiny, zero-shot)\n"));
  EXPECT_THAT(out.str(), HasSubstr("7.389 ± "));
  EXPECT_THAT(out.str(), HasSubstr("failed"));
  EXPECT_THAT(out.str(), HasSubstr("yarn ×4"));
  EXPECT_THAT(out.str(), Not(HasSubstr("0.75"))) << "accuracy is not the main metric here";
}

}  // namespace
}  // namespace ropesweep
