// The emulated device itself: barriers, warp operations, shared memory, and that the order of
// threads matters only where a barrier is missing.
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tests/worker/backend/support.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {
namespace {

__global__ void reverse_kernel(int* x, bool with_barrier) {
  __shared__ int copy[96];
  copy[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

std::vector<int> numbers(int count) {
  std::vector<int> x(static_cast<size_t>(count));
  std::iota(x.begin(), x.end(), 0);
  return x;
}

class Emulation : public testing::TestWithParam<bool> {
 protected:
  Emulation() { cuda_emulation::reverse_order(GetParam()); }
  ~Emulation() override { cuda_emulation::reverse_order(false); }
};
INSTANTIATE_TEST_SUITE_P(Orders, Emulation, testing::Bool());

TEST_P(Emulation, BarriersOrderThreads) {
  std::vector<int> x = numbers(96);
  const std::vector<int> expected(x.rbegin(), x.rend());
  launch({nullptr, 1, 96}, reverse_kernel, x.data(), true);
  EXPECT_EQ(x, expected);
  std::vector<int> others(96, 7);  // shared memory still has the last launch's
  launch({nullptr, 1, 96}, reverse_kernel, others.data(), false);
  EXPECT_NE(others, std::vector<int>(96, 7));
}

__global__ void sums_kernel(float* sums, float* most) {
  __shared__ float slots[33];
  const float value = static_cast<float>(threadIdx.x + 1);
  const float total = block_sum(value, slots);
  const float greatest = block_max(value, slots);
  sums[threadIdx.x] = total;
  most[threadIdx.x] = greatest;
}

TEST_P(Emulation, BlockSumsReachEveryThread) {
  for (const unsigned threads : {32u, 64u, 1024u}) {
    std::vector<float> sums(threads), most(threads);
    launch({nullptr, 1, threads}, sums_kernel, sums.data(), most.data());
    const auto n = static_cast<float>(threads);
    EXPECT_EQ(sums, std::vector<float>(threads, n * (n + 1) / 2));
    EXPECT_EQ(most, std::vector<float>(threads, n));
  }
}

__global__ void shuffle_kernel(int* down, unsigned* ballots) {
  down[threadIdx.x] = __shfl_down_sync(kAllLanes, static_cast<int>(threadIdx.x), 3);
  ballots[threadIdx.x] = __ballot_sync(kAllLanes, threadIdx.x % 3 == 0);
}

TEST_P(Emulation, WarpOperationsStayInTheirWarp) {
  std::vector<int> down(64);
  std::vector<unsigned> ballots(64);
  launch({nullptr, 1, 64}, shuffle_kernel, down.data(), ballots.data());
  for (int i = 0; i < 64; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(down[at], i % 32 + 3 < 32 ? i + 3 : i);
    for (unsigned lane = 0; lane < 32; ++lane) {
      const unsigned thread = static_cast<unsigned>(i / 32 * 32) + lane;
      EXPECT_EQ((ballots[at] >> lane) & 1u, thread % 3 == 0 ? 1u : 0u);
    }
  }
}

__global__ void half_barrier_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __shfl_xor_sync(kAllLanes, 1, threadIdx.x < 40 ? 1 : 2);
    if (threadIdx.x < 40) __shfl_xor_sync(kAllLanes, 1, 1);
    if (threadIdx.x >= 40) __syncthreads();
  }
}

TEST(EmulationDeathTest, AWarpThatPartsIsTold) {
  EXPECT_DEATH(launch({nullptr, 1, 64}, half_barrier_kernel), "is stuck: 56 threads wait");
}

__global__ void add_kernel(int* x, int term) { x[threadIdx.x] += term; }

class Graphs : public testing::Test {
 protected:
  Graphs() { cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); }
  ~Graphs() override { cudaStreamDestroy(stream_); }
  void begin() {
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  }

  cudaStream_t stream_ = nullptr;
  cudaGraph_t graph_ = nullptr;
  std::vector<int> x_ = numbers(4);
};

TEST_F(Graphs, HoldWhatTheStreamWasGivenAndDoItWhenLaunched) {
  const std::vector<int> before = x_;
  std::vector<int> copy(4, -1);
  begin();
  int term = 10;
  launch({stream_, 1, 4}, add_kernel, x_.data(), term);
  term = 1000;  // arguments were taken at the launch
  cudaMemcpyAsync(copy.data(), x_.data(), 16, cudaMemcpyDeviceToDevice, stream_);
  cudaMemsetAsync(x_.data(), 0, 4, stream_);
  launch({nullptr, 1, 4}, add_kernel, x_.data(), 0);  // another stream's
  EXPECT_EQ(x_, before);
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph_), cudaSuccess);
  EXPECT_EQ(x_, before);
  cudaGraphExec_t exec = nullptr;
  ASSERT_EQ(cudaGraphInstantiateWithFlags(&exec, graph_, 0), cudaSuccess);
  cudaGraphDestroy(graph_);
  cudaGraphLaunch(exec, stream_);
  EXPECT_EQ(copy, (std::vector<int>{10, 11, 12, 13}));
  EXPECT_EQ(x_, (std::vector<int>{0, 11, 12, 13}));
  cudaGraphLaunch(exec, stream_);
  EXPECT_EQ(x_, (std::vector<int>{0, 21, 22, 23}));
  cudaGraphExecDestroy(exec);
  launch({stream_, 1, 4}, add_kernel, x_.data(), 1);  // the stream runs again
  EXPECT_EQ(x_, (std::vector<int>{1, 22, 23, 24}));
}

