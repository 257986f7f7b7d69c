// Attention by cuDNN's fused kernels, where it can do what is asked; attention.cu and
// attention_backward.cu are what runs where it can't. Implemented in attention_cudnn.cpp, or, in a
// build without cuDNN, in attention_plain.cpp, which can't do anything.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>

#include "worker/backend/memory_pool.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend::cuda {

class CudnnAttention {
 public:
  /// Runs in `stream`, with workspace from `pool`. Loads nothing before the first shape that it
  /// could do.
  CudnnAttention(cudaStream_t stream, std::shared_ptr<MemoryPool> pool);
  ~CudnnAttention();

  /// Backend::attention without a bias; false, and nothing done, where cuDNN can't. The answer is
  /// the same for the same shape and type, whatever was asked before. Errors: DeviceError,
  /// std::bad_alloc.
  bool forward(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
               const Tensor& v, const AttentionShape& shape);
  /// Backend::attention_backward, likewise.
  bool backward(const Tensor& d_q, const Tensor& d_k, const Tensor& d_v, const Tensor& d_out,
                const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                const Tensor& lse, const AttentionShape& shape);

  /// Calls that cuDNN did, for tests.
  int64_t calls() const;
  /// What cuDNN runs a shape by, e.g. "eng2_k24=7"; empty where it can't.
  std::string plan_name(const AttentionShape& shape, bool backward);
  /// E.g. "cuDNN 9.19.0"; "own kernels" in a build without it, or when it turned out not to start.
  std::string description() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ropesweep::backend::cuda
