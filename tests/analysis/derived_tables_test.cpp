// Paired differences against numbers made by hand, and the tables formed of a store's cells.
#include "analysis/derived_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "analysis/expression.h"
#include "analysis/paired_difference.h"
#include "experiments/error.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using ::testing::ElementsAre;
using testing::make_cell;
using Records = std::vector<SampleRecord>;

/// Samples 0, 1, … with these hits.
Records answers(const std::string& hits) {
  Records records;
  for (const char hit : hits) {
    SampleRecord record;
    record.index = static_cast<int64_t>(records.size());
    record.hit = hit == '1';
    record.second_hit = hit == '1' && records.size() % 2 == 0;
    records.push_back(record);
  }
  return records;
}

/// Documents of 1, 2, 3 … tokens with these losses, one window each.
Records documents(const std::vector<double>& losses) {
  Records records;
  for (const double loss : losses) {
    SampleRecord record;
    record.index = static_cast<int64_t>(records.size());
    record.nll = loss;
    record.tokens = record.index + 1;
    record.windows = 1;
    record.window_nll = loss / static_cast<double>(record.tokens);
    records.push_back(record);
  }
  return records;
}

// Only a hits 3, 4, 5, 6, only b hits 7: (4 − 1)/10, and √(7/12 − (3/12)²) / √12 = √(75/1728) =
// 5/24.
TEST(PairedDifference, OfAccuracies) {
  const auto found =
      paired_difference(answers("1111111000"), answers("1110000100"), PairedFigure::hit);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->count, 10);
  EXPECT_DOUBLE_EQ(found->value_a, 0.7);
  EXPECT_DOUBLE_EQ(found->value_b, 0.4);
  EXPECT_DOUBLE_EQ(found->difference, 0.3);
  EXPECT_NEAR(found->standard_error, 5.0 / 24, 1e-15);
  EXPECT_TRUE(std::isnan(found->log_ratio));
  EXPECT_FALSE(tells_apart(*found));
  const auto second =
      paired_difference(answers("1111111000"), answers("1110000100"), PairedFigure::second_hit);
  EXPECT_DOUBLE_EQ(second->value_a, 0.4) << "of 0, 2, 4, 6";
  EXPECT_DOUBLE_EQ(second->value_b, 0.2);
}

// The intervals of 0.85 and 0.75 over 100 samples overlap, but no sample says that b is better.
TEST(PairedDifference, TellsApartWhatSeparateIntervalsDoNot) {
  const std::string a = std::string(85, '1') + std::string(15, '0');
  const std::string b = std::string(75, '1') + std::string(25, '0');
  const auto found = paired_difference(answers(a), answers(b), PairedFigure::hit);
  EXPECT_DOUBLE_EQ(found->difference, 0.1);
  // √(12/102 − (10/102)²) / √102
  EXPECT_NEAR(found->standard_error, 0.0325449, 1e-6);
  EXPECT_TRUE(tells_apart(*found));
  const Measure of_a{.metric = "accuracy", .count = 100, .hits = 85};
  const Measure of_b{.metric = "accuracy", .count = 100, .hits = 75};
  EXPECT_LT(metric_value(of_a) - 1.96 * metric_standard_error(of_a),
            metric_value(of_b) + 1.96 * metric_standard_error(of_b));
}

// Exact McNemar: five against none has p = 1/16; six has 1/32.
TEST(PairedDifference, KeepsItsLevelWhereFewSamplesDiffer) {
  const std::string base(50, '0');
  const auto better_on = [&](size_t count) {
    return *paired_difference(answers(std::string(count, '1') + std::string(50 - count, '0')),
                              answers(base), PairedFigure::hit);
  };
  EXPECT_GT(better_on(0).standard_error, 0);
  EXPECT_FALSE(tells_apart(better_on(5)));
  EXPECT_TRUE(tells_apart(better_on(6)));
}

// Losses 2, 6, 4 and 1, 5, 0 over 1, 2, 3 tokens: means 2 and 1; the differences 1, 1, 4 leave the
// rests 0, −1, 1, so √(3/2 · 2) / 6 = √3 / 6; for e² − e: rests of e²·(0, 2, −2) − e·(0, 3, −3).
TEST(PairedDifference, OfTokenPerplexities) {
  const auto found =
      paired_difference(documents({2, 6, 4}), documents({1, 5, 0}), PairedFigure::token_loss);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->count, 3);
  EXPECT_DOUBLE_EQ(found->log_ratio, 1);
  EXPECT_NEAR(found->log_ratio_error, std::sqrt(3.0) / 6, 1e-14);
  EXPECT_NEAR(found->difference, 4.67077427, 1e-8);
  EXPECT_NEAR(found->standard_error, 1.9119725, 1e-6);
  EXPECT_TRUE(tells_apart(*found));
}

