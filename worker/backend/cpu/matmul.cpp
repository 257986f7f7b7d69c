// oneDNN matmul primitives, cached by shape and thread.
#include "worker/backend/cpu/matmul.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "worker/backend/cpu/memory.h"
#include "worker/backend/cpu/parallel.h"

namespace ropesweep::backend::cpu {

namespace {

using Memory = dnnl::memory;

/// Rows of a full tile, and the smaller tiles that what is left over is cut into.
constexpr int64_t kTile = 256;
constexpr std::array<int64_t, 9> kTiles = {kTile, 128, 64, 32, 16, 8, 4, 2, 1};

dnnl::engine& engine() {
  static dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

Memory::data_type type_of(Dtype dtype) {
  return dtype == Dtype::bf16 ? Memory::data_type::bf16 : Memory::data_type::f32;
}

Memory::desc matrix(Dtype dtype, int64_t rows, int64_t columns, int64_t stride, bool transposed) {
  const Memory::dims strides = transposed ? Memory::dims{1, stride} : Memory::dims{stride, 1};
  return {{rows, columns}, type_of(dtype), strides};
}

dnnl::matmul::primitive_desc describe(const Memory::desc& a, const Memory::desc& b,
                                      const Memory::desc& c, bool accumulate) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const OneThread one;  // oneDNN plans for the number of threads at the time of creation
  return {dnnl::matmul::desc(a, b, c), attributes, engine()};
}

/// One primitive with the memory objects of its last call: only their pointers change.
struct Call {
  explicit Call(const dnnl::matmul::primitive_desc& desc)
      : primitive(desc),
        a(desc.src_desc(), engine(), DNNL_MEMORY_NONE),
        b(desc.weights_desc(), engine(), DNNL_MEMORY_NONE),
        c(desc.dst_desc(), engine(), DNNL_MEMORY_NONE),
        scratch(desc.scratchpad_desc(), engine(), DNNL_MEMORY_NONE),
        scratch_bytes(desc.scratchpad_desc().get_size()),
        arguments({{DNNL_ARG_SRC, a},
                   {DNNL_ARG_WEIGHTS, b},
                   {DNNL_ARG_DST, c},
                   {DNNL_ARG_SCRATCHPAD, scratch}}) {}

  dnnl::matmul primitive;
  Memory a, b, c, scratch;
  size_t scratch_bytes;
  std::unordered_map<int, Memory> arguments;
};

using Key = std::tuple<Dtype, int64_t, int64_t, int64_t, int64_t, bool, int64_t, Dtype, bool>;

bool is_brgemm(const char* implementation) {
  return std::string_view(implementation).substr(0, 4) == "brg:";
}

}  // namespace

struct PackedLayout::Impl {
  Memory::desc packed;
  bool brgemm;  ///< rows come out alike whatever m is; A and C must be dense
};

PackedLayout::PackedLayout(Dtype dtype, int64_t k, int64_t n) : dtype_(dtype), k_(k), n_(n) {
  const Memory::desc any({k, n}, type_of(dtype), Memory::format_tag::any);
  const auto desc = describe(matrix(dtype, kTile, k, k, false), any,
                             matrix(Dtype::f32, kTile, n, n, false), false);
  bytes_ = (desc.weights_desc().get_size() + 63) / 64 * 64;
  impl_ = std::make_shared<Impl>(Impl{desc.weights_desc(), is_brgemm(desc.impl_info_str())});
}

PackedLayout::~PackedLayout() = default;
PackedLayout::PackedLayout(PackedLayout&&) noexcept = default;

void PackedLayout::pack(void* packed, const void* b, int64_t ldb, bool transposed) const {
  struct Packing {
    Memory from, to;
    dnnl::reorder primitive;
  };
  using PackingKey = std::tuple<Dtype, int64_t, int64_t, int64_t, bool>;
  thread_local std::map<PackingKey, Packing> packings;
  const PackingKey key(dtype_, k_, n_, ldb, transposed);
  auto found = packings.find(key);
  if (found == packings.end()) {
    const OneThread one;
    Memory from(matrix(dtype_, k_, n_, ldb, transposed), engine(), DNNL_MEMORY_NONE);
    Memory to(impl_->packed, engine(), DNNL_MEMORY_NONE);
    dnnl::reorder primitive(from, to);
    found = packings.emplace(key, Packing{from, to, primitive}).first;
  }
  Packing& packing = found->second;
  packing.from.set_data_handle(const_cast<void*>(b));  // oneDNN has no memory of const
  packing.to.set_data_handle(packed);
  packing.primitive.execute(stream(), packing.from, packing.to);
}

const PackedLayout& packed_layout(Dtype dtype, int64_t k, int64_t n) {
  thread_local std::map<std::tuple<Dtype, int64_t, int64_t>, PackedLayout> layouts;
  const std::tuple key(dtype, k, n);
  auto found = layouts.find(key);
  if (found == layouts.end()) found = layouts.emplace(key, PackedLayout(dtype, k, n)).first;
  return found->second;
}

namespace {

Call& call_for(const PackedLayout& layout, const MatmulArgs& args, int64_t m) {
  thread_local std::map<Key, Call> calls;
  const Key key(layout.dtype(), layout.k(), layout.n(), m, args.lda, args.a_transposed, args.ldc,
                args.c_dtype, args.accumulate);
  auto found = calls.find(key);
  if (found == calls.end()) {
    const auto desc = describe(
        matrix(layout.dtype(), m, layout.k(), args.lda, args.a_transposed), layout.impl().packed,
        matrix(args.c_dtype, m, layout.n(), args.ldc, false), args.accumulate);
    found = calls.try_emplace(key, desc).first;
  }
  return found->second;
}

/// One tile of m rows, one of kTiles.
void run_tile(const PackedLayout& layout, const MatmulArgs& args, const void* a, void* c,
              int64_t m) {
  Call& call = call_for(layout, args, m);
  call.a.set_data_handle(const_cast<void*>(a));
  call.b.set_data_handle(const_cast<void*>(args.packed));
  call.c.set_data_handle(c);
  call.scratch.set_data_handle(thread_scratch(Slot::matmul, call.scratch_bytes));
  call.primitive.execute(stream(), call.arguments);
}

void copy_rows(std::byte* to, size_t to_stride, const std::byte* from, size_t from_stride,
               int64_t rows, size_t row_bytes) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto offset = static_cast<size_t>(row);
    std::memcpy(to + offset * to_stride, from + offset * from_stride, row_bytes);
  }
}

