// Grids, compared with expansions made by hand; and what identities depend on.
#include "experiments/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "experiments/error.h"
#include "experiments/identity.h"
#include "tests/experiments/test_sweeps.h"

namespace ropesweep {
namespace {

using test::grid_of;
using test::sweep_with;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

std::vector<std::string> rows(const Grid& grid) {
  std::vector<std::string> all;
  for (const Cell& cell : grid.cells) {
    all.push_back(fmt::format("{} {} train {} eval {} {} {} seed {}", cell.recipe, cell.scheme,
                              cell.train_scale, cell.eval_scale, cell.context_length, cell.dataset,
                              cell.seed));
  }
  return all;
}

std::vector<std::string> ids(const Grid& grid) {
  std::vector<std::string> all;
  for (const Cell& cell : grid.cells) all.push_back(cell.id);
  for (const FineTune& fine_tune : grid.fine_tunes) all.push_back(fine_tune.id);
  return all;
}

TEST(Grid, LastAxisIsFastest) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = ["none", "linear"]
train_scale = 2
context_length = [64, 128]
dataset = "book"
recipe = "tuned"
seed = [0, 1])toml"));
  EXPECT_THAT(rows(grid), ElementsAre("tuned none train 1 eval 1 64 book seed 0",
                                      "tuned none train 1 eval 1 64 book seed 1",
                                      "tuned none train 1 eval 1 128 book seed 0",
                                      "tuned none train 1 eval 1 128 book seed 1",
                                      "tuned linear train 2 eval 2 64 book seed 0",
                                      "tuned linear train 2 eval 2 64 book seed 1",
                                      "tuned linear train 2 eval 2 128 book seed 0",
                                      "tuned linear train 2 eval 2 128 book seed 1"));
  EXPECT_EQ(grid.fine_tunes.size(), 4U) << "a scheme and a seed each";
}

TEST(Grid, ScaleAxesCollapse) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = ["none", "linear", "dynamic-ntk(factor=2)"]
train_scale = [1, 4]
eval_scale = ["train", 8]
context_length = 64
dataset = "book"
recipe = ["zero-shot", "tuned"])toml"));
  EXPECT_THAT(rows(grid),
              ElementsAre("zero-shot none train 1 eval 1 64 book seed 0",
                          "tuned none train 1 eval 1 64 book seed 0",
                          "zero-shot linear train 1 eval 1 64 book seed 0",
                          "tuned linear train 1 eval 1 64 book seed 0",
                          "zero-shot linear train 1 eval 8 64 book seed 0",
                          "tuned linear train 1 eval 8 64 book seed 0",
                          "zero-shot linear train 1 eval 4 64 book seed 0",
                          "tuned linear train 4 eval 4 64 book seed 0",
                          "tuned linear train 4 eval 8 64 book seed 0",
                          "zero-shot dynamic-ntk(factor=2) train 1 eval 1 64 book seed 0",
                          "tuned dynamic-ntk(factor=2) train 1 eval 1 64 book seed 0"));
  EXPECT_THAT(grid.notes, Contains("none has no scale: train_scale and eval_scale collapse to 1"));
  EXPECT_THAT(grid.notes, Contains(HasSubstr("zero-shot trains nothing")));
  EXPECT_THAT(grid.notes, Contains("13 of 24 points are the same as another and vanish"));
}

TEST(Grid, ExclusionsMatchThePointAsWritten) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = ["none", "linear"]
train_scale = [1, 4]
eval_scale = ["train", 4]
context_length = 64
dataset = "book"
recipe = "tuned")toml",
                                       R"toml([[exclude]]
scheme = "none"
train_scale = 4
[[exclude]]
scheme = ["none", "linear"]
eval_scale = 4
[[exclude]]
seed = 7)toml"));
  // linear at train scale 4 and "train" stays, though its eval scale is 4 as well.
  EXPECT_THAT(rows(grid), ElementsAre("tuned none train 1 eval 1 64 book seed 0",
                                      "tuned linear train 1 eval 1 64 book seed 0",
                                      "tuned linear train 4 eval 4 64 book seed 0"));
  EXPECT_THAT(grid.notes, Contains("exclude 1 leaves out 2 points"));
  EXPECT_THAT(grid.notes, Contains("exclude 3 leaves out nothing (more)"));
}

