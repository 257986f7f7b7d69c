// What the backend's tests share: tensors from and to doubles, tolerances, and bodies run over
// types.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/devices.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend {

using Values = std::vector<double>;

/// What one rounding costs at most, relatively: half the spacing of the type's numbers just
/// above 1.
inline double epsilon_of(Dtype dtype) { return dtype == Dtype::bf16 ? 0x1p-8 : 0x1p-24; }

inline Values values_of(Backend& backend, const Tensor& x) {
  Tensor wide = x;
  if (x.dtype() == Dtype::bf16) {
    wide = backend.allocate(Dtype::f32, x.shape());
    backend.copy(wide, x);
  }
  std::vector<float> host(static_cast<size_t>(x.elements()));
  backend.download(host.data(), wide);
  return {host.begin(), host.end()};
}

inline Tensor tensor_of(Backend& backend, Dtype dtype, const Shape& shape, const Values& values) {
  const std::vector<float> host(values.begin(), values.end());
  const Tensor wide = backend.allocate(Dtype::f32, shape);
  EXPECT_EQ(wide.elements(), static_cast<int64_t>(values.size()));
  backend.upload(wide, host.data());
  if (dtype == Dtype::f32) return wide;
  const Tensor narrow = backend.allocate(dtype, shape);
  backend.copy(narrow, wide);
  return narrow;
}

inline Tensor ids_of(Backend& backend, const std::vector<int32_t>& ids) {
  const Tensor x = backend.allocate(Dtype::i32, {static_cast<int64_t>(ids.size())});
  backend.upload(x, ids.data());
  return x;
}

inline Tensor normal(Backend& backend, Dtype dtype, const Shape& shape, uint64_t stream,
                     float deviation = 1.0f) {
  const Tensor x = backend.allocate(dtype, shape);
  backend.random_normal(x, 20260, stream, deviation);
  return x;
}

inline Tensor filled(Backend& backend, Dtype dtype, const Shape& shape, double value) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return tensor_of(backend, dtype, shape, Values(static_cast<size_t>(count), value));
}

inline double norm_of(const Values& x) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  return std::sqrt(squares);
}

/// The norm of the difference is at most `roundings` times the type's epsilon, and `sums` times
/// f32's (in which everything is summed), times the norm expected.
inline void expect_close(const Values& got, const Values& expected, Dtype dtype, double roundings,
                         double sums, const char* what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  Values difference(got.size());
  for (size_t i = 0; i < got.size(); ++i) difference[i] = got[i] - expected[i];
  const double tolerance = roundings * epsilon_of(dtype) + sums * epsilon_of(Dtype::f32);
  EXPECT_LE(norm_of(difference), tolerance * norm_of(expected)) << what;
}

/// The bytes of a tensor, for comparisons to the bit.
inline std::string bytes_of(Backend& backend, const Tensor& x) {
  std::string bytes(x.bytes(), '\0');
  backend.download(bytes.data(), x);
  return bytes;
}

/// What an op left in its outputs, to the bit, with a given number of threads; on another device
/// than the CPU, when it is done again.
template <typename Op>
void expect_same_bits_on_any_threads(Op&& op) {
  if (test_device() != "cpu") {
    const auto device = make_test_backend();
    const std::string expected = op(*device);
    EXPECT_TRUE(op(*device) == expected);
    return;
  }
  const auto one = make_cpu_backend(1);
  const std::string expected = op(*one);
  ASSERT_FALSE(expected.empty());
  for (const int threads : {2, 3}) {
    const auto several = make_cpu_backend(threads);
    EXPECT_EQ(op(*several) == expected, true) << threads << " threads";
  }
}

/// Parameterised by type, on the test's device.
class OpTest : public testing::TestWithParam<Dtype> {
 protected:
  Dtype dtype() const { return GetParam(); }
  double epsilon() const { return epsilon_of(GetParam()); }
  Tensor normal(const Shape& shape, uint64_t stream, float deviation = 1.0f) {
    return backend::normal(*backend_, dtype(), shape, stream, deviation);
  }
  Values values(const Tensor& x) { return values_of(*backend_, x); }

  std::unique_ptr<Backend> backend_ = make_test_backend();
};

inline std::string type_name(const testing::TestParamInfo<Dtype>& info) {
  return name_of(info.param);
}

#define ROPESWEEP_BOTH_TYPES(Suite) \
  INSTANTIATE_TEST_SUITE_P(Types, Suite, testing::Values(Dtype::f32, Dtype::bf16), type_name)

}  // namespace ropesweep::backend
