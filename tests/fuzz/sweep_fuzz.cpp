// Sweep files: parsed, and small grids expanded.
#include "experiments/grid.h"
#include "experiments/sweep.h"
#include "fuzz.h"

using namespace ropesweep;

namespace {

constexpr double most_points = 24;

double points_of(const Axes& axes) {
  double points = 1;
  for (const size_t values :
       {axes.model.size(), axes.scheme.size(), axes.train_scale.size(), axes.eval_scale.size(),
        axes.context_length.size(), axes.dataset.size(), axes.recipe.size(), axes.seed.size()}) {
    points *= static_cast<double>(values);
  }
  return points;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    const Sweep sweep = parse_sweep(std::string(fuzz::text_of(data, size)), "/sweeps/fuzz.toml");
    Digests digests;
    for (const std::string& path : referenced_paths(sweep)) digests[path] = "0";
    if (points_of(sweep.axes) > most_points) return;
    const Grid grid = expand(sweep, digests);
    fuzz::require(cell_ids(expand(sweep, digests).cells) == cell_ids(grid.cells),
                  "a sweep names the same cells each time");
  });
  return 0;
}
