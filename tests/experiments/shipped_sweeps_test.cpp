// The sweeps that ship with the program: each parses, expands, uses every recipe that it defines,
// and is found by its name.
#include "experiments/shipped_sweeps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "experiments/grid.h"
#include "experiments/sweep.h"
#include "experiments/sweep_parts.h"
#include "tests/user_error.h"

namespace ropesweep {
namespace {

std::vector<std::filesystem::path> shipped_sweeps() {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path folder =
      std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments" / "sweeps";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The grid of a sweep whose files are not there: each path stands for its content.
Grid expand_by_paths(const Sweep& sweep) {
  Digests digests;
  for (const std::string& path : referenced_paths(sweep)) digests[path] = sha256_hex(path);
  return expand(sweep, digests);
}

class ShippedSweep : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(ShippedSweep, IsNamedAsItsFile) {
  EXPECT_EQ(read_sweep(GetParam()).name, GetParam().stem().string());
}

TEST_P(ShippedSweep, UsesEachRecipeAndDataset) {
  const Sweep sweep = read_sweep(GetParam());
  const Grid grid = expand_by_paths(sweep);
  ASSERT_FALSE(grid.cells.empty());
  std::set<std::string> trained, used;
  for (const FineTune& fine_tune : grid.fine_tunes) {
    trained.insert(fine_tune.recipe.name);
    used.insert({fine_tune.recipe.data, fine_tune.recipe.validation});
  }
  for (const Cell& cell : grid.cells) used.insert(cell.dataset);
  for (const auto& [name, recipe] : sweep.recipes) EXPECT_TRUE(trained.contains(name)) << name;
  for (const auto& [name, dataset] : sweep.datasets) EXPECT_TRUE(used.contains(name)) << name;
}

TEST_P(ShippedSweep, LeavesNothingOutInVain) {
  const Sweep sweep = read_sweep(GetParam());
  const size_t cells = expand_by_paths(sweep).cells.size();
  for (size_t i = 0; i < sweep.exclusions.size(); ++i) {
    Sweep without = sweep;
    without.exclusions.erase(without.exclusions.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_GT(expand_by_paths(without).cells.size(), cells) << "[[exclude]] number " << i + 1;
  }
}

/// By name it is what the file is, but for where its store goes.
TEST_P(ShippedSweep, IsFoundByItsName) {
  const std::string name = GetParam().stem().string();
  const Sweep file = read_sweep(GetParam()), named = find_sweep(name);
  EXPECT_EQ(named.text, file.text);
  EXPECT_EQ(named.name, file.name);
  EXPECT_EQ(named.file, name);
  EXPECT_EQ(named.models, file.models);
  EXPECT_EQ(referenced_paths(named), referenced_paths(file));
}

TEST(ShippedSweeps, AreTheFilesAndNoOthers) {
  std::vector<std::string> names;
  for (const auto& file : shipped_sweeps()) names.push_back(file.stem().string());
  EXPECT_THAT(shipped_sweep_names(), testing::UnorderedElementsAreArray(names));
}

TEST(ShippedSweeps, AnUnknownNameIsAnsweredWithTheNearestAndAll) {
  EXPECT_EQ(user_error_of([] { find_sweep("yarn-mimi"); }),
            "yarn-mimi: neither a file nor a sweep of the program: did you mean yarn-mini?; those "
            "are " +
                shipped_sweep_list());
  EXPECT_THAT(user_error_of([] { find_sweep("demo.toml"); }),
              testing::HasSubstr("did you mean demo"));
  EXPECT_THAT(user_error_of([] { find_sweep("something-else"); }),
              testing::HasSubstr("a sweep of the program; those are demo"));
  EXPECT_THAT(user_error_of([] { find_sweep("./demo"); }),
              testing::HasSubstr("./demo: can't be read: No such file"));
}

TEST(ShippedSweeps, RelativePathsAreTheSourceTrees) {
  EXPECT_EQ(read_shipped_sweep("demo", "/src/experiments/sweeps").models.at("default"),
            "/src/experiments/tiny/model");
  const std::string without = user_error_of(
      [] { parse_sweep("[model]\npath = \"../tiny\"\n", SweepOrigin("x.toml"), "x"); });
  SweepOrigin nowhere("demo.toml");
  nowhere.directory.clear();
  nowhere.shipped = true;
  EXPECT_THAT(user_error_of([&] { parse_sweep("[model]\npath = \"../tiny\"\n", nowhere, "demo"); }),
              testing::HasSubstr("demo.toml:1: [model] \"../tiny\" is a path from "
                                 "experiments/sweeps of ropesweep's source tree"));
  EXPECT_THAT(without, testing::HasSubstr("no [axes]"));
}

TEST(ShippedSweeps, VariablesAreRelativeToTheCurrentDirectory) {
  ::setenv("ROPESWEEP_MODELS", "weights", 1);
  ::setenv("ROPESWEEP_DATA", "/data", 1);
  const Sweep sweep = read_shipped_sweep("giraffe", "/src/experiments/sweeps");
  EXPECT_EQ(sweep.models.at("default"), std::filesystem::absolute("weights/llama-13b"));
  EXPECT_EQ(sweep.datasets.at("vicuna").path, "/data/vicuna.json");
  ::unsetenv("ROPESWEEP_MODELS");
  ::unsetenv("ROPESWEEP_DATA");
}

INSTANTIATE_TEST_SUITE_P(All, ShippedSweep, testing::ValuesIn(shipped_sweeps()),
                         [](const testing::TestParamInfo<std::filesystem::path>& sweep) {
                           std::string name = sweep.param.stem().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ropesweep