TEST(Grid, StaticSchemesAtScaleOneShareOneFineTune) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = ["none", "linear", "yarn", "dynamic-ntk"]
context_length = 64
dataset = "book"
recipe = "tuned")toml"));
  ASSERT_EQ(grid.cells.size(), 4U);
  ASSERT_EQ(grid.fine_tunes.size(), 2U) << "none with its equals, and dynamic-ntk";
  EXPECT_EQ(grid.fine_tunes[0].scheme, "none");
  EXPECT_EQ(grid.fine_tunes[0].train_scale, 1);
  EXPECT_THAT(grid.fine_tunes[0].shared_by,
              ElementsAre(grid.cells[0].id, grid.cells[1].id, grid.cells[2].id));
  EXPECT_EQ(
      std::set(grid.fine_tunes[0].shared_by.begin(), grid.fine_tunes[0].shared_by.end()).size(),
      3U);
}

TEST(Grid, ChainsShareTheirParents) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = "linear"
train_scale = [2, 4]
context_length = 64
dataset = "book"
recipe = ["tuned", "more"])toml"));
  ASSERT_EQ(grid.cells.size(), 4U);
  ASSERT_EQ(grid.fine_tunes.size(), 4U);
  std::set<std::string> seen;
  for (const FineTune& fine_tune : grid.fine_tunes) {
    if (fine_tune.recipe.name == "more") {
      EXPECT_TRUE(seen.contains(fine_tune.parent)) << "parents before children";
      EXPECT_EQ(fine_tune.shared_by.size(), 1U);
    } else {
      EXPECT_EQ(fine_tune.parent, "");
      EXPECT_EQ(fine_tune.shared_by.size(), 2U) << "its own cell and its child's";
    }
    seen.insert(fine_tune.id);
  }
}

TEST(Grid, StagesMayFixTheirScale) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = "linear"
train_scale = [2, 3]
context_length = 64
dataset = "book"
recipe = "second")toml",
                                       R"toml([recipes.first]
from = "more"
train_scale = 16
[recipes.second]
from = "first"
train_scale = 32)toml"));
  EXPECT_THAT(rows(grid), ElementsAre("second linear train 32 eval 32 64 book seed 0"));
  std::vector<std::string> stages;
  for (const FineTune& fine_tune : grid.fine_tunes) {
    stages.push_back(fmt::format("{} {}", fine_tune.recipe.name, fine_tune.train_scale));
  }
  EXPECT_THAT(stages, ElementsAre("tuned 16", "more 16", "first 16", "second 32"));
  EXPECT_THAT(grid.notes, Contains("second fixes train_scale at 32: the axis collapses to it"));
}

const char* const two_by_two = R"toml(scheme = ["none", "linear"]
train_scale = 4
context_length = [64, 128]
dataset = ["book", "lines"]
recipe = ["zero-shot", "tuned"])toml";

TEST(Identity, OrderOfAxesAndUnrelatedSettingsDoNotCount) {
  const std::vector<std::string> reference = ids(grid_of(sweep_with(two_by_two)));
  EXPECT_EQ(ids(grid_of(sweep_with(two_by_two))), reference) << "deterministic, in order";
  const char* const shuffled = R"toml(recipe = ["tuned", "zero-shot"]
dataset = ["lines", "book"]
seed = 0
context_length = [128, 64]
train_scale = [4]
scheme = ["linear()", "none"])toml";
  const char* const settings = R"toml([workers]
threads = 3
device = "cpu"
[limits]
crash_limit = 9
time = 100
[recipes.unused]
from = "more"
[datasets.unused]
path = "/data/other.txt")toml";
  EXPECT_THAT(ids(grid_of(sweep_with(shuffled, settings))), UnorderedElementsAreArray(reference));
}

