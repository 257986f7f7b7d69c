// cuDNN's attention against our own kernels, on the same device and operands (attention_test.cpp
// holds both to the definition), and that it really is cuDNN that runs.
#include <gtest/gtest.h>

#include <string>

#include "tests/worker/backend/attention_case.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend {
namespace {

class CudnnAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    fused_ = std::make_unique<cuda::CudaBackend>(0);
    if (fused_->fused_attention()->description() == "own kernels") {
      GTEST_SKIP() << "this build has no cuDNN";
    }
    own_ = std::make_unique<cuda::CudaBackend>(0, cuda::Attention::own_kernels);
  }
  int64_t calls() { return fused_->fused_attention()->calls(); }

  std::unique_ptr<cuda::CudaBackend> fused_, own_;
};

// Heads: as many of keys as of queries, groups, one for all. T not a multiple of a tile, S > T.
const AttentionShape kShapes[] = {
    shape_of(1, 33, 33, 4, 4, 64),     shape_of(2, 129, 129, 6, 2, 64),
    shape_of(2, 129, 300, 4, 1, 96),   shape_of(1, 1000, 1000, 8, 2, 128),
    shape_of(1, 64, 2048, 4, 4, 128),  shape_of(1, 512, 513, 9, 3, 64),
    shape_of(2, 1000, 1700, 2, 2, 96), shape_of(1, 9, 9, 2, 1, 128),
};

TEST_F(CudnnAttentionTest, agrees_with_our_kernels) {
  for (const AttentionShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message()
                 << "B " << shape.batch << " T " << shape.queries << " S " << shape.keys << " H "
                 << shape.heads << " G " << shape.kv_heads << " K " << shape.head_dim);
    Case fused(*fused_, Dtype::bf16, shape), own(*own_, Dtype::bf16, shape);
    const int64_t before = calls();
    fused.forward();
    fused.backward();
    own.forward();
    own.backward();
    EXPECT_EQ(calls(), before + 2);
    const auto compare = [&](const Tensor& got, const Tensor& expected, double roundings,
                             const char* what) {
      // Each of the two has its own roundings of weights, outputs and gradients.
      const double sums = 4 * std::sqrt(static_cast<double>(shape.keys));
      expect_close(values_of(*fused_, got), values_of(*own_, expected), got.dtype(), roundings,
                   sums, what);
    };
    compare(fused.out, own.out, 3, "out");
    compare(fused.lse, own.lse, 2, "lse");
    compare(fused.d_q, own.d_q, 5, "d_q");
    compare(fused.d_k, own.d_k, 5, "d_k");
    compare(fused.d_v, own.d_v, 5, "d_v");
  }
}

TEST_F(CudnnAttentionTest, twice_the_same_bits) {
  for (const AttentionShape& shape : {kShapes[1], kShapes[3], kShapes[6]}) {
    Case run(*fused_, Dtype::bf16, shape);
    run.forward();
    run.backward();
    const std::string first = run.bits();
    run.forward();
    run.backward();
    EXPECT_TRUE(run.bits() == first);
  }
}

/// With dP of all heads past the target, heads and the batch are taken in parts.
TEST_F(CudnnAttentionTest, parts_of_heads_have_the_bits_of_the_whole) {
  constexpr int64_t tokens = 4096, groups = 40, head_dim = 32;
  Case all(*fused_, Dtype::bf16, shape_of(2, tokens, tokens, 2 * groups, groups, head_dim));
  all.forward();
  all.backward();
  // The second sequence's last group alone.
  Case one(*fused_, Dtype::bf16, shape_of(1, tokens, tokens, 2, 1, head_dim));
  const auto take = [&](const Tensor& to, const Tensor& from, int64_t of) {
    const Values source = values_of(*fused_, from);
    Values part;
    const int64_t row = from.dim(1) * head_dim;
    for (int64_t t = tokens; t < 2 * tokens; ++t) {
      const auto first = source.begin() + (t + 1) * row - of * head_dim;
      part.insert(part.end(), first, first + of * head_dim);
    }
    if (!to.empty()) fused_->copy(to, tensor_of(*fused_, Dtype::bf16, to.shape(), part));
    return part;
  };
  static_cast<void>(take(one.q, all.q, 2));
  static_cast<void>(take(one.k, all.k, 1));
  static_cast<void>(take(one.v, all.v, 1));
  static_cast<void>(take(one.d_out, all.d_out, 2));
  one.forward();
  one.backward();
  EXPECT_TRUE(values_of(*fused_, one.out) == take(Tensor(), all.out, 2));
  EXPECT_TRUE(values_of(*fused_, one.d_q) == take(Tensor(), all.d_q, 2));
  EXPECT_TRUE(values_of(*fused_, one.d_k) == take(Tensor(), all.d_k, 1));
  EXPECT_TRUE(values_of(*fused_, one.d_v) == take(Tensor(), all.d_v, 1));
}

TEST_F(CudnnAttentionTest, leaves_the_rest_to_our_kernels) {
  const int64_t before = calls();
  Case odd(*fused_, Dtype::bf16, shape_of(1, 40, 40, 2, 1, 34));
  odd.forward();
  odd.backward();
  Case wide(*fused_, Dtype::f32, shape_of(1, 40, 40, 2, 1, 64));
  wide.forward();
  wide.backward();
  Case few(*fused_, Dtype::bf16, shape_of(1, 8, 400, 2, 1, 64));
  few.forward();
  Case biased(*fused_, Dtype::bf16, shape_of(1, 40, 40, 2, 1, 64));
  biased.add_bias(9);
  biased.forward();
  biased.backward();
  AttentionShape window = shape_of(1, 40, 40, 2, 1, 64), later = window, first = window;
  window.farthest = 39;
  later.nearest = -1;
  first.first_keys = 39;
  for (const AttentionShape& shape : {window, later, first}) {
    Case banded(*fused_, Dtype::bf16, shape);
    banded.forward();
    banded.backward();
  }
  EXPECT_EQ(calls(), before);
  window.farthest = 40;  // hides nothing
  Case causal(*fused_, Dtype::bf16, window);
  causal.forward();
  EXPECT_EQ(calls(), before + 1);
}

TEST_F(CudnnAttentionTest, one_engine_runs_all_lengths) {
  cuda::CudnnAttention& attention = *fused_->fused_attention();
  for (const bool backward : {false, true}) {
    const std::string engine = attention.plan_name(shape_of(1, 4096, 4096, 8, 2, 128), backward);
    EXPECT_NE(engine, "");
    for (const int64_t queries : {9, 100, 1000, 8192}) {
      EXPECT_EQ(attention.plan_name(shape_of(1, queries, 8192, 8, 2, 128), backward), engine)
          << queries << " queries";
    }
  }
}

}  // namespace
}  // namespace ropesweep::backend