TEST_F(Graphs, ACaptureIsBrokenByWhatADeviceRefuses) {
  void* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 16), cudaSuccess);
  const std::function<cudaError_t()> refused[] = {[&] {
                                                    void* more = nullptr;
                                                    return cudaMalloc(&more, 16);
                                                  },
                                                  [&] { return cudaFree(data); },
                                                  [&] { return cudaStreamSynchronize(stream_); },
                                                  [&] { return cudaEventSynchronize(nullptr); }};
  for (const auto& call : refused) {
    begin();
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph_), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph_, nullptr);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph_), cudaErrorInvalidValue);
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal),
            cudaErrorStreamCaptureUnsupported);
}

// Storage is taken on the way: the capture must not see that.
TEST(EmulatedRecording, AllocatesNothingWhileItIsCaptured) {
  const auto device = make_test_backend();
  const Tensor x = filled(*device, Dtype::f32, {4}, 1);
  int calls = 0;
  const auto recording = device->record([&] {
    // An order that a pool alone would serve from two blocks the first time, and the second time,
    // when both are there from the start, would need a third for.
    const auto large = [&] { return device->allocate(Dtype::f32, {384 << 10}); };
    const auto small = [&] { return device->allocate(Dtype::f32, {256 << 10}); };
    device->zero(large());
    Tensor first = small();
    const Tensor second = small();
    device->copy(second.rows(0, 4), x);
    first = Tensor();
    const Tensor third = large();
    device->copy(third.rows(0, 4), second.rows(0, 4));
    device->add(x, third.rows(0, 4));
    ++calls;
  });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(values_of(*device, x), Values(4, 2));
  recording->replay();
  EXPECT_EQ(values_of(*device, x), Values(4, 4));
  EXPECT_EQ(calls, 2);
}

TEST(EmulatedRecording, WorkThatChangesIsADefect) {
  const auto device = make_test_backend();
  int64_t size = 0;
  EXPECT_THROW(device->record([&] { device->zero(device->allocate(Dtype::f32, {++size * 100})); }),
               std::logic_error);
  device->synchronize();  // the capture has ended
}

/// Every op's bits when the threads of a block run in the other order: a missing barrier would
/// show.
TEST(EmulatedOps, DoNotDependOnTheOrderOfThreads) {
  const auto run = [](bool reversed) {
    cuda_emulation::reverse_order(reversed);
    const auto device = make_test_backend();
    std::string bits;
    for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
      const Tensor q = normal(*device, type, {70, 4, 40}, 1);
      const Tensor k = normal(*device, type, {70, 2, 40}, 2);
      const Tensor v = normal(*device, type, {70, 2, 40}, 3);
      const Tensor d_out = normal(*device, type, {70, 4, 40}, 4);
      const Tensor out = device->allocate(type, {70, 4, 40});
      const Tensor lse = device->allocate(Dtype::f32, {1, 4, 70});
      const AttentionShape shape{1, 70, 70, 4, 2, 40, 0.2f};
      device->attention(out, lse, q, k, v, shape);
      const Tensor d_q = device->allocate(type, q.shape()), d_k = device->allocate(type, k.shape());
      const Tensor d_v = device->allocate(type, v.shape());
      device->attention_backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, shape);
      for (const Tensor& x : {out, lse, d_q, d_k, d_v}) bits += bytes_of(*device, x);

      // A window with a bias, merged with the keys beyond it, and decoded.
      AttentionShape window = shape, beyond = shape, decoding = shape;
      window.farthest = beyond.nearest = 45;
      decoding.queries = 2;
      const Tensor bias = normal(*device, Dtype::f32, {4, 20}, 9);
      const Tensor d_bias = filled(*device, Dtype::f32, {4, 20}, 0);
      const Tensor far = device->allocate(type, out.shape());
      const Tensor far_lse = device->allocate(Dtype::f32, lse.shape());
      device->attention(out, lse, q, k, v, window, bias);
      device->attention(far, far_lse, q, k, v, beyond, bias);
      device->merge_attention(out, lse, far, far_lse);
      device->attention_backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, window, bias, d_bias);
      const Tensor few_lse = device->allocate(Dtype::f32, {1, 4, 2});
      device->attention(far.rows(0, 2), few_lse, q.rows(0, 2), k, v, decoding, bias);
      for (const Tensor& x : {out, lse, d_q, d_k, d_v, d_bias, far, far_lse, few_lse}) {
        bits += bytes_of(*device, x);
      }

      const Tensor x = normal(*device, type, {70, 160}, 5),
                   weight = normal(*device, type, {160}, 6);
      const Tensor normed = device->allocate(type, {70, 160});
      const Tensor rstd = device->allocate(Dtype::f32, {70});
      device->rms_norm(normed, rstd, x, normal(*device, type, {70, 160}, 7), weight, 1e-5f);
      const Tensor d_weight = filled(*device, Dtype::f32, {160}, 0);
      device->rms_norm_backward(x, d_weight, normed, x, rstd, weight);
      for (const Tensor& y : {normed, rstd, x, d_weight}) bits += bytes_of(*device, y);

      const Tensor logits = normal(*device, Dtype::f32, {9, 1000}, 8);
      const Tensor targets = ids_of(*device, {1, 2, -1, 4, 999, 0, 7, 8, 9});
      const Tensor nll = device->allocate(Dtype::f32, {9});
      device->cross_entropy(nll, logits, targets);
      const Tensor d_logits = device->allocate(type, {9, 1000});
      device->cross_entropy_backward(d_logits, logits, targets, 0.5f);
      bits += bytes_of(*device, nll) + bytes_of(*device, d_logits);
      bits += std::to_string(device->argmax(logits)) + " " +
              std::to_string(device->sum_of_squares({logits}));
    }
    cuda_emulation::reverse_order(false);
    return bits;
  };
  EXPECT_TRUE(run(false) == run(true));
}

}  // namespace
}  // namespace ropesweep::backend::cuda
