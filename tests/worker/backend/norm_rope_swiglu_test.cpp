// RMSNorm, rope and SwiGLU against naive loops in f64; gradients against differences of those
// loops.
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

/// ∂(Σ upstream · f(x)) / ∂x[i] by central differences of an f64 function.
double difference(const std::function<Values(const Values&)>& f, Values x, size_t i,
                  const Values& upstream) {
  constexpr double kStep = 1e-5;
  const auto loss = [&] {
    const Values y = f(x);
    double sum = 0;
    for (size_t j = 0; j < y.size(); ++j) sum += y[j] * upstream[j];
    return sum;
  };
  x[i] += kStep;
  const double up = loss();
  x[i] -= 2 * kStep;
  return (up - loss()) / (2 * kStep);
}

Values differences(const std::function<Values(const Values&)>& f, const Values& x,
                   const Values& upstream) {
  Values gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) gradient[i] = difference(f, x, i, upstream);
  return gradient;
}

constexpr double kEpsilon = 1e-5;

Values naive_rms_norm(const Values& residual, const Values& weight) {
  const size_t width = weight.size();
  Values out(residual.size());
  for (size_t row = 0; row < residual.size() / width; ++row) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) {
      squares += residual[row * width + i] * residual[row * width + i];
    }
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + kEpsilon);
    for (size_t i = 0; i < width; ++i) {
      out[row * width + i] = residual[row * width + i] * rstd * weight[i];
    }
  }
  return out;
}

class RmsNormTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(RmsNormTest);

TEST_P(RmsNormTest, adds_then_normalises) {
  for (const int64_t width : {1, 7, 64, 577}) {
    const Tensor x = normal({5, width}, 1), residual = normal({5, width}, 2);
    const Tensor weight = normal({width}, 3), out = backend_->allocate(dtype(), {5, width});
    const Tensor rstd = backend_->allocate(Dtype::f32, {5});
    Values sum = values(residual);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values(x)[i];
    backend_->rms_norm(out, rstd, residual, x, weight, static_cast<float>(kEpsilon));
    expect_close(values(residual), sum, dtype(), 1, 0, "residual");
    expect_close(values(out), naive_rms_norm(values(residual), values(weight)), dtype(), 1, 6,
                 "out");

    const std::string before = bytes_of(*backend_, residual);
    backend_->rms_norm(out, rstd, residual, Tensor(), weight, static_cast<float>(kEpsilon));
    EXPECT_TRUE(bytes_of(*backend_, residual) == before) << "without x the residual stays";
  }
}

TEST_P(RmsNormTest, gradient_is_that_of_the_definition) {
  constexpr int64_t kRows = 3, kWidth = 37;
  const Tensor residual = normal({kRows, kWidth}, 1), weight = normal({kWidth}, 2);
  const Tensor d_out = normal({kRows, kWidth}, 3), d_residual = normal({kRows, kWidth}, 4);
  const Tensor d_weight = backend::normal(*backend_, Dtype::f32, {kWidth}, 5);
  const Tensor out = backend_->allocate(dtype(), {kRows, kWidth});
  const Tensor rstd = backend_->allocate(Dtype::f32, {kRows});
  const Values residual_before = values(d_residual), weight_before = values(d_weight);
  backend_->rms_norm(out, rstd, residual, Tensor(), weight, static_cast<float>(kEpsilon));
  backend_->rms_norm_backward(d_residual, d_weight, d_out, residual, rstd, weight);

  const Values x = values(residual), w = values(weight), upstream = values(d_out);
  Values expected = differences([&](const Values& y) { return naive_rms_norm(y, w); }, x, upstream);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += residual_before[i];
  // 1e-9 of the differences' own error is far below f32's epsilon.
  expect_close(values(d_residual), expected, dtype(), 1, 16, "d_residual");
  expected = differences([&](const Values& y) { return naive_rms_norm(x, y); }, w, upstream);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += weight_before[i];
  expect_close(values(d_weight), expected, Dtype::f32, 1, 16, "d_weight");

  const Tensor alone = normal({kRows, kWidth}, 4);
  backend_->rms_norm_backward(alone, Tensor(), d_out, residual, rstd, weight);
  EXPECT_TRUE(bytes_of(*backend_, alone) == bytes_of(*backend_, d_residual))
      << "d_weight is not wanted";
}

