// A build without cuDNN: attention always runs by the kernels of our own.
#include "worker/backend/cuda/attention_cudnn.h"

namespace ropesweep::backend::cuda {

struct CudnnAttention::State {};

// The other build's keeps the pool.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
CudnnAttention::CudnnAttention(cudaStream_t, std::shared_ptr<MemoryPool>) {}
CudnnAttention::~CudnnAttention() = default;

bool CudnnAttention::forward(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                             const Tensor&, const AttentionShape&) {
  return false;
}
bool CudnnAttention::backward(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                              const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                              const Tensor&, const AttentionShape&) {
  return false;
}

int64_t CudnnAttention::calls() const { return 0; }
std::string CudnnAttention::plan_name(const AttentionShape&, bool) { return {}; }
std::string CudnnAttention::description() const { return "own kernels"; }

}  // namespace ropesweep::backend::cuda