TEST(Identity, NamesDoNotCount) {
  Sweep sweep = sweep_with(two_by_two);
  const std::vector<std::string> reference = ids(grid_of(sweep));
  sweep.name = "another";
  sweep.models["llama"] = sweep.models.at("default");
  sweep.axes.model = {"llama"};
  sweep.datasets["renamed"] = sweep.datasets.at("book");
  sweep.datasets["renamed"].name = "renamed";
  std::replace(sweep.axes.dataset.begin(), sweep.axes.dataset.end(), std::string("book"),
               std::string("renamed"));
  EXPECT_EQ(ids(grid_of(sweep)), reference);
}

TEST(Identity, MoreSchemesOnlyAddIds) {
  Sweep sweep = sweep_with(two_by_two);
  const std::vector<std::string> before = ids(grid_of(sweep));
  sweep.axes.scheme = {"yarn", "none", "power(0.5)", "linear"};
  const std::vector<std::string> after = ids(grid_of(sweep));
  for (const std::string& id : before) EXPECT_THAT(after, Contains(id));
  EXPECT_GT(after.size(), before.size());
}

/// Ids of the grid after a change to the sweep that ought to make every cell another.
template <typename Change>
void expect_all_new(Change change, const char* what) {
  Sweep sweep = sweep_with(R"toml(scheme = "linear"
train_scale = 4
context_length = 64
dataset = "slides"
recipe = "more")toml");
  const std::vector<std::string> before = ids(grid_of(sweep));
  change(sweep);
  for (const std::string& id : ids(grid_of(sweep))) {
    EXPECT_THAT(before, Not(Contains(id))) << what;
  }
}

TEST(Identity, WhatMattersCounts) {
  expect_all_new([](Sweep& s) { s.models["default"] = "/models/other"; }, "model");
  expect_all_new([](Sweep& s) { s.workers.type = "bf16"; }, "number type");
  expect_all_new([](Sweep& s) { s.axes.seed = {1}; }, "seed");
  expect_all_new([](Sweep& s) { s.axes.train_scale = {2}; }, "train scale");
  expect_all_new([](Sweep& s) { s.axes.scheme = {"ntk"}; }, "scheme");
  expect_all_new([](Sweep& s) { s.recipes["tuned"].steps = 11; }, "a parent's setting");
  expect_all_new([](Sweep& s) { s.recipes["tuned"].data = "/data/x.txt"; }, "a parent's data");
}

TEST(Identity, MeasurementsCountForCellsOnly) {
  Sweep sweep = sweep_with(R"toml(scheme = "linear"
train_scale = 4
context_length = 64
dataset = "slides"
recipe = "tuned")toml");
  const Grid before = grid_of(sweep);
  sweep.datasets["slides"].stride = 16;
  const Grid after = grid_of(sweep);
  EXPECT_NE(after.cells[0].id, before.cells[0].id);
  EXPECT_EQ(after.fine_tunes[0].id, before.fine_tunes[0].id);
  sweep.datasets["slides"].last_tokens = 5;  // of truncated windows
  sweep.datasets["slides"].which = "last";   // of lines
  sweep.datasets["slides"].keep_samples = true;
  sweep.recipes["tuned"].save_every = 3;
  EXPECT_EQ(ids(grid_of(sweep)), ids(after));
  EXPECT_EQ(after.cells[0].canonical.find("by_position"), std::string::npos)
      << "cells of before there was a choice keep their ids";
  sweep.datasets["slides"].by_position = "16";
  EXPECT_NE(grid_of(sweep).cells[0].id, after.cells[0].id);
}

// Fine-tunes of before the choice keep their ids, in stores and in saved states.
TEST(Identity, MasterWeightsCountOnlyWhereTheyAreLeftOut) {
  Sweep sweep = sweep_with(R"toml(scheme = "linear"
train_scale = 4
context_length = 64
dataset = "slides"
recipe = "tuned")toml");
  const Grid before = grid_of(sweep);
  EXPECT_EQ(before.fine_tunes[0].canonical.find("master_weights"), std::string::npos);
  EXPECT_FALSE(nlohmann::json(sweep.recipes["tuned"]).contains("master_weights"));
  sweep.recipes["tuned"].master_weights = false;
  const Grid after = grid_of(sweep);
  EXPECT_NE(after.fine_tunes[0].id, before.fine_tunes[0].id);
  EXPECT_NE(after.cells[0].id, before.cells[0].id);
  EXPECT_FALSE(nlohmann::json(sweep.recipes["tuned"]).get<RecipeSettings>().master_weights);
}

