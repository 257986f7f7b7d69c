// Dropout: how much is left out, what the rest becomes, and that the mask is a function of its
// place alone, the same on every device.
#include "worker/backend/dropout.h"

#include <gtest/gtest.h>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

class DropoutTest : public OpTest {
 protected:
  Values dropped(const Dropout& settings, int64_t count) {
    const Tensor x = filled(*backend_, dtype(), {count}, 1),
                 out = backend_->allocate(dtype(), {count});
    backend_->dropout(out, x, settings);
    return values(out);
  }
};

TEST_P(DropoutTest, leaves_out_its_share_and_keeps_the_mean) {
  constexpr int64_t kCount = 100000;
  constexpr double kProbability = 0.2;
  int64_t zeros = 0;
  for (const double value : dropped({.probability = 0.2f, .seed = 3, .step = 1}, kCount)) {
    if (value == 0) {
      ++zeros;
    } else {
      ASSERT_NEAR(value, 1.25, 1.25 * epsilon());
    }
  }
  const double count = static_cast<double>(kCount);
  const double deviation = std::sqrt(count * kProbability * (1 - kProbability));
  EXPECT_NEAR(static_cast<double>(zeros), count * kProbability, 4 * deviation);
}

TEST_P(DropoutTest, mask_depends_on_seed_stream_and_step) {
  const Dropout settings{.probability = 0.5f, .seed = 3, .stream = 2, .step = 1};
  const Values want = dropped(settings, 500);
  EXPECT_EQ(dropped(settings, 500), want);
  for (const auto& change : {+[](Dropout& d) { d.seed = 4; }, +[](Dropout& d) { d.stream = 3; },
                             +[](Dropout& d) { d.step = 2; }}) {
    Dropout other = settings;
    change(other);
    EXPECT_NE(dropped(other, 500), want);
  }
}

TEST_P(DropoutTest, a_part_has_the_wholes_mask) {
  Dropout settings{.probability = 0.5f, .seed = uint64_t{1} << 40, .stream = 9, .step = 7};
  const Values whole = dropped(settings, 1000);
  for (const int64_t first : {1, 4, 333, 512}) {
    settings.first_element = first;
    const Values part = dropped(settings, 400);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first)) << first;
  }
}

TEST_P(DropoutTest, has_the_cpus_bits_in_place_too) {
  const auto cpu = make_cpu_backend(1);
  const auto bits = [&](Backend& backend, int64_t count, bool in_place) {
    const Tensor x = backend::normal(backend, dtype(), {1, count}, 1);
    const Tensor out = in_place ? x : backend.allocate(dtype(), {1, count});
    backend.dropout(out, x, {.probability = 0.3f, .seed = 5, .stream = 1, .step = 2});
    return bytes_of(backend, out);
  };
  for (const int64_t count : {4096, 5003}) {
    const std::string want = bits(*cpu, count, false);
    EXPECT_TRUE(bits(*backend_, count, false) == want) << count;
    EXPECT_TRUE(bits(*backend_, count, true) == want) << count;
  }
  expect_same_bits_on_any_threads([&](Backend& backend) { return bits(backend, 50001, false); });
}

TEST_P(DropoutTest, what_is_dropped_is_zero_whatever_it_was) {
  const Tensor x = filled(*backend_, dtype(), {100}, INFINITY);
  backend_->dropout(x, x, {.probability = 0.5f, .seed = 1});
  for (const double value : values(x)) EXPECT_TRUE(value == 0 || std::isinf(value)) << value;
}

TEST_P(DropoutTest, refuses_what_does_not_fit) {
  const Tensor x = normal({4}, 1), other = normal({5}, 1);
  EXPECT_THROW(backend_->dropout(other, x, {.probability = 0.5f}), std::invalid_argument);
  EXPECT_THROW(backend_->dropout(x, x, {.probability = 1}), std::invalid_argument);
}

ROPESWEEP_BOTH_TYPES(DropoutTest);

}  // namespace
}  // namespace ropesweep::backend