/// m rows by way of dense copies of A and C with `padded` ≥ m rows, those past m being zero.
void run_dense(const PackedLayout& layout, const MatmulArgs& args, const std::byte* a, std::byte* c,
               int64_t m, int64_t padded) {
  const size_t a_size = size_of(layout.dtype()), c_size = size_of(args.c_dtype);
  const int64_t a_rows = args.a_transposed ? layout.k() : m;
  const int64_t a_columns = args.a_transposed ? m : layout.k();
  const size_t a_row = static_cast<size_t>(a_columns) * a_size;
  const size_t c_row = static_cast<size_t>(layout.n()) * c_size;
  const auto tail = static_cast<size_t>(padded - m), head = static_cast<size_t>(m);
  MatmulArgs dense = args;
  const void* dense_a = a;
  if (args.lda != a_columns || padded != m) {
    const auto rows = static_cast<size_t>(a_rows);
    auto* tile = static_cast<std::byte*>(thread_scratch(Slot::tile_a, a_row * (rows + tail)));
    copy_rows(tile, a_row, a, static_cast<size_t>(args.lda) * a_size, a_rows, a_row);
    std::memset(tile + a_row * rows, 0, a_row * tail);
    dense_a = tile;
    dense.lda = a_columns;
  }
  if (args.ldc == layout.n() && padded == m) {
    run_tile(layout, dense, dense_a, c, m);
    return;
  }
  const size_t c_stride = static_cast<size_t>(args.ldc) * c_size;
  auto* tile = static_cast<std::byte*>(thread_scratch(Slot::tile_c, c_row * (head + tail)));
  if (args.accumulate) {
    copy_rows(tile, c_row, c, c_stride, m, c_row);
    std::memset(tile + c_row * head, 0, c_row * tail);
  }
  dense.ldc = layout.n();
  run_tile(layout, dense, dense_a, tile, padded);
  copy_rows(c, c_stride, tile, c_row, m, c_row);
}

}  // namespace

void matmul(const PackedLayout& layout, const MatmulArgs& args) {
  const size_t a_step =
      static_cast<size_t>(args.a_transposed ? 1 : args.lda) * size_of(layout.dtype());
  const size_t c_step = static_cast<size_t>(args.ldc) * size_of(args.c_dtype);
  const bool brgemm = layout.impl().brgemm;
  const auto* a = static_cast<const std::byte*>(args.a);
  auto* c = static_cast<std::byte*>(args.c);
  int64_t left = args.m;
  for (const int64_t tile : kTiles) {
    while (left >= tile) {
      if (brgemm) {
        run_dense(layout, args, a, c, tile, tile);
      } else {
        run_tile(layout, args, a, c, tile);
      }
      a += static_cast<size_t>(tile) * a_step;
      c += static_cast<size_t>(tile) * c_step;
      left -= tile;
    }
    if (left > 0 && !brgemm && !args.a_transposed) {
      run_dense(layout, args, a, c, left, kTile);
      return;
    }
  }
}

bool has_bf16_product() {
  static const bool has = [] {
    if (std::getenv("ROPESWEEP_NO_BF16_PRODUCT") != nullptr) return false;
    try {
      const Memory::desc any({64, 64}, type_of(Dtype::bf16), Memory::format_tag::any);
      const auto desc = describe(matrix(Dtype::bf16, 64, 64, 64, false), any,
                                 matrix(Dtype::f32, 64, 64, 64, false), false);
      return is_brgemm(desc.impl_info_str());
    } catch (const dnnl::error&) {
      return false;  // "could not create a primitive": there is no such kernel here
    }
  }();
  return has;
}

}  // namespace ropesweep::backend::cpu
