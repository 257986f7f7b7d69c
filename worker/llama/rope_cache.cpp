// Builds rotary tables on the host in double (experiments/) and uploads them in f32.
#include "worker/llama/rope_cache.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace ropesweep::llama {
namespace {

backend::Tensor upload_table(backend::Backend& backend, const std::vector<float>& values,
                             const RotaryTable& table) {
  const backend::Tensor tensor = backend.allocate(backend::Dtype::f32, {table.rows, table.pairs});
  backend.upload(tensor, values.data());
  return tensor;
}

}  // namespace

const RopeCache::Tables& RopeCache::tables(backend::Backend& backend,
                                           const PositionEncoding& positions, int64_t rows,
                                           int64_t length) {
  const bool dynamic = positions.depends_on_length();
  if (rows <= rows_ && (!dynamic || length == length_)) return tables_;
  constexpr uint64_t least = 256;
  const int64_t built =
      dynamic ? rows
              : static_cast<int64_t>(std::bit_ceil(std::max(least, static_cast<uint64_t>(rows))));
  const RotaryTable table = positions.table(0, built, length);
  rows_ = 0;  // nothing holds should an upload fail
  tables_.query = {upload_table(backend, table.query_cos, table),
                   upload_table(backend, table.query_sin, table)};
  const bool same = table.query_cos == table.key_cos && table.query_sin == table.key_sin;
  tables_.key = same ? tables_.query
                     : backend::RopeTensors{upload_table(backend, table.key_cos, table),
                                            upload_table(backend, table.key_sin, table)};
  rows_ = built;
  length_ = length;
  return tables_;
}

}  // namespace ropesweep::llama