TEST_P(RmsNormTest, neither_threads_nor_rows_change_bits) {
  const auto run = [&](Backend& backend, int64_t rows) {
    const Tensor x = backend::normal(backend, dtype(), {1000, 70}, 1).rows(0, rows);
    const Tensor residual = backend::normal(backend, dtype(), {1000, 70}, 2).rows(0, rows);
    const Tensor weight = backend::normal(backend, dtype(), {70}, 3);
    const Tensor out = backend.allocate(dtype(), {rows, 70});
    const Tensor rstd = backend.allocate(Dtype::f32, {rows});
    backend.rms_norm(out, rstd, residual, x, weight, 1e-5f);
    const std::string forward = bytes_of(backend, out);
    const Tensor d_weight = filled(backend, Dtype::f32, {70}, 0.0);
    backend.rms_norm_backward(x, d_weight, out, residual, rstd, weight);
    return std::pair(forward, bytes_of(backend, x) + bytes_of(backend, d_weight));
  };
  expect_same_bits_on_any_threads([&](Backend& backend) {
    const auto [forward, backward] = run(backend, 1000);
    return forward + backward;
  });
  const std::string all = run(*backend_, 1000).first;
  for (const int64_t rows : {5, 255, 256, 257}) {
    const std::string some = run(*backend_, rows).first;
    EXPECT_TRUE(all.compare(0, some.size(), some) == 0) << rows << " rows";
  }
}

class RopeTest : public OpTest {
 protected:
  RopeTensors table(int64_t rows, int64_t pairs) {
    return {backend::normal(*backend_, Dtype::f32, {rows, pairs}, 11),
            backend::normal(*backend_, Dtype::f32, {rows, pairs}, 12)};
  }
};
ROPESWEEP_BOTH_TYPES(RopeTest);

struct RopeCase {
  int64_t rows, heads, head_dim, pairs, first_row, tokens;
};

/// `sign` −1 gives the transposed map.
Values naive_rope(const Values& x, const Values& cosines, const Values& sines, const RopeCase& c,
                  double sign) {
  Values out = x;
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t head = 0; head < c.heads; ++head) {
      for (int64_t i = 0; i < c.pairs; ++i) {
        const auto a = static_cast<size_t>((row * c.heads + head) * c.head_dim + i);
        const size_t b = a + static_cast<size_t>(c.pairs);
        const auto at = static_cast<size_t>((c.first_row + row % c.tokens) * c.pairs + i);
        out[a] = x[a] * cosines[at] - sign * x[b] * sines[at];
        out[b] = x[b] * cosines[at] + sign * x[a] * sines[at];
      }
    }
  }
  return out;
}

TEST_P(RopeTest, rotates_pairs_by_the_tables_row_and_back) {
  for (const RopeCase& c : {RopeCase{12, 3, 64, 32, 0, 12}, RopeCase{12, 2, 10, 3, 5, 4},
                            RopeCase{1, 9, 96, 48, 15, 1}, RopeCase{6, 1, 32, 0, 0, 6}}) {
    const RopeTensors rows = table(16, c.pairs);
    const Tensor x = normal({c.rows, c.heads, c.head_dim}, 1);
    const Tensor out = backend_->allocate(dtype(), x.shape());
    const Values cosines = values(rows.cos), sines = values(rows.sin), before = values(x);
    backend_->rope(out, x, rows, c.first_row, c.tokens);
    expect_close(values(out), naive_rope(before, cosines, sines, c, 1), dtype(), 1, 2, "out");
    const std::string apart = bytes_of(*backend_, out);
    backend_->rope_backward(out, x, rows, c.first_row, c.tokens);
    expect_close(values(out), naive_rope(before, cosines, sines, c, -1), dtype(), 1, 2, "d_x");
    backend_->rope(x, x, rows, c.first_row, c.tokens);
    EXPECT_TRUE(bytes_of(*backend_, x) == apart) << "in place";
  }
}

