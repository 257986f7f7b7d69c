// The sweeps that ship with the program: each parses, expands, and uses every recipe that it
// defines.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "experiments/grid.h"
#include "experiments/sweep.h"

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

INSTANTIATE_TEST_SUITE_P(All, ShippedSweep, testing::ValuesIn(shipped_sweeps()),
                         [](const testing::TestParamInfo<std::filesystem::path>& sweep) {
                           std::string name = sweep.param.stem().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ropesweep