TEST(Identity, ContentsOfFilesCount) {
  const Sweep sweep = sweep_with(two_by_two);
  Digests digests = test::digests_of(sweep);
  const Grid before = expand(sweep, digests);
  digests["/data/train.jsonl"] = sha256_hex("new content");
  const Grid after = expand(sweep, digests);
  for (size_t i = 0; i < before.cells.size(); ++i) {
    const bool trained = before.cells[i].recipe == "tuned";
    EXPECT_EQ(before.cells[i].id != after.cells[i].id, trained);
  }
}

TEST(Identity, AFileOfFrequenciesCountsByContent) {
  const auto sweep_over = [](const std::string& path) {
    return sweep_with(R"toml(scheme = ["none", "resonance(file()toml" + path + R"toml())"]
context_length = 64
dataset = "slides"
recipe = ["zero-shot", "tuned"])toml");
  };
  const Sweep sweep = sweep_over("maps/a.json");
  const std::string path = "/sweeps/maps/a.json";
  EXPECT_EQ(sweep.axes.scheme[1], "resonance(file(" + path + "))") << "relative to the sweep file";
  EXPECT_THAT(referenced_paths(sweep), Contains(path));
  Digests digests = test::digests_of(sweep);
  const Grid before = expand(sweep, digests);
  const Sweep moved = sweep_over("/elsewhere/b.json");
  Digests moved_digests = test::digests_of(moved);
  moved_digests["/elsewhere/b.json"] = digests[path];
  const Grid same = expand(moved, moved_digests);
  digests[path] = sha256_hex("new content");
  const Grid after = expand(sweep, digests);
  ASSERT_EQ(before.cells.size(), 4U);
  for (size_t i = 0; i < before.cells.size(); ++i) {
    const bool reads_it = before.cells[i].scheme != "none";
    EXPECT_EQ(before.cells[i].id != after.cells[i].id, reads_it);
    EXPECT_EQ(before.cells[i].id, same.cells[i].id) << "a path is no part of it";
  }
  EXPECT_NE(before.fine_tunes.back().id, after.fine_tunes.back().id);
}

TEST(Identity, AModifierAtScaleOneIsNotTheBaseModel) {
  const Grid grid = grid_of(sweep_with(R"toml(scheme = ["none", "resonance(yarn)", "resonance"]
train_scale = 1
context_length = 64
dataset = "slides"
recipe = "tuned")toml"));
  ASSERT_EQ(grid.fine_tunes.size(), 2U);
  EXPECT_EQ(grid.fine_tunes[0].scheme, "none");
  EXPECT_EQ(grid.fine_tunes[1].scheme, "resonance");
}

TEST(Identity, IdsAreHashesOfTheCanonicalText) {
  const Grid grid = grid_of(sweep_with(two_by_two));
  for (const Cell& cell : grid.cells) {
    EXPECT_EQ(cell.id, sha256_hex(cell.canonical).substr(0, 20));
    EXPECT_TRUE(nlohmann::json::accept(cell.canonical));
  }
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Grid, ReferencedPaths) {
  EXPECT_THAT(referenced_paths(sweep_with(two_by_two)),
              ElementsAre("/data/book.txt", "/data/train.jsonl", "/models/base"));
  const Sweep scratch = sweep_with(R"toml(scheme = "none"
context_length = 64
dataset = "lines"
recipe = "scratch")toml",
                                   R"toml([recipes.scratch]
init = "/tiny/config.json"
data = "/data/a.txt"
validation = "book"
context_length = 64
steps = 1
batch_tokens = 64
learning_rate = 0.1)toml");
  EXPECT_THAT(referenced_paths(scratch), ElementsAre("/data/a.txt", "/data/book.txt",
                                                     "/tiny/config.json", "/tiny/tokenizer.json"));
  EXPECT_EQ(grid_of(scratch).fine_tunes.size(), 1U);
}

