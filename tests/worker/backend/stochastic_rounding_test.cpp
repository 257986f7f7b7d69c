// AdamW of bf16 weights without masters: rounding up or down by chance is right on average, moves a
// weight to a neighbour only, and has the CPU's bits on every device.
#include "worker/backend/stochastic_rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <stdexcept>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

/// A step that takes rate off every weight: first steps are of that size whatever the gradient.
AdamwStep small_step(int64_t step = 1) {
  return {.learning_rate = 0x1p-12f, .epsilon = 0, .step = step, .seed = 5};
}

/// Weights 1 after one step of every gradient 1.
Values after_one_step(Backend& backend, int64_t count, const AdamwStep& step) {
  const Tensor weight = filled(backend, Dtype::bf16, {count}, 1);
  const Tensor m = filled(backend, Dtype::f32, {count}, 0);
  const Tensor v = filled(backend, Dtype::f32, {count}, 0);
  backend.adamw(weight, Tensor(), m, v, filled(backend, Dtype::f32, {count}, 1), step);
  return values_of(backend, weight);
}

TEST(StochasticRounding, IsRightOnAverage) {
  // 1 − 2⁻¹² lies 2⁻⁴ of the way from 1 to the next below, 1 − 2⁻⁸.
  constexpr int64_t kCount = 100000;
  constexpr double kChance = 0x1p-4;
  const auto backend = make_test_backend();
  double moved = 0;
  for (const double w : after_one_step(*backend, kCount, small_step())) {
    ASSERT_TRUE(w == 1 || w == 1 - 0x1p-8) << w;
    moved += w != 1;
  }
  const double share = moved / static_cast<double>(kCount);
  const double deviation = std::sqrt(kChance * (1 - kChance) / static_cast<double>(kCount));
  EXPECT_NEAR(share, kChance, 4 * deviation);
}

TEST(StochasticRounding, KeepsWhatFitsAndWhatIsNotFinite) {
  for (const uint32_t chance : {0U, 0x7FFFU, 0xFFFFU}) {
    for (const uint32_t upper : {0x0000U, 0x8000U, 0x3F80U, 0xC123U, 0x0001U, 0x7F80U, 0xFF80U}) {
      EXPECT_EQ(rounded_by_chance(upper << 16, chance), upper);
    }
    EXPECT_TRUE((rounded_by_chance(0x7F800001U, chance) & 0x7FFFU) > 0x7F80U);
    EXPECT_TRUE((rounded_by_chance(0xFFFFFFFFU, chance) & 0x7FFFU) > 0x7F80U);
  }
  EXPECT_EQ(rounded_by_chance(0x3F800001U, 0xFFFEU), 0x3F80U);
  EXPECT_EQ(rounded_by_chance(0x3F800001U, 0xFFFFU), 0x3F81U);  // by 1 in 65536
  EXPECT_EQ(rounded_by_chance(0xBF80FFFFU, 0x0000U), 0xBF80U);
  EXPECT_EQ(rounded_by_chance(0xBF80FFFFU, 0x0001U), 0xBF81U);  // away from zero
}

TEST(StochasticRounding, ChanceDependsOnSeedStreamAndStep) {
  const auto backend = make_test_backend();
  AdamwStep step = small_step();
  const Values want = after_one_step(*backend, 1000, step);
  EXPECT_EQ(after_one_step(*backend, 1000, step), want);
  step.seed = 6;
  EXPECT_NE(after_one_step(*backend, 1000, step), want);
  step = small_step();
  step.stream = 1;
  EXPECT_NE(after_one_step(*backend, 1000, step), want);
  step = small_step(2);
  step.beta1 = step.beta2 = 0;  // a second step as large as the first
  EXPECT_NE(after_one_step(*backend, 1000, step), want);
}

/// What three steps leave of a tensor, or of a part of one from `first` on.
std::string trained(Backend& backend, int64_t first, int64_t count) {
  constexpr int64_t kAll = 5001;
  const auto part = [&](Dtype dtype, uint64_t stream, float deviation) {
    const Tensor whole = normal(backend, dtype, {kAll}, stream, deviation);
    const Tensor own = backend.allocate(dtype, {count});
    backend.copy(own, whole.rows(first, count));
    return own;
  };
  const Tensor weight = part(Dtype::bf16, 1, 0.1f);
  const Tensor m = filled(backend, Dtype::f32, {count}, 0);
  const Tensor v = filled(backend, Dtype::f32, {count}, 0);
  for (int64_t step = 1; step <= 3; ++step) {
    const AdamwStep settings{.learning_rate = 3e-4f,
                             .weight_decay = 0.1f,
                             .step = step,
                             .gradient_scale = 0.7f,
                             .seed = uint64_t{1} << 40,
                             .stream = 9,
                             .first_element = first};
    backend.adamw(weight, Tensor(), m, v, part(Dtype::f32, 10 + static_cast<uint64_t>(step), 1),
                  settings);
  }
  return bytes_of(backend, weight) + bytes_of(backend, m) + bytes_of(backend, v);
}

TEST(StochasticRounding, HasTheCpusBits) {
  const auto backend = make_test_backend(2), cpu = make_cpu_backend(1);
  for (const auto& [first, count] : {std::pair{0, 5001}, {0, 4096}, {8, 4096}, {3, 4000}}) {
    EXPECT_TRUE(trained(*backend, first, count) == trained(*cpu, first, count))
        << first << " " << count;
  }
}

TEST(StochasticRounding, APartHasTheWholesBits) {
  const auto backend = make_test_backend();
  const std::string whole = trained(*backend, 0, 5001);
  for (const auto& [first, count] : {std::pair{0, 1700}, {1700, 1700}, {2048, 2048}}) {
    const std::string own =
        trained(*backend, first, count).substr(0, 2 * static_cast<size_t>(count));
    EXPECT_TRUE(own == whole.substr(2 * static_cast<size_t>(first), own.size())) << first;
  }
}

TEST(StochasticRounding, IsForBf16Alone) {
  const auto backend = make_test_backend();
  const Tensor x = filled(*backend, Dtype::f32, {4}, 1);
  EXPECT_THROW(backend->adamw(x, Tensor(), x, x, x, {}), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::backend
