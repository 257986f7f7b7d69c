// Figures from sums, against plain computations over the units; and JSON both ways.
#include "experiments/outcome.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "experiments/task.h"

namespace ropesweep {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

TEST(Metrics, TokenPerplexityAndItsError) {
  const std::vector<double> nll = {120.5, 260.25, 75.125, 410.0};
  const std::vector<double> tokens = {50, 120, 40, 150};
  Measure measure{.metric = "ppl_token", .count = 4};
  for (size_t i = 0; i < nll.size(); ++i) {
    measure.sum_nll += nll[i];
    measure.tokens += static_cast<int64_t>(tokens[i]);
    measure.sum_yy += nll[i] * nll[i];
    measure.sum_yt += nll[i] * tokens[i];
    measure.sum_tt += tokens[i] * tokens[i];
  }
  const double mean = measure.sum_nll / 360;
  double residuals = 0;
  for (size_t i = 0; i < nll.size(); ++i) residuals += std::pow(nll[i] - mean * tokens[i], 2);
  EXPECT_DOUBLE_EQ(metric_value(measure), std::exp(mean));
  EXPECT_NEAR(metric_standard_error(measure),
              std::exp(mean) * std::sqrt(4.0 / 3.0 * residuals) / 360, 1e-10);
}

TEST(Metrics, WindowPerplexityIsAPlainMean) {
  const std::vector<double> means = {2.1, 2.4, 1.9};
  Measure measure{.metric = "ppl_window", .count = 3, .tokens = 999};
  for (const double mean : means) {
    measure.sum_nll += mean;
    measure.sum_yy += mean * mean;
  }
  const double mean = measure.sum_nll / 3;
  double variance = 0;
  for (const double one : means) variance += std::pow(one - mean, 2) / 2;
  EXPECT_DOUBLE_EQ(metric_value(measure), std::exp(mean));
  EXPECT_NEAR(metric_standard_error(measure), std::exp(mean) * std::sqrt(variance / 3), 1e-12);
}

// By hand: losses 2, 6, 4 over 1, 2, 3 tokens have the mean 12 / 6 = 2 and the rests 0, 2, −2, so
// the error is √(3/2 · 8) / 6 = √12 / 6.
TEST(Metrics, LossByPositionIsAMeanWithItsRatioError) {
  const Measure loss{.metric = "loss@16-31",
                     .count = 3,
                     .sum_nll = 12,
                     .tokens = 6,
                     .sum_yy = 4 + 36 + 16,
                     .sum_yt = 2 + 12 + 12,
                     .sum_tt = 1 + 4 + 9};
  EXPECT_DOUBLE_EQ(metric_value(loss), 2);
  EXPECT_NEAR(metric_standard_error(loss), 0.57735026919, 1e-11);
  Measure perplexity = loss;
  perplexity.metric = "ppl_token";
  EXPECT_NEAR(metric_value(perplexity), 7.38905609893, 1e-11);
  EXPECT_NEAR(metric_standard_error(perplexity), 4.26607352771, 1e-9);
  EXPECT_TRUE(std::isnan(metric_value(Measure{.metric = "loss@1"})));
  EXPECT_TRUE(std::isnan(
      metric_standard_error(Measure{.metric = "loss@1", .count = 1, .sum_nll = 1, .tokens = 1})));
}

TEST(Metrics, OneUnitHasNoError) {
  const Measure measure{.metric = "ppl_token", .count = 1, .sum_nll = 10, .tokens = 5};
  EXPECT_TRUE(std::isnan(metric_standard_error(measure)));
  EXPECT_TRUE(std::isnan(metric_value(Measure{.metric = "ppl_token"})));
  EXPECT_TRUE(std::isnan(metric_value(Measure{.metric = "accuracy"})));
  EXPECT_TRUE(std::isnan(metric_standard_error(Measure{.metric = "accuracy"})));
}

TEST(Metrics, AccuracyWithWilsonError) {
  const Measure half{.metric = "accuracy", .count = 100, .hits = 50};
  EXPECT_DOUBLE_EQ(metric_value(half), 0.5);
  // Roots of (p̂ − p)² = p(1 − p)/n, the interval's ends: half their distance.
  const auto by_roots = [](double share, double n) {
    const double a = 1 + 1 / n, b = -(2 * share + 1 / n), c = share * share;
    return std::sqrt(b * b - 4 * a * c) / (2 * a);
  };
  EXPECT_NEAR(metric_standard_error(half), by_roots(0.5, 100), 1e-14);
  const Measure none{.metric = "accuracy@start", .count = 20, .hits = 0};
  EXPECT_EQ(metric_value(none), 0);
  EXPECT_NEAR(metric_standard_error(none), by_roots(0, 20), 1e-14);
  EXPECT_GT(metric_standard_error(none), 0);
  // 3 of 10 by hand: √(0.3 · 0.7 / 10 + 1 / 400) / 1.1 = 0.1532971 / 1.1.
  EXPECT_NEAR(metric_standard_error(Measure{.metric = "accuracy", .count = 10, .hits = 3}),
              0.13936098, 1e-7);
}

TEST(Json, OutcomeKeepsEveryFieldAndNumber) {
  Outcome outcome;
  outcome.failure_kind = FailureKind::diverged;
  outcome.failure = "loss NaN at step 3";
  Measure measure{.metric = "ppl_token", .count = 3, .sum_nll = 0.1, .tokens = 7, .hits = 1};
  measure.sum_yy = 1e300;
  measure.sum_yt = 1.0 / 3.0;
  measure.sum_tt = 49;
  outcome.cells = {
      {"cell",
       {measure},
       {{4, "text", "ref", true, "start", true, 7, 0.1, 2, nan, 0.25}, {5, "", "", false, ""}},
       1.5}};
  Curve curve;
  curve.step = {1, 2};
  curve.training_loss = {3.25, std::numeric_limits<double>::infinity()};
  curve.validation_loss = {nan, 2.5};
  curve.learning_rate = {1e-3, 2e-5};
  curve.gradient_norm = {1, nan};
  outcome.fine_tunes = {{"ft", 2, 100, 3.25, nan, curve, "checkpoints/ft", {}}};
  outcome.seconds = 12.5;
  outcome.device = "cpu";
  outcome.type = "bf16";

  const std::string text = nlohmann::json(outcome).dump();
  const Outcome back = nlohmann::json::parse(text).get<Outcome>();
  EXPECT_EQ(nlohmann::json(back).dump(), text);
  EXPECT_EQ(back.failure_kind, FailureKind::diverged);
  EXPECT_EQ(back.cells[0].measures[0].sum_yt, 1.0 / 3.0);
  EXPECT_TRUE(back.cells[0].samples[0].hit);
  EXPECT_TRUE(back.cells[0].samples[0].second_hit);
  EXPECT_EQ(back.cells[0].samples[0].nll, 0.1);
  EXPECT_TRUE(std::isnan(back.cells[0].samples[0].window_nll));
  EXPECT_EQ(nlohmann::json(back.cells[0].samples[1]).dump(), R"({"index":5})")
      << "what says nothing takes no room in the journal";
  EXPECT_TRUE(std::isnan(back.fine_tunes[0].curve.validation_loss[0]));
  EXPECT_TRUE(std::isinf(back.fine_tunes[0].curve.training_loss[1]));
  EXPECT_TRUE(std::isnan(back.fine_tunes[0].validation_loss));
}

TEST(Json, TaskKeepsEveryField) {
  Task task;
  task.id = "id";
  task.kind = TaskKind::fine_tune;
  task.needs = {"parent"};
  task.scale = 4;
  Cell cell;
  cell.id = "c";
  cell.scheme = "yarn";
  cell.context_length = 4096;
  cell.fine_tune = "f";
  task.cells = {cell};
  task.dataset.name = "wiki";
  task.dataset.window = "truncated";
  task.fine_tune.recipe.train_scale = 16;
  task.fine_tune.recipe.beta2 = 0.95;
  task.fine_tune.recipe.lora.rank = 8;
  task.fine_tune.shared_by = {"c"};
  task.workers.type = "bf16";
  task.flops = 1.5e18;
  const nlohmann::json json = task;
  const Task back = json.get<Task>();
  EXPECT_EQ(nlohmann::json(back), json);
  EXPECT_EQ(back.kind, TaskKind::fine_tune);
  EXPECT_EQ(back.fine_tune.recipe.train_scale, 16);
  EXPECT_EQ(back.cells[0].context_length, 4096);
}

TEST(Json, SamplesOfOlderJournalsAreRead) {
  const auto record =
      nlohmann::json::parse(R"({"index":4,"text":"t","reference":"r","hit":true,"location":"end"})")
          .get<SampleRecord>();
  EXPECT_EQ(record.index, 4);
  EXPECT_EQ(record.text, "t");
  EXPECT_TRUE(record.hit);
  EXPECT_EQ(record.tokens, 0);
}

TEST(Json, AbsentFieldsKeepDefaultsAndWrongOnesAreNamed) {
  const auto recipe = nlohmann::json::parse(R"({"steps": 5})").get<RecipeSettings>();
  EXPECT_EQ(recipe.steps, 5);
  EXPECT_EQ(recipe.clip, 1.0);
  EXPECT_FALSE(recipe.train_scale.has_value());
  try {
    nlohmann::json::parse(R"({"steps": "five"})").get<RecipeSettings>();
    FAIL() << "a text is no number";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).rfind("JSON field \"steps\": ", 0), 0U) << error.what();
  }
}

TEST(Json, WholeNumbersHaveNoFractionAndFitTheirType) {
  for (const char* text : {R"({"steps": 2.5})", R"({"steps": 1e300})", R"({"steps": true})",
                           R"({"steps": 18446744073709551615})", R"({"data_seed": -1})"}) {
    EXPECT_THROW(nlohmann::json::parse(text).get<RecipeSettings>(), Error) << text;
  }
  EXPECT_THROW(nlohmann::json::parse(R"({"step": [1, 2.5]})").get<Curve>(), Error);
  const auto largest = nlohmann::json::parse(R"({"data_seed": 18446744073709551615})");
  EXPECT_EQ(largest.get<RecipeSettings>().data_seed, UINT64_MAX);
}

TEST(FailureKinds, NamesGoBothWays) {
  for (const char* name : {"none", "user", "transient", "memory", "diverged", "time"}) {
    EXPECT_EQ(to_string(failure_kind_from(name)), name);
  }
  EXPECT_EQ(failure_kind_from("unheard of"), FailureKind::transient);
}

}  // namespace
}  // namespace ropesweep