// Shares 0.5, 0.25, 0.75 and 0.25, 0.25, 0: differences 1/4, 0, 3/4 of mean 1/3.
TEST(PairedDifference, OfShares) {
  Records a(3), b(3);
  for (size_t i = 0; i < 3; ++i) a[i].index = b[i].index = static_cast<int64_t>(i);
  a[0].share = 0.5;
  a[1].share = a[2].share = 0.25;
  a[2].share = 0.75;
  b[0].share = b[1].share = 0.25;
  const auto found = paired_difference(a, b, PairedFigure::share);
  EXPECT_DOUBLE_EQ(found->difference, 1.0 / 3);
  EXPECT_NEAR(found->standard_error, std::sqrt(7.0 / 48 / 3), 1e-14);
}

// Means of windows 2, 3, 4/3 and 1, 5/2, 0: differences 1, 1/2, 4/3 of mean 17/18.
TEST(PairedDifference, OfWindowPerplexities) {
  const auto found =
      paired_difference(documents({2, 6, 4}), documents({1, 5, 0}), PairedFigure::window_loss);
  EXPECT_NEAR(found->log_ratio, 17.0 / 18, 1e-14);
  EXPECT_NEAR(found->log_ratio_error, 0.2421610, 1e-7);
}

TEST(PairedDifference, NeedsTheSameSamples) {
  Records later = documents({1, 5, 0, 9});
  later.erase(later.begin());
  const auto common = paired_difference(documents({2, 6, 4}), later, PairedFigure::token_loss);
  ASSERT_TRUE(common);
  EXPECT_EQ(common->count, 2);
  EXPECT_DOUBLE_EQ(common->log_ratio, (1.0 + 4.0) / 5);
  later[0].tokens = 9;
  EXPECT_FALSE(paired_difference(documents({2, 6, 4}), later, PairedFigure::token_loss))
      << "measured otherwise";
  EXPECT_FALSE(paired_difference({}, later, PairedFigure::token_loss));
  const auto lone = paired_difference(documents({2}), documents({1}), PairedFigure::token_loss);
  EXPECT_TRUE(std::isnan(lone->standard_error));
  EXPECT_FALSE(tells_apart(*lone));
}

CellRecord record_of(const std::string& id, const std::string& scheme, int64_t length,
                     std::vector<std::string> metrics, Records samples) {
  CellRecord record;
  record.cell = make_cell(id, scheme, length);
  record.cell.canonical = R"({"data":{"digest":"d"}})";
  record.status = "finished";
  for (const std::string& metric : metrics) {
    Measure measure{.metric = metric, .count = static_cast<int64_t>(samples.size())};
    for (const SampleRecord& sample : samples) measure.hits += sample.hit ? 1 : 0;
    record.outcome.measures.push_back(measure);
  }
  record.outcome.samples = std::move(samples);
  return record;
}

const Column& column(const Table& table, const std::string& name) {
  return find_column(table, name, "test");
}

TEST(Pairs, AreAllTwosOfTheSameSamples) {
  StoreContents contents;
  const std::vector<std::string> both = {"accuracy", "accuracy_word_boundary", "accuracy@start"};
  contents.cells = {record_of("a", "none", 256, both, answers("1100")),
                    record_of("b", "yarn", 256, both, answers("1110")),
                    record_of("c", "ntk", 256, {"accuracy"}, answers("1111")),
                    record_of("d", "yarn", 512, both, answers("1111")),
                    record_of("e", "yarn", 256, both, answers("1111")),
                    record_of("f", "yarn", 256, both, {})};
  contents.cells.change(
      4, [](CellRecord& record) { record.cell.canonical = R"({"data":{"digest":"other"}})"; });
  const Table table = make_pairs(contents);
  EXPECT_THAT(column(table, "cell_a").texts, ElementsAre("a", "a", "a", "b"));
  EXPECT_THAT(column(table, "cell_b").texts, ElementsAre("b", "b", "c", "c"));
  EXPECT_THAT(column(table, "metric").texts,
              ElementsAre("accuracy", "accuracy_word_boundary", "accuracy", "accuracy"));
  EXPECT_THAT(column(table, "difference").numbers, ElementsAre(-0.25, -0.25, -0.5, -0.25));
  EXPECT_THAT(column(table, "count").numbers, ElementsAre(4, 4, 4, 4));
  EXPECT_THAT(column(table, "scheme_a").texts, ElementsAre("none", "none", "none", "yarn"));
  // More rows of the same samples make no other samples.
  contents.cells.change(1, [](CellRecord& record) {
    record.cell.canonical = R"({"data":{"by_position":"16","digest":"d"}})";
  });
  EXPECT_EQ(column(make_pairs(contents), "cell_a").texts.size(), 4u);
}

