// Products with a weight in Hugging Face's layout [N, M]: which sides are transposed, and when the
// rows are tokens.
//
// Letters: R rows · N outputs · M inputs of a weight
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

namespace {

/// c[m, n] = op(a) · op(b) with k between them: what every product says of its operands.
ProductCall call_of(const Tensor& c, const Tensor& a, const Tensor& b, int64_t k) {
  ProductCall call;
  call.m = c.dim(0);
  call.n = c.dim(1);
  call.k = k;
  call.a = a.raw();
  call.b = b.raw();
  call.c = c.raw();
  call.dtype = a.dtype();
  call.c_dtype = c.dtype();
  return call;
}

}  // namespace

void CudaBackend::product(const Tensor& out, const Tensor& a, const Tensor& weight,
                          bool accumulate) {
  ProductCall call = call_of(out, a, weight, weight.dim(1));
  call.transpose_b = true;
  call.accumulate = accumulate;
  call.rows_are_tokens = true;
  call.few_rows_apart = true;
  products_->run(call);
}

void CudaBackend::product_backward_input(const Tensor& d_a, const Tensor& d_out,
                                         const Tensor& weight, bool accumulate) {
  ProductCall call = call_of(d_a, d_out, weight, weight.dim(0));
  call.accumulate = accumulate;
  call.rows_are_tokens = true;
  products_->run(call);
}

void CudaBackend::product_backward_weight(const Tensor& d_weight, const Tensor& d_out,
                                          const Tensor& a) {
  ProductCall call = call_of(d_weight, d_out, a, a.dim(0));
  call.transpose_a = true;
  call.accumulate = true;
  products_->run(call);
}

}  // namespace ropesweep::backend::cuda
