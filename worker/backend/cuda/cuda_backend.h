// The CUDA backend: one device, one stream, in which all ops run in order; nothing waits for the
// device but download, the ops that return a number, and synchronize. Each op is defined in the
// file of its name beside this one.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <string>

#include "worker/backend/cuda/attention_cudnn.h"
#include "worker/backend/cuda/products.h"
#include "worker/backend/cuda/recorded_memory.h"
#include "worker/backend/cuda/staging.h"
#include "worker/backend/memory_pool.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend::cuda {

enum class Attention { fused_where_possible, own_kernels };

class CudaBackend final : public Backend {
 public:
  /// `device`: its number among those visible. Errors: NoDevice when there is none of that number.
  explicit CudaBackend(int device, Attention attention = Attention::fused_where_possible);
  ~CudaBackend() override;

  std::string description() const override;
  /// cuDNN's part of attention; null when it was not wanted.
  CudnnAttention* fused_attention() { return fused_attention_.get(); }

  Tensor allocate(Dtype dtype, Shape shape) override;
  void upload(const Tensor& to, const void* from) override;
  void download(void* to, const Tensor& from) override;
  void zero(const Tensor& x) override;
  void copy(const Tensor& to, const Tensor& from) override;
  size_t bytes_in_use() const override { return pool_->bytes_in_use(); }
  size_t capacity() const override { return capacity_; }
  size_t peak_bytes() const override { return pool_->peak_bytes(); }

  void embedding(const Tensor& out, const Tensor& table, const Tensor& ids) override;
  void scatter(const Tensor& table, const Tensor& rows, const Tensor& ids) override;
  void embedding_backward(const Tensor& d_table, const Tensor& d_out, const Tensor& ids) override;

  void product(const Tensor& out, const Tensor& a, const Tensor& weight, bool accumulate) override;
  void product_backward_input(const Tensor& d_a, const Tensor& d_out, const Tensor& weight,
                              bool accumulate) override;
  void product_backward_weight(const Tensor& d_weight, const Tensor& d_out,
                               const Tensor& a) override;

  void rms_norm(const Tensor& out, const Tensor& rstd, const Tensor& residual, const Tensor& x,
                const Tensor& weight, float epsilon) override;
  void rms_norm_backward(const Tensor& d_residual, const Tensor& d_weight, const Tensor& d_out,
                         const Tensor& residual, const Tensor& rstd, const Tensor& weight) override;

  void layer_norm(const Tensor& out, const Tensor& statistics, const Tensor& residual,
                  const Tensor& x, const Tensor& weight, const Tensor& bias,
                  float epsilon) override;
  void layer_norm_backward(const Tensor& d_residual, const Tensor& d_weight, const Tensor& d_bias,
                           const Tensor& d_out, const Tensor& residual, const Tensor& statistics,
                           const Tensor& weight) override;

  void set_bias(const Tensor& x, const Tensor& bias) override;
  void add_bias(const Tensor& x, const Tensor& bias) override;
  void add_bias_backward(const Tensor& d_bias, const Tensor& d_out) override;

  void rope(const Tensor& out, const Tensor& x, const RopeTensors& table, int64_t first_row,
            int64_t tokens) override;
  void rope_backward(const Tensor& d_x, const Tensor& d_out, const RopeTensors& table,
                     int64_t first_row, int64_t tokens) override;

  void attention(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                 const Tensor& v, const AttentionShape& shape, const Tensor& bias) override;
  void attention_backward(const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                          const Tensor& d_out, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Tensor& out, const Tensor& lse, const AttentionShape& shape,
                          const Tensor& bias, const Tensor& d_bias) override;
  void merge_attention(const Tensor& out, const Tensor& lse, const Tensor& part_out,
                       const Tensor& part_lse) override;

  void swiglu(const Tensor& out, const Tensor& gate, const Tensor& up) override;
  void swiglu_backward(const Tensor& d_gate, const Tensor& d_up, const Tensor& d_out,
                       const Tensor& gate, const Tensor& up) override;

  void gelu(const Tensor& out, const Tensor& x, Gelu kind) override;
  void gelu_backward(const Tensor& d_x, const Tensor& d_out, const Tensor& x, Gelu kind) override;
  void dropout(const Tensor& out, const Tensor& x, const Dropout& settings) override;

  void cross_entropy(const Tensor& nll, const Tensor& logits, const Tensor& targets) override;
  void cross_entropy_backward(const Tensor& d_logits, const Tensor& logits, const Tensor& targets,
                              float scale) override;

  void add(const Tensor& to, const Tensor& x) override;
  void scale(const Tensor& x, float factor) override;
  double sum_of_squares(const std::vector<Tensor>& tensors) override;
  int64_t argmax(const Tensor& logits) override;
  void argmax(const Tensor& index, const Tensor& logits) override;
  void random_normal(const Tensor& x, uint64_t seed, uint64_t stream, float deviation) override;

  void adamw(const Tensor& weight, const Tensor& master, const Tensor& m, const Tensor& v,
             const Tensor& gradient, const AdamwStep& step) override;

  std::unique_ptr<Recording> record(std::function<void()> work) override;
  void synchronize() override;
  void* stream() const override { return stream_; }

 private:
  /// The device is a thread's own choice, and tasks have threads of their own: chosen by the ops
  /// that a thread can begin with, those that bring tensors into being, move or read them.
  void use_device() const;
  /// attention() of at most kFewRows queries.
  void attention_of_few(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                        const Tensor& v, const AttentionShape& shape, const Tensor& bias);
  /// The part of attention_backward() that is d_bias's; delta f32 [B, H, T] = Σ d_out ⊙ out.
  void add_bias_gradient(const Tensor& d_bias, const Tensor& d_out, const Tensor& q,
                         const Tensor& k, const Tensor& v, const Tensor& lse, const Tensor& delta,
                         const AttentionShape& shape, const Tensor& bias);
  /// Storage of `bytes` that lives as long as what is returned.
  std::shared_ptr<void> scratch(size_t bytes) {
    return recorded_memory_ ? recorded_memory_->allocate(bytes) : pool_->allocate(bytes);
  }

  int device_;
  std::string name_;
  size_t capacity_ = 0;
  cudaStream_t stream_ = nullptr;
  std::shared_ptr<MemoryPool> pool_;
  std::shared_ptr<RecordedMemory> recorded_memory_;  ///< null but in record()
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Products> products_;
  std::unique_ptr<CudnnAttention> fused_attention_;
};

}  // namespace ropesweep::backend::cuda