TEST(Grid, AMissingDigestIsNamed) {
  try {
    expand(sweep_with(two_by_two), {});
    FAIL() << "there are no digests";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no digest of it was made"));
  }
}

TEST(Identity, TheTokenizerBesideAConfigMayBeSentencePieces) {
  const auto directory = std::filesystem::temp_directory_path() /
                         ("identity_test." + std::to_string(std::random_device()()));
  std::filesystem::create_directories(directory);
  const std::string config = (directory / "config.json").string();
  EXPECT_EQ(init_tokenizer(config), (directory / "tokenizer.json").string());
  std::ofstream(directory / "tokenizer.model") << "pieces";
  EXPECT_EQ(init_tokenizer(config), (directory / "tokenizer.model").string());
  std::ofstream(directory / "tokenizer.json") << "{}";
  EXPECT_EQ(init_tokenizer(config), (directory / "tokenizer.json").string());
  std::filesystem::remove_all(directory);
}

/// A sweep whose recipe abandons what is worse than the first two.
Grid grid_with_median(const std::string& schemes, const std::string& rule) {
  return test::grid_of(test::sweep_with("scheme = " + schemes + R"toml(
train_scale = 4
eval_scale = [2, 4]
context_length = 64
dataset = "book"
recipe = "judged"
)toml",
                                        R"toml([recipes.judged]
from = "tuned"
stop_if = { )toml" + rule + " }\n"));
}

std::map<std::string, FineTune> judged_by_scheme(const Grid& grid) {
  std::map<std::string, FineTune> result;
  for (const FineTune& tune : grid.fine_tunes) {
    if (tune.recipe.name == "judged") result[tune.scheme] = tune;
  }
  return result;
}

TEST(MedianRule, TheFirstAreComparedWithNoneAndOthersWithThem) {
  const auto tunes = judged_by_scheme(
      grid_with_median(R"(["yarn", "linear", "ntk", "llama3"])", "above_median_of = 2"));
  ASSERT_EQ(tunes.size(), 4U);
  const std::vector<std::string> first = {tunes.at("yarn").id, tunes.at("linear").id};
  EXPECT_TRUE(tunes.at("yarn").compared_with.empty());
  EXPECT_TRUE(tunes.at("linear").compared_with.empty());
  EXPECT_EQ(tunes.at("ntk").compared_with, first);
  EXPECT_EQ(tunes.at("llama3").compared_with, first);
}

TEST(MedianRule, WithWhomIsAPartOfTheIdentity) {
  const char* rule = "above_median_of = 1";
  const auto after_yarn = judged_by_scheme(grid_with_median(R"(["yarn", "ntk"])", rule));
  const auto after_linear = judged_by_scheme(grid_with_median(R"(["linear", "ntk"])", rule));
  const auto alone = judged_by_scheme(grid_with_median(R"(["ntk"])", rule));
  EXPECT_NE(after_yarn.at("ntk").id, after_linear.at("ntk").id);
  EXPECT_NE(after_yarn.at("ntk").id, alone.at("ntk").id);
  const auto longer = judged_by_scheme(grid_with_median(R"(["yarn", "ntk", "linear"])", rule));
  EXPECT_EQ(after_yarn.at("ntk").id, longer.at("ntk").id) << "what comes later changes nothing";
}

TEST(Grid, MorePointsThanAnyMemoryHoldsAreRefused) {
  std::string many;
  for (int i = 1; i <= 3000; ++i) many += fmt::format("{}, ", i + 1);
  EXPECT_THROW(grid_of(sweep_with(fmt::format("scheme = \"linear\"\ntrain_scale = [{}]\n"
                                              "context_length = [{}]\ndataset = \"book\"\n"
                                              "recipe = \"tuned\"\nseed = [{}]",
                                              many, many, many))),
               Error);
}

}  // namespace
}  // namespace ropesweep
