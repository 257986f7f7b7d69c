// `dca`, dual chunk attention (An et al. 2024): the sequence in chunks of c = S − w tokens, none
// longer than training's. Keys stand at n mod c; a query of the same chunk at m mod c, of the next
// one at min(m mod c + c, S), of later ones at min(2c − 1, S).
#include <algorithm>
#include <cmath>

#include "experiments/error.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule dual_chunk_rule(const MapRequest& request) {
  const auto original = static_cast<int64_t>(request.shape.original_length);
  const int64_t size = whole_number(request, "dca", "size", std::max<int64_t>(1, original * 3 / 4));
  const int64_t window = whole_number(request, "dca", "window", original / 8);
  if (window >= size) {
    throw_user_error("scheme dca: window must be less than size, {} and {} were given", window,
                     size);
  }
  const int64_t chunk = size - window;
  const auto offset = static_cast<double>(chunk), most = static_cast<double>(size);
  const PositionMap within{.modulus = chunk};
  const PositionMap next{.offset = offset, .modulus = chunk, .most = most};
  return {.parts = {{.chunks = KeyChunks::same, .query = within, .key = within},
                    {.chunks = KeyChunks::previous, .query = next, .key = within},
                    {.chunks = KeyChunks::older,
                     .query = PositionMap::constant(std::min(2 * offset - 1, most)),
                     .key = within}},
          .chunk = chunk};
}

}  // namespace

const SchemeDefinition& dual_chunk_scheme() {
  static const SchemeDefinition definition = {
      .name = "dca",
      .summary = "dual chunk attention (An et al. 2024, arXiv:2402.17463)",
      .options = {{.name = "size",
                   .default_value = {},
                   .meaning = "S, the greatest position; ¾ of the original length when not given"},
                  {.name = "window",
                   .default_value = {},
                   .meaning = "w, S less a chunk's tokens; ⅛ of the original length when not given",
                   .least_allowed = true}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = dual_chunk_rule};
  return definition;
}

}  // namespace ropesweep::schemes
