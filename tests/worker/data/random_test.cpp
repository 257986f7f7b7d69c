// The random numbers of built data: fixed for ever, uniform, and permutations that are ones.
#include "worker/data/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace ropesweep::data {
namespace {

TEST(Random, DrawsAreTheSameForEver) {
  // SplitMix64 in Python gave these; a change here changes every data set that was ever built.
  Random random(7, "lines", 3);
  const std::vector<uint64_t> drawn = {random.next(), random.next(), random.next()};
  EXPECT_EQ(drawn, (std::vector<uint64_t>{7728282990414490307ull, 1760415894269340790ull,
                                          11321457668042097134ull}));
}

TEST(Random, SeedsStreamsAndIndicesDiffer) {
  std::set<uint64_t> first;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (const char* stream : {"a", "b", "ab", "ba"}) {
      for (int64_t index = 0; index < 4; ++index) first.insert(Random(seed, stream, index).next());
    }
  }
  EXPECT_EQ(first.size(), 64u);
}

TEST(Random, BelowIsUniform) {
  Random random(1, "uniform", 0);
  constexpr int64_t bound = 7, draws = 70000;
  std::array<int64_t, bound> counts{};
  for (int64_t i = 0; i < draws; ++i) ++counts.at(static_cast<size_t>(random.below(bound)));
  for (const int64_t count : counts) {
    EXPECT_NEAR(static_cast<double>(count), draws / bound, 500);  // five standard deviations
  }
}

TEST(Random, LogUniformReachesEveryOctaveEquallyOften) {
  Random random(2, "octaves", 0);
  constexpr int64_t most = 1000, draws = 50000;
  std::array<int64_t, 10> counts{};  // of [1, 1], [2, 3], … [512, 1000]
  for (int64_t i = 0; i < draws; ++i) {
    const int64_t drawn = random.log_uniform(most);
    ASSERT_GE(drawn, 1);
    ASSERT_LE(drawn, most);
    ++counts.at(static_cast<size_t>(std::bit_width(static_cast<uint64_t>(drawn)) - 1));
  }
  for (const int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 5000, 350);
}

TEST(Permuted, IsAPermutationOfAnyCount) {
  for (const int64_t count : {1, 2, 3, 5, 16, 17, 100, 1023}) {
    for (uint64_t key = 0; key < 5; ++key) {
      std::set<int64_t> images;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t image = permuted(i, count, key);
        ASSERT_GE(image, 0);
        ASSERT_LT(image, count);
        images.insert(image);
      }
      EXPECT_EQ(static_cast<int64_t>(images.size()), count);
    }
  }
}

TEST(Permuted, KeysGiveDifferentOrders) {
  std::set<std::vector<int64_t>> orders;
  for (uint64_t key = 0; key < 50; ++key) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < 12; ++i) order.push_back(permuted(i, 12, key));
    orders.insert(order);
  }
  EXPECT_GE(orders.size(), 49u);
}

}  // namespace
}  // namespace ropesweep::data
