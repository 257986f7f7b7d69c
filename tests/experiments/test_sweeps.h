// Sweeps for the tests of grids and tasks, with digests made of the paths themselves.
#pragma once

#include <string>

#include "experiments/grid.h"

namespace ropesweep::test {

/// A sweep over `axes` (lines of the table) with a data set "book" (truncated), "slides" (sliding),
/// the recipes "tuned" and "more" (from "tuned"), and further tables in `more`.
inline Sweep sweep_with(const std::string& axes, const std::string& more = "") {
  return parse_sweep("[model]\npath = \"/models/base\"\n[axes]\n" + axes + R"(
[datasets.book]
path = "/data/book.txt"
window = "truncated"
[datasets.slides]
path = "/data/book.txt"
[recipes.tuned]
data = "/data/train.jsonl"
context_length = 64
steps = 10
batch_tokens = 128
learning_rate = 1e-3
[recipes.more]
from = "tuned"
steps = 5
)" + more,
                     "/sweeps/test.toml");
}

inline Digests digests_of(const Sweep& sweep) {
  Digests digests;
  for (const std::string& path : referenced_paths(sweep)) digests[path] = sha256_hex(path);
  return digests;
}

inline Grid grid_of(const Sweep& sweep) { return expand(sweep, digests_of(sweep)); }

}  // namespace ropesweep::test
