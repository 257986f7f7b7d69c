// Products with a weight in Hugging Face's layout [N, M]: which sides are transposed, and when the
// rows are tokens.
//
// Letters: R rows · N outputs · M inputs of a weight
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

void CudaBackend::product(const Tensor& out, const Tensor& a, const Tensor& weight,
                          bool accumulate) {
  ProductCall call;
  call.m = a.dim(0);
  call.n = weight.dim(0);
  call.k = weight.dim(1);
  call.a = a.raw();
  call.b = weight.raw();
  call.c = out.raw();
  call.dtype = a.dtype();
  call.c_dtype = out.dtype();
  call.transpose_b = true;
  call.accumulate = accumulate;
  call.rows_are_tokens = true;
  call.few_rows_apart = true;
  products_->run(call);
}

void CudaBackend::product_backward_input(const Tensor& d_a, const Tensor& d_out,
                                         const Tensor& weight, bool accumulate) {
  ProductCall call;
  call.m = d_out.dim(0);
  call.n = weight.dim(1);
  call.k = weight.dim(0);
  call.a = d_out.raw();
  call.b = weight.raw();
  call.c = d_a.raw();
  call.dtype = d_out.dtype();
  call.c_dtype = d_a.dtype();
  call.accumulate = accumulate;
  call.rows_are_tokens = true;
  products_->run(call);
}

void CudaBackend::product_backward_weight(const Tensor& d_weight, const Tensor& d_out,
                                          const Tensor& a) {
  ProductCall call;
  call.m = d_out.dim(1);
  call.n = a.dim(1);
  call.k = a.dim(0);
  call.a = d_out.raw();
  call.b = a.raw();
  call.c = d_weight.raw();
  call.dtype = a.dtype();
  call.c_dtype = Dtype::f32;
  call.transpose_a = true;
  call.accumulate = true;
  products_->run(call);
}

}  // namespace ropesweep::backend::cuda