TEST(Pairs, OfPerplexitiesHaveBothAverages) {
  StoreContents contents;
  const std::vector<std::string> metrics = {"ppl_token", "ppl_window", "loss@1-15"};
  contents.cells = {record_of("a", "none", 256, metrics, documents({2, 6, 4})),
                    record_of("b", "yarn", 256, metrics, documents({1, 5, 0}))};
  const Table table = make_pairs(contents);
  EXPECT_THAT(column(table, "metric").texts, ElementsAre("ppl_token", "ppl_window"));
  EXPECT_THAT(column(table, "distinguishable").numbers, ElementsAre(1, 1));
}

TEST(Pairs, OfTruthfulQuestionsAreOfHitsAndShares) {
  StoreContents contents;
  contents.cells = {record_of("a", "none", 256, {"accuracy_mc1", "mc2"}, answers("1100")),
                    record_of("b", "yarn", 256, {"accuracy_mc1", "mc2"}, answers("1110"))};
  const Table table = make_pairs(contents);
  EXPECT_THAT(column(table, "metric").texts, ElementsAre("accuracy_mc1", "mc2"));
  EXPECT_THAT(column(table, "difference").numbers, ElementsAre(-0.25, 0));
}

TEST(Contexts, AreTheLongestThatReachTheThreshold) {
  StoreContents contents;
  const auto add = [&contents](const std::string& scheme, int64_t length, int64_t hits) {
    const std::string text = std::string(static_cast<size_t>(hits), '1') +
                             std::string(static_cast<size_t>(10 - hits), '0');
    contents.cells.push_back(
        record_of(scheme + std::to_string(length), scheme, length, {"accuracy"}, answers(text)));
  };
  add("none", 512, 2);  // in any order
  add("none", 256, 8);
  add("yarn", 256, 9);
  add("yarn", 512, 5);
  add("yarn", 1024, 8);
  add("ntk", 256, 7);
  contents.cells.push_back(record_of("p", "ntk", 256, {"ppl_token"}, {}));
  const Table table = make_contexts(contents, 0.8);
  EXPECT_THAT(column(table, "scheme").texts, ElementsAre("none", "yarn", "ntk"));
  EXPECT_THAT(column(table, "context_length").numbers, ElementsAre(256, 1024, 0));
  EXPECT_THAT(column(table, "unbroken_length").numbers, ElementsAre(256, 256, 0));
  EXPECT_THAT(column(table, "next_length").numbers, ElementsAre(512, 0, 256));
  EXPECT_THAT(column(table, "measured").numbers, ElementsAre(2, 3, 1));
  EXPECT_DOUBLE_EQ(column(table, "value").numbers[1], 0.8);
  EXPECT_TRUE(std::isnan(column(table, "value").numbers[2]));
  EXPECT_THAT(column(make_contexts(contents, 0.7), "context_length").numbers,
              ElementsAre(256, 1024, 256));
  EXPECT_THROW(make_contexts(contents, 0), Error);
}

TEST(AnyTable, IsFoundByItsNameOrTheNearest) {
  const StoreContents contents;
  EXPECT_FALSE(make_any_table(contents, "pairs").empty());
  EXPECT_FALSE(make_any_table(contents, "contexts").empty());
  EXPECT_EQ(make_any_table(contents, "samples").size(), make_table(contents, "samples").size());
  try {
    make_any_table(contents, "pair");
    FAIL() << "there is no such table";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did you mean pairs?"));
  }
}

}  // namespace
}  // namespace ropesweep
