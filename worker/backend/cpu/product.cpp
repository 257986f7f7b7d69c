// Products with a weight: the three of a linear layer, cut into tiles that oneDNN multiplies.
//
// Letters: R rows · N outputs · M inputs, weight [N, M]. Panels of the second operand are packed by
// all threads, then tiles of rows × panels are multiplied by all threads. What a tile computes
// depends on the shapes N and M only, hence the bits of a row depend neither on R nor on the
// threads.
#include <algorithm>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/few_rows.h"
#include "worker/backend/cpu/matmul.h"
#include "worker/backend/cpu/parallel.h"

namespace ropesweep::backend::cpu {

namespace {

/// Rows of a task: few enough to share a prompt's rows among cores, more where there are plenty,
/// since each task reads all packed panels. Bits don't depend on it.
int64_t row_tile_of(int64_t rows) { return rows >= 1024 ? 256 : 64; }

/// Inner extent that is summed in one product; longer ones (a vocabulary) go piece by piece.
constexpr int64_t kInner = 8192;

/// Columns of a panel. All of them where that is not much more: then the tiles of the output are
/// dense.
constexpr int64_t kPanel = 1024;
constexpr int64_t kWholePanel = 4096;
/// Packed panels at a time: they should stay in the last-level cache.
constexpr size_t kPackedBytes = size_t{8} << 20;

int64_t panel_of(int64_t columns) { return columns <= kWholePanel ? columns : kPanel; }

/// Rows that one step of the weights' gradient sums over, and the pieces that the last ones make.
constexpr int64_t kChunk = 1024;
/// Outputs N of a task of the weights' gradient.
constexpr int64_t kOutputTile = 64;

std::byte* at(const Tensor& x, int64_t element) {
  return x.data<std::byte>() + static_cast<size_t>(element) * size_of(x.dtype());
}

/// Columns first … first + count − 1 of a.
struct Inner {
  int64_t first, count;
};

/// out[R, columns] = a[R, inner] · B (+ out), B's element (i, j) being weight[j, range.first + i]
/// if `transposed`, else weight[range.first + i, j].
void multiply(const Tensor& out, const Tensor& a, const Tensor& weight, Inner range,
              bool transposed, bool accumulate, int threads, MemoryPool& pool) {
  const int64_t rows = a.dim(0), inner = range.count, columns = out.dim(1);
  const int64_t full = panel_of(columns), panels = (columns + full - 1) / full;
  const int64_t row_tile = row_tile_of(rows);
  const int64_t row_tiles = (rows + row_tile - 1) / row_tile;
  const size_t panel_bytes = packed_layout(a.dtype(), inner, full).bytes();
  const int64_t group =
      std::clamp<int64_t>(static_cast<int64_t>(kPackedBytes / panel_bytes), 1, panels);
  const auto storage = pool.allocate(panel_bytes * static_cast<size_t>(group));
  const auto packed = [&](int64_t slot) {
    return static_cast<std::byte*>(storage.get()) + static_cast<size_t>(slot) * panel_bytes;
  };
  for (int64_t first = 0; first < panels; first += group) {
    const int64_t count = std::min(group, panels - first);
    const auto width = [&](int64_t panel) { return std::min(full, columns - panel * full); };
    parallel_tasks(threads, count, [&](int64_t slot) {
      const int64_t panel = first + slot;
      const int64_t corner = transposed ? panel * full * weight.dim(1) + range.first
                                        : range.first * weight.dim(1) + panel * full;
      packed_layout(a.dtype(), inner, width(panel))
          .pack(packed(slot), at(weight, corner), weight.dim(1), transposed);
    });
    parallel_tasks(threads, row_tiles * count, [&](int64_t task) {
      const int64_t row = task / count * row_tile, slot = task % count, panel = first + slot;
      matmul(packed_layout(a.dtype(), inner, width(panel)),
             {.a = at(a, row * a.dim(1) + range.first),
              .lda = a.dim(1),
              .packed = packed(slot),
              .c = at(out, row * columns + panel * full),
              .ldc = columns,
              .c_dtype = out.dtype(),
              .accumulate = accumulate,
              .m = std::min(row_tile, rows - row)});
    });
  }
}

/// d_weight += d_outᵀ · a over `count` rows from `row`.
void add_outer_products(const Tensor& d_weight, const Tensor& d_out, const Tensor& a, int64_t row,
                        int64_t count, int threads, MemoryPool& pool) {
  const int64_t outputs = d_weight.dim(0), inputs = d_weight.dim(1);
  const int64_t full = panel_of(inputs), panels = (inputs + full - 1) / full;
  const int64_t tiles = (outputs + kOutputTile - 1) / kOutputTile;
  const auto layout = [&](int64_t panel) -> const PackedLayout& {
    return packed_layout(a.dtype(), count, std::min(full, inputs - panel * full));
  };
  const size_t panel_bytes = layout(0).bytes();
  const auto storage = pool.allocate(panel_bytes * static_cast<size_t>(panels));
  const auto packed = [&](int64_t panel) {
    return static_cast<std::byte*>(storage.get()) + static_cast<size_t>(panel) * panel_bytes;
  };
  parallel_tasks(threads, panels, [&](int64_t panel) {
    layout(panel).pack(packed(panel), at(a, row * inputs + panel * full), inputs, false);
  });
  parallel_tasks(threads, tiles * panels, [&](int64_t task) {
    const int64_t panel = task / tiles, output = task % tiles * kOutputTile;
    matmul(layout(panel), {.a = at(d_out, row * outputs + output),
                           .lda = outputs,
                           .a_transposed = true,
                           .packed = packed(panel),
                           .c = at(d_weight, output * inputs + panel * full),
                           .ldc = inputs,
                           .c_dtype = Dtype::f32,
                           .accumulate = true,
                           .m = std::min(kOutputTile, outputs - output)});
  });
}

bool needs_f32(const Tensor& a) { return a.dtype() == Dtype::bf16 && !has_bf16_product(); }

}  // namespace

void CpuBackend::product(const Tensor& out, const Tensor& a, const Tensor& weight,
                         bool accumulate) {
  if (a.dim(0) <= kFewRows) {
    product_of_few_rows(out, a, weight, accumulate, threads_);
    return;
  }
  const Inner all{0, a.dim(1)};
  if (needs_f32(a)) {
    const Tensor wide = out.dtype() == Dtype::f32 ? out : converted(out, Dtype::f32);
    multiply(wide, converted(a, Dtype::f32), converted(weight, Dtype::f32), all, true, accumulate,
             threads_, *pool_);
    if (out.dtype() != Dtype::f32) copy(out, wide);
    return;
  }
  multiply(out, a, weight, all, true, accumulate, threads_, *pool_);
}

void CpuBackend::product_backward_input(const Tensor& d_a, const Tensor& d_out,
                                        const Tensor& weight, bool accumulate) {
  const int64_t inner = d_out.dim(1);
  if (!needs_f32(d_out) && inner <= kInner) {
    multiply(d_a, d_out, weight, {0, inner}, false, accumulate, threads_, *pool_);
    return;
  }
  // Several products, or products in f32: summed in f32, rounded once.
  const Tensor wide = d_a.dtype() == Dtype::f32 ? d_a : converted(d_a, Dtype::f32);
  const Tensor left = needs_f32(d_out) ? converted(d_out, Dtype::f32) : d_out;
  const Tensor right = needs_f32(d_out) ? converted(weight, Dtype::f32) : weight;
  for (int64_t first = 0; first < inner; first += kInner) {
    multiply(wide, left, right, {first, std::min(kInner, inner - first)}, false,
             accumulate || first > 0, threads_, *pool_);
  }
  if (d_a.dtype() != Dtype::f32) copy(d_a, wide);
}

void CpuBackend::product_backward_weight(const Tensor& d_weight, const Tensor& d_out,
                                         const Tensor& a) {
  const Tensor left = needs_f32(a) ? converted(d_out, Dtype::f32) : d_out;
  const Tensor right = needs_f32(a) ? converted(a, Dtype::f32) : a;
  int64_t row = 0;
  for (int64_t chunk = kChunk; chunk > 0; chunk /= 2) {
    for (; a.dim(0) - row >= chunk; row += chunk) {
      add_outer_products(d_weight, left, right, row, chunk, threads_, *pool_);
    }
  }
}

}  // namespace ropesweep::backend::cpu
