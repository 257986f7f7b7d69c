// From a sweep to its grid: cells with ids, and the directed acyclic graph of fine-tunes they
// share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "experiments/packed_vector.h"
#include "experiments/sweep.h"

namespace ropesweep {

/// SHA-256 digests of what a sweep reads, so that an id changes when a file's content does.
/// Filled by the caller (reading is not this floor's work): absolute path → hex digest.
/// Model directories, data files and init configs are all keys.
using Digests = std::map<std::string, std::string>;

/// Every path a sweep refers to, for the caller to digest.
std::vector<std::string> referenced_paths(const Sweep& sweep);

/// A recipe stage applied at (scheme, train scale, seed). `scheme` is `none` with scale 1 where the
/// scale is 1 and the scheme static: those are the same training and are done once.
struct FineTune {
  std::string id;      ///< 20 hex digits of the canonical text's SHA-256
  std::string parent;  ///< fine-tune id, or empty: the base model (or `recipe.init`)
  std::string model;   ///< model name
  std::string scheme;
  double train_scale = 1;
  int64_t seed = 0;
  RecipeSettings recipe;
  /// Fine-tunes of the same stage and model with whose losses its own are compared (the median rule
  /// of `stop_if`): the first stop_if_above_median_of of them in the order of the plan. Those
  /// themselves are compared with none.
  std::vector<std::string> compared_with;
  std::vector<std::string>
      shared_by;  ///< ids of the cells that need it (directly or through a child)
  std::string canonical;
};

/// One point of the grid.
struct Cell {
  std::string id;  ///< 20 hex digits of the canonical text's SHA-256
  std::string model, recipe, scheme, dataset;
  double train_scale = 1;  ///< as the row shows it; 1 where the scale axes collapse
  double eval_scale = 1;
  int64_t context_length = 0;
  int64_t seed = 0;
  std::string fine_tune;  ///< id of the fine-tune whose weights it measures; empty: zero-shot
  std::string canonical;  ///< JSON text: model digest, recipe chain, scheme, scales, length, data
                          ///< digest, metric settings, seed, number type
};

void to_json(nlohmann::json& json, const FineTune& fine_tune);
void from_json(const nlohmann::json& json, FineTune& fine_tune);
void to_json(nlohmann::json& json, const Cell& cell);
void from_json(const nlohmann::json& json, Cell& cell);
void pack(Packer& out, const Cell& cell);
void unpack(Unpacker& in, Cell& cell);

struct Grid {
  PackedVector<Cell> cells;          ///< unique ids, in the order of the axes (last axis fastest)
  std::vector<FineTune> fine_tunes;  ///< parents before children
  std::vector<std::string> notes;    ///< what collapsed and why, for `plan`
};

/// Their ids, in their order.
template <typename Cells>
std::vector<std::string> cell_ids(const Cells& cells) {
  std::vector<std::string> ids;
  ids.reserve(cells.size());
  for (const Cell& cell : cells) ids.push_back(cell.id);
  return ids;
}

/// Expands a sweep. Deterministic: same sweep and digests, same ids in the same order.
Grid expand(const Sweep& sweep, const Digests& digests);

/// Lower-case hex SHA-256 of bytes.
std::string sha256_hex(std::string_view bytes);

}  // namespace ropesweep
