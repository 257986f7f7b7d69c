// Tensors, storage and its reuse, conversions, element-wise ops, reductions, random numbers,
// profile.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "tests/worker/backend/support.h"
#include "worker/backend/cpu/bf16.h"
#include "worker/backend/philox.h"
#include "worker/backend/profile.h"

namespace ropesweep::backend {
namespace {

class TransferTest : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_test_backend();
};

TEST_F(TransferTest, rows_and_reshapes_share_the_storage) {
  const Tensor x = tensor_of(*backend_, Dtype::f32, {3, 2}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(values_of(*backend_, x.rows(1, 2)), (Values{2, 3, 4, 5}));
  backend_->scale(x.rows(2, 1), 10);
  EXPECT_EQ(values_of(*backend_, x.reshape({6})), (Values{0, 1, 2, 3, 40, 50}));
  EXPECT_THROW(x.rows(2, 2), std::invalid_argument);
  EXPECT_THROW(x.reshape({4}), std::invalid_argument);
}

TEST_F(TransferTest, large_copies_arrive_whole) {
  // Past several staging blocks of 8 MiB, and not a multiple of one.
  std::vector<int32_t> host(5'000'001);
  for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<int32_t>(i * 2654435761U);
  const Tensor x = ids_of(*backend_, host);
  std::vector<int32_t> back(host.size());
  backend_->download(back.data(), x);
  EXPECT_TRUE(back == host);
  backend_->download(back.data() + 1, x.rows(3, 4'000'000));
  EXPECT_TRUE(std::equal(back.begin() + 1, back.begin() + 4'000'001, host.begin() + 3));
}

TEST_F(TransferTest, storage_is_reused_and_counted) {
  const Shape shape = {1000, 100};
  const void* place = nullptr;
  {
    const Tensor x = backend_->allocate(Dtype::f32, shape);
    place = x.raw();
    EXPECT_GE(backend_->bytes_in_use(), 400000u);
  }
  EXPECT_EQ(backend_->bytes_in_use(), 0u);
  EXPECT_GE(backend_->peak_bytes(), 400000u);
  EXPECT_EQ(backend_->allocate(Dtype::f32, shape).raw(), place);
}

TEST_F(TransferTest, a_device_has_a_stream) {
  EXPECT_EQ(backend_->stream() != nullptr, test_device() != "cpu");
}

TEST_F(TransferTest, a_tensor_outlives_its_backend) {
  if (test_device() == "cuda") GTEST_SKIP() << "reads the tensor's memory, which is the device's";
  const Tensor x = tensor_of(*backend_, Dtype::f32, {2}, {1, 2});
  backend_.reset();
  EXPECT_EQ(x.data<float>()[1], 2.0f);
}

TEST_F(TransferTest, more_than_the_machine_has_is_out_of_memory) {
  EXPECT_THROW(backend_->allocate(Dtype::f32, {int64_t{1} << 52}), std::bad_alloc);
}

TEST_F(TransferTest, bf16_rounds_to_nearest_even) {
  // Halfway cases both ways, just past halfway, the overflow to infinity, NaNs; at vector and tail
  // lanes.
  const std::vector<uint32_t> bits = {0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF,
                                      0xBF808000, 0x00000001, 0x7F800000, 0xFF800000, 0x80000000};
  const std::vector<uint16_t> expected = {0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x7F80,
                                          0xBF80, 0x0000, 0x7F80, 0xFF80, 0x8000};
  for (const size_t lanes : {1, 16, 17, 40}) {
    for (size_t i = 0; i < bits.size(); ++i) {
      const std::vector<float> host(lanes, std::bit_cast<float>(bits[i]));
      const Tensor wide = backend_->allocate(Dtype::f32, {static_cast<int64_t>(lanes)});
      const Tensor narrow = backend_->allocate(Dtype::bf16, wide.shape());
      backend_->upload(wide, host.data());
      backend_->copy(narrow, wide);
      for (size_t lane = 0; lane < lanes; ++lane) {
        EXPECT_EQ(narrow.data<uint16_t>()[lane], expected[i]) << std::hex << bits[i];
      }
      EXPECT_EQ(cpu::to_bf16(host[0]).bits, expected[i]);
    }
  }
  const Tensor nan = filled(*backend_, Dtype::bf16, {33}, std::numeric_limits<double>::quiet_NaN());
  for (const double value : values_of(*backend_, nan)) EXPECT_TRUE(std::isnan(value));
}

TEST_F(TransferTest, adds_and_scales_in_every_mix_of_types) {
  for (const Dtype to : {Dtype::f32, Dtype::bf16}) {
    for (const Dtype from : {Dtype::f32, Dtype::bf16}) {
      const Tensor sum = normal(*backend_, to, {35}, 1), x = normal(*backend_, from, {35}, 2);
      Values expected = values_of(*backend_, sum);
      for (size_t i = 0; i < 35; ++i) expected[i] += values_of(*backend_, x)[i];
      backend_->add(sum, x);
      expect_close(values_of(*backend_, sum), expected, to, 1, 0, "sum");
      backend_->scale(sum, -3);
      for (double& value : expected) value *= -3;
      expect_close(values_of(*backend_, sum), expected, to, 2, 0, "scaled");
    }
  }
  const Tensor x = normal(*backend_, Dtype::bf16, {50001}, 1);
  backend_->zero(x);
  EXPECT_EQ(norm_of(values_of(*backend_, x)), 0);
}

TEST_F(TransferTest, reduces_in_a_fixed_order) {
  const Tensor x = normal(*backend_, Dtype::f32, {100003}, 1);
  const Values host = values_of(*backend_, x);
  double squares = 0;
  for (const double value : host) squares += value * value;
  EXPECT_NEAR(backend_->sum_of_squares({x}), squares, 16 * 0x1p-24 * squares);
  expect_same_bits_on_any_threads([](Backend& backend) {
    return std::to_string(backend.sum_of_squares({normal(backend, Dtype::f32, {100003}, 1)}));
  });
  EXPECT_NEAR(backend_->sum_of_squares({x, x.rows(3, 70000), x.rows(0, 0)}),
              squares + backend_->sum_of_squares({x.rows(3, 70000)}), 32 * 0x1p-24 * squares);
  EXPECT_EQ(backend_->sum_of_squares({}), 0);
  EXPECT_EQ(backend_->argmax(tensor_of(*backend_, Dtype::f32, {5}, {-3, 2, -1, 2, 1})), 1);
}

// The known answers of Random123 1.14, examples/kat_vectors, philox4x32 10.
TEST(PhiloxTest, gives_the_known_answers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomNormalTest, an_element_depends_on_seed_stream_and_place_only) {
  const auto backend = make_cpu_backend(3);
  const Tensor all = backend->allocate(Dtype::f32, {30001});
  const Tensor some = make_cpu_backend(1)->allocate(Dtype::f32, {1234});
  backend->random_normal(all, 5, 6, 2.0f);
  make_cpu_backend(1)->random_normal(some, 5, 6, 2.0f);
  const std::string whole = bytes_of(*backend, all), part = bytes_of(*backend, some);
  EXPECT_TRUE(whole.compare(0, part.size(), part) == 0);
  backend->random_normal(some, 5, 7, 2.0f);
  EXPECT_FALSE(bytes_of(*backend, some) == part);
  backend->random_normal(some, 4, 6, 2.0f);
  EXPECT_FALSE(bytes_of(*backend, some) == part);
}

TEST(RandomNormalTest, has_the_moments_of_a_normal) {
  const auto backend = make_cpu_backend(2);
  constexpr int64_t kCount = 200000;
  const Values x = values_of(*backend, normal(*backend, Dtype::f32, {kCount}, 1, 2.0f));
  double mean = 0, square = 0, fourth = 0;
  for (const double value : x) {
    mean += value / 2 / kCount;
    square += value * value / 4 / kCount;
    fourth += value * value * value * value / 16 / kCount;
  }
  // Five standard errors of each: √(1/n), √(2/n), √(96/n).
  EXPECT_NEAR(mean, 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(square, 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(fourth, 3, 5 * std::sqrt(96.0 / kCount));
}

TEST(ProfileTest, counts_calls_and_work_while_it_is_on) {
  Profile& profile = Profile::instance();
  const auto backend = make_cpu_backend(1);
  const Tensor x = filled(*backend, Dtype::f32, {10}, 1);
  profile.clear();
  backend->scale(x, 2);
  EXPECT_TRUE(profile.totals().empty());
  profile.enable(true);
  backend->scale(x, 2);
  backend->scale(x, 2);
  profile.enable(false);
  ASSERT_EQ(profile.totals().count("scale"), 1u);
  EXPECT_EQ(profile.totals().at("scale").calls, 2);
  EXPECT_EQ(profile.totals().at("scale").flops, 20);
  EXPECT_EQ(profile.totals().at("scale").bytes, 160);
  EXPECT_NE(profile.table().find("scale"), std::string::npos);
  profile.clear();
}

}  // namespace
}  // namespace ropesweep::backend
