// What the blocks of other families than Llama have: LayerNorm, biases, an MLP without a gate, and
// blocks that both read the layer's input.
//
// Letters: as in forward.cpp
#include "worker/llama/activations.h"

namespace ropesweep::llama {

using backend::Tensor;

/// out = the family's norm of the residual; returns its statistics for the way back.
Tensor Model::norm(const Tensor& out, const Tensor& residual, const Tensor& weight,
                   const Tensor& bias) {
  const int64_t rows = residual.dim(0);
  if (config_.family.layer_norm) {
    const Tensor statistics = new_f32({rows, 2});
    backend_.layer_norm(out, statistics, residual, Tensor(), weight, bias, config_.norm_epsilon);
    return statistics;
  }
  const Tensor rstd = new_f32({rows});
  backend_.rms_norm(out, rstd, residual, Tensor(), weight, config_.norm_epsilon);
  return rstd;
}

/// d_residual += the gradient through it.
void Model::norm_backward(const Tensor& d_residual, const Tensor& d_weight, const Tensor& d_bias,
                          const Tensor& d_out, const Tensor& residual, const Tensor& statistics,
                          const Tensor& weight) {
  if (config_.family.layer_norm) {
    backend_.layer_norm_backward(d_residual, d_weight, d_bias, d_out, residual, statistics, weight);
  } else {
    backend_.rms_norm_backward(d_residual, d_weight, d_out, residual, statistics, weight);
  }
}

/// Makes the rows of x, of whatever shape, the bias, if there is one; returns whether a product is
/// to be added to it.
bool Model::set_bias(const Tensor& x, const Tensor& bias) {
  if (bias.empty()) return false;
  const int64_t width = bias.dim(0);
  backend_.set_bias(x.reshape({x.elements() / width, width}), bias);
  return true;
}

/// Each row of x plus the bias, if there is one.
void Model::add_bias(const Tensor& x, const Tensor& bias) {
  if (bias.empty()) return;
  const int64_t width = bias.dim(0);
  backend_.add_bias(x.reshape({x.elements() / width, width}), bias);
}

void Model::add_bias_backward(const Tensor& d_bias, const Tensor& d_out) {
  if (d_bias.empty()) return;
  const int64_t width = d_bias.dim(0);
  backend_.add_bias_backward(d_bias, d_out.reshape({d_out.elements() / width, width}));
}

/// The rest of mlp_block without a gate: residual + down · gelu(up n + bias) + bias.
Tensor Model::plain_mlp(const Layer& w, size_t layer, const Pass& pass, const Tensor& residual,
                        MlpActivations& a) {
  const int64_t rows = residual.dim(0);
  a.up = new_rows(rows, config_.hidden);
  project(a.up, a.normed, w, &Layer::up, layer, pass, set_bias(a.up, w.up_bias));
  a.hidden = pass.keep ? new_rows(rows, config_.hidden) : a.up;
  backend_.gelu(a.hidden, a.up, config_.family.gelu);

  const Tensor out = pass.keep ? copied(backend_, residual) : residual;
  add_bias(out, w.down_bias);
  project(out, a.hidden, w, &Layer::down, layer, pass, true);
  return out;
}

void Model::plain_mlp_backward(const Layer& w, size_t layer, const Pass& pass,
                               const Tensor& d_residual, MlpActivations& a,
                               const Layer& gradients) {
  // x += down · hidden + bias
  add_bias_backward(gradients.down_bias, d_residual);
  const Tensor d_hidden = a.hidden;  // in its place
  project_backward(d_hidden, d_residual, a.hidden, w, gradients, &Layer::down, layer, pass, false);
  // hidden = gelu(up)
  const Tensor d_up = a.up;
  backend_.gelu_backward(d_up, d_hidden, a.up, config_.family.gelu);
  // up = product of n + bias
  add_bias_backward(gradients.up_bias, d_up);
  const Tensor d_normed = new_rows(d_residual.dim(0), config_.width);
  project_backward(d_normed, d_up, a.normed, w, gradients, &Layer::up, layer, pass, false);
  // n = norm(x)
  norm_backward(d_residual, gradients.mlp_norm, gradients.mlp_norm_bias, d_normed, a.residual,
                a.rstd, w.mlp_norm);
}

}  // namespace ropesweep::llama