TEST_P(RopeTest, threads_dont_change_bits) {
  expect_same_bits_on_any_threads([&](Backend& backend) {
    const Tensor x = backend::normal(backend, dtype(), {501, 3, 64}, 1);
    const RopeTensors rows{backend::normal(backend, Dtype::f32, {167, 32}, 2),
                           backend::normal(backend, Dtype::f32, {167, 32}, 3)};
    const Tensor out = backend.allocate(dtype(), x.shape());
    backend.rope(out, x, rows, 0, 167);
    backend.rope_backward(x, x, rows, 0, 167);
    return bytes_of(backend, out) + bytes_of(backend, x);
  });
}

TEST_P(RopeTest, refuses_rows_past_the_table) {
  const RopeTensors rows = table(16, 16);
  const Tensor x = normal({4, 1, 32}, 1);
  EXPECT_THROW(backend_->rope(x, x, rows, 13, 4), std::invalid_argument);
  EXPECT_THROW(backend_->rope(x, x, table(16, 17), 0, 4), std::invalid_argument);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

class SwigluTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(SwigluTest);

TEST_P(SwigluTest, matches_the_definition_and_its_slope) {
  const Shape shape = {7, 43};
  const Tensor gate = normal(shape, 1, 4.0f), up = normal(shape, 2), d_out = normal(shape, 3);
  const Tensor out = backend_->allocate(dtype(), shape);
  backend_->swiglu(out, gate, up);
  const Values g = values(gate), u = values(up), upstream = values(d_out);
  Values expected(g.size()), d_gate(g.size()), d_up(g.size());
  for (size_t i = 0; i < g.size(); ++i) {
    const double s = sigmoid(g[i]);
    expected[i] = g[i] * s * u[i];
    d_up[i] = upstream[i] * g[i] * s;
    constexpr double kStep = 1e-5;
    const auto silu = [](double x) { return x * sigmoid(x); };
    d_gate[i] = upstream[i] * u[i] * (silu(g[i] + kStep) - silu(g[i] - kStep)) / (2 * kStep);
  }
  expect_close(values(out), expected, dtype(), 1, 6, "out");
  backend_->swiglu_backward(gate, up, d_out, gate, up);  // onto the operands themselves
  expect_close(values(gate), d_gate, dtype(), 1, 8, "d_gate");
  expect_close(values(up), d_up, dtype(), 1, 6, "d_up");
}

TEST_P(SwigluTest, far_gates_saturate) {
  const Tensor gate = tensor_of(*backend_, dtype(), {4}, {-200, 200, -88, 0});
  const Tensor up = filled(*backend_, dtype(), {4}, 1);
  const Tensor out = backend_->allocate(dtype(), {4});
  backend_->swiglu(out, gate, up);
  const Values got = values(out);
  EXPECT_NEAR(got[0], 0, 1e-30);
  EXPECT_EQ(got[1], 200);
  EXPECT_NEAR(got[2], 0, 1e-30);
  EXPECT_EQ(got[3], 0);
}

TEST_P(SwigluTest, threads_dont_change_bits) {
  expect_same_bits_on_any_threads([&](Backend& backend) {
    const Shape shape = {301, 47};
    const Tensor gate = backend::normal(backend, dtype(), shape, 1);
    const Tensor up = backend::normal(backend, dtype(), shape, 2);
    const Tensor out = backend.allocate(dtype(), shape);
    backend.swiglu(out, gate, up);
    backend.swiglu_backward(gate, up, out, gate, up);
    return bytes_of(backend, out) + bytes_of(backend, gate) + bytes_of(backend, up);
  });
}

}  // namespace
}  // namespace ropesweep::backend
