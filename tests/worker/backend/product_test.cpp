// Products against naive loops in f64, and their bits against the number of rows and threads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

/// c[R, N] = Σ_m a[r, m] · b(m, n).
struct Naive {
  int64_t rows, inner, columns;

  template <typename A, typename B>
  Values operator()(A&& a, B&& b) const {
    Values c(static_cast<size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < columns; ++n) {
        double sum = 0;
        for (int64_t m = 0; m < inner; ++m) sum += a(r, m) * b(m, n);
        c[static_cast<size_t>(r * columns + n)] = sum;
      }
    }
    return c;
  }
};

auto element(const Values& x, int64_t columns, bool transposed = false) {
  return [&x, columns, transposed](int64_t i, int64_t j) {
    return x[static_cast<size_t>(transposed ? j * columns + i : i * columns + j)];
  };
}

/// Roundings in f32 over a sum of n terms, which grow like a random walk's distance.
double roundings(int64_t terms) { return 2 * std::sqrt(static_cast<double>(terms)); }

struct Sizes {
  int64_t rows, inputs, outputs;
};

class ProductTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(ProductTest);

TEST_P(ProductTest, matches_naive_loops_at_odd_sizes) {
  for (const auto& [rows, inputs, outputs] :
       {Sizes{1, 33, 7}, {8, 64, 300}, {9, 1, 1}, {37, 50, 3}, {300, 130, 65}, {257, 64, 513}}) {
    const Tensor a = normal({rows, inputs}, 1), weight = normal({outputs, inputs}, 2);
    const Tensor out = backend_->allocate(dtype(), {rows, outputs});
    backend_->product(out, a, weight, false);
    const Values expected = Naive{rows, inputs, outputs}(element(values(a), inputs),
                                                         element(values(weight), inputs, true));
    expect_close(values(out), expected, dtype(), 1, roundings(inputs), "out");
  }
}

TEST_P(ProductTest, accumulates_onto_what_is_there) {
  for (const int64_t rows : {3, 70}) {
    const Tensor a = normal({rows, 40}, 1), weight = normal({30, 40}, 2);
    const Tensor out = normal({rows, 30}, 3);
    const Values before = values(out);
    backend_->product(out, a, weight, true);
    Values expected =
        Naive{rows, 40, 30}(element(values(a), 40), element(values(weight), 40, true));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
    expect_close(values(out), expected, dtype(), 1, roundings(40), "out");
  }
}

TEST_P(ProductTest, writes_f32_from_either_type) {
  for (const int64_t rows : {5, 100}) {
    const Tensor a = normal({rows, 96}, 1), weight = normal({70, 96}, 2);
    const Tensor out = backend_->allocate(Dtype::f32, {rows, 70});
    backend_->product(out, a, weight, false);
    const Values expected =
        Naive{rows, 96, 70}(element(values(a), 96), element(values(weight), 96, true));
    expect_close(values(out), expected, Dtype::f32, 1, roundings(96), "out");
  }
}

TEST_P(ProductTest, backward_matches_naive_loops) {
  for (const auto& [rows, inputs, outputs] :
       {Sizes{1, 33, 7}, {37, 50, 3}, {300, 130, 65}, {1500, 20, 70}, {11, 6, 9000}}) {
    const Tensor a = normal({rows, inputs}, 1), weight = normal({outputs, inputs}, 2);
    const Tensor d_out = normal({rows, outputs}, 3);
    const Tensor d_a = normal({rows, inputs}, 4);
    const Tensor d_weight = backend::normal(*backend_, Dtype::f32, {outputs, inputs}, 5);
    const Values a_before = values(d_a), weight_before = values(d_weight);
    backend_->product_backward_input(d_a, d_out, weight, true);
    backend_->product_backward_weight(d_weight, d_out, a);

    Values expected = Naive{rows, outputs, inputs}(element(values(d_out), outputs),
                                                   element(values(weight), inputs));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += a_before[i];
    expect_close(values(d_a), expected, dtype(), 1, roundings(outputs), "d_a");

    expected = Naive{outputs, rows, inputs}(element(values(d_out), outputs, true),
                                            element(values(a), inputs));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += weight_before[i];
    expect_close(values(d_weight), expected, Dtype::f32, 1, roundings(rows), "d_weight");
  }
}

TEST_P(ProductTest, rows_have_the_same_bits_however_many_there_are) {
  constexpr int64_t kInputs = 96, kOutputs = 300;
  const Tensor a = normal({1000, kInputs}, 1), weight = normal({kOutputs, kInputs}, 2);
  const Tensor d_out = normal({1000, kOutputs}, 3);
  const auto forward = [&](int64_t rows) {
    const Tensor out = backend_->allocate(dtype(), {rows, kOutputs});
    backend_->product(out, a.rows(0, rows), weight, false);
    return bytes_of(*backend_, out);
  };
  const auto backward = [&](int64_t rows) {
    const Tensor d_a = backend_->allocate(dtype(), {rows, kInputs});
    backend_->product_backward_input(d_a, d_out.rows(0, rows), weight, false);
    return bytes_of(*backend_, d_a);
  };
  const std::string tiled = forward(1000), few = forward(8), input = backward(1000);
  for (const int64_t rows : {9, 31, 255, 256, 257, 511}) {
    const std::string some = forward(rows);
    EXPECT_TRUE(tiled.compare(0, some.size(), some) == 0) << rows << " rows";
  }
  for (const int64_t rows : {1, 3, 5}) {
    const std::string some = forward(rows);
    EXPECT_TRUE(few.compare(0, some.size(), some) == 0) << rows << " rows";
  }
  for (const int64_t rows : {1, 5, 255, 256, 257}) {
    const std::string some = backward(rows);
    EXPECT_TRUE(input.compare(0, some.size(), some) == 0) << rows << " rows";
  }
}

TEST_P(ProductTest, threads_dont_change_bits) {
  for (const int64_t rows : {5, 700, 2100}) {
    expect_same_bits_on_any_threads([&](Backend& backend) {
      const Tensor a = backend::normal(backend, dtype(), {rows, 70}, 1);
      const Tensor weight = backend::normal(backend, dtype(), {600, 70}, 2);
      const Tensor d_out = backend::normal(backend, dtype(), {rows, 600}, 3);
      const Tensor out = backend.allocate(dtype(), {rows, 600});
      const Tensor d_a = backend.allocate(dtype(), {rows, 70});
      const Tensor d_weight = filled(backend, Dtype::f32, {600, 70}, 0.0);
      backend.product(out, a, weight, false);
      backend.product_backward_input(d_a, d_out, weight, false);
      backend.product_backward_weight(d_weight, d_out, a);
      return bytes_of(backend, out) + bytes_of(backend, d_a) + bytes_of(backend, d_weight);
    });
  }
}

TEST_P(ProductTest, refuses_shapes_that_dont_fit) {
  const Tensor a = normal({4, 6}, 1), weight = normal({5, 7}, 2), out = normal({4, 5}, 3);
  EXPECT_THROW(backend_->product(out, a, weight, false), std::invalid_argument);
  EXPECT_THROW(backend_->product_backward_input(a, out, weight, false), std::invalid_argument);
  EXPECT_THROW(backend_->product_backward_weight(weight, out, a), std::invalid_argument);
}

/// Runs last in a process of its own ("threadsafe" style): the switch is read once.
TEST(ProductFallbackTest, processors_without_bf16_products_go_through_f32) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [] {
    setenv("ROPESWEEP_NO_BF16_PRODUCT", "1", 1);
    const auto backend = make_cpu_backend(2);
    const Tensor a = normal(*backend, Dtype::bf16, {70, 50}, 1);
    const Tensor weight = normal(*backend, Dtype::bf16, {30, 50}, 2);
    const Tensor out = backend->allocate(Dtype::bf16, {70, 30});
    const Tensor d_a = backend->allocate(Dtype::bf16, {70, 50});
    const Tensor d_weight = filled(*backend, Dtype::f32, {30, 50}, 0.0);
    backend->product(out, a, weight, false);
    backend->product_backward_input(d_a, out, weight, false);
    backend->product_backward_weight(d_weight, out, a);
    const Values va = values_of(*backend, a), vw = values_of(*backend, weight);
    const Values vo = values_of(*backend, out);
    expect_close(vo, Naive{70, 50, 30}(element(va, 50), element(vw, 50, true)), Dtype::bf16, 1,
                 roundings(50), "out");
    expect_close(values_of(*backend, d_a), Naive{70, 30, 50}(element(vo, 30), element(vw, 50)),
                 Dtype::bf16, 1, roundings(30), "d_a");
    expect_close(values_of(*backend, d_weight),
                 Naive{30, 70, 50}(element(vo, 30, true), element(va, 50)), Dtype::f32, 1,
                 roundings(70), "d_weight");
    const bool through_f32 = backend->description().find("f32 products") != std::string::npos;
    std::_Exit(through_f32 && !testing::Test::HasFailure() ? 0 : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ropesweep::backend
