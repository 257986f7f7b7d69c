// Groups of ranks: what an operation leaves on each, sums in the order of the ranks to the bit,
// operations that go on beside their members, and members that die, fall silent or never come.
#include "worker/backend/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <latch>

#include "tests/worker/backend/group.h"
#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

using testing::Each;
using testing::ElementsAreArray;

std::vector<float> host(Backend& backend, const Tensor& x) {
  std::vector<float> values(static_cast<size_t>(x.elements()));
  backend.download(values.data(), x);
  return values;
}

Tensor uploaded(Backend& backend, const std::vector<float>& values) {
  const Tensor x = backend.allocate(Dtype::f32, {static_cast<int64_t>(values.size())});
  backend.upload(x, values.data());
  return x;
}

/// Element i of rank r's x: numbers whose sum depends on the order.
float term(int rank, size_t i) {
  return std::ldexp(1.0F + 0.37F * static_cast<float>((i * 7 + 3 * static_cast<size_t>(rank)) % 11),
                    (rank * 9 + static_cast<int>(i)) % 23 - 11);
}

std::vector<float> terms(int rank, size_t count) {
  std::vector<float> values;
  for (size_t i = 0; i < count; ++i) values.push_back(term(rank, i));
  return values;
}

std::vector<float> sums_in_order(int size, size_t count) {
  std::vector<float> sums = terms(0, count);
  for (int rank = 1; rank < size; ++rank) {
    for (size_t i = 0; i < count; ++i) sums[i] += term(rank, i);
  }
  return sums;
}

class GroupOf : public testing::TestWithParam<int> {};

TEST_P(GroupOf, GathersPartsInTheOrderOfTheRanks) {
  as_group(GetParam(), [](Backend& backend, Collective& group) {
    for (const size_t count : {size_t{1}, size_t{1000}, size_t{70000}}) {
      const Tensor part = uploaded(backend, terms(group.rank(), count));
      const Tensor out = backend.allocate(Dtype::f32, {group.size() * part.elements()});
      group.all_gather(out, part);
      const std::vector<int32_t> pair = {group.rank(), -group.rank()};
      const std::array parts{part, ids_of(backend, pair)};
      const std::array outs{backend.allocate(Dtype::f32, out.shape()),
                            backend.allocate(Dtype::i32, {2 * group.size()})};
      group.all_gather(outs, parts);  // both in one message
      std::vector<int32_t> ids(static_cast<size_t>(2 * group.size()));
      backend.download(ids.data(), outs[1]);
      for (int rank = 0; rank < group.size(); ++rank) {
        EXPECT_EQ(ids[static_cast<size_t>(2 * rank)], rank);
        EXPECT_EQ(ids[static_cast<size_t>(2 * rank + 1)], -rank);
      }
      std::vector<float> expected;
      for (int rank = 0; rank < group.size(); ++rank) {
        for (const float value : terms(rank, count)) expected.push_back(value);
      }
      EXPECT_EQ(host(backend, out), expected);
      EXPECT_EQ(host(backend, outs[0]), expected);
    }
  });
}

TEST_P(GroupOf, SumsInTheOrderOfTheRanksToTheBit) {
  as_group(GetParam(), [](Backend& backend, Collective& group) {
    const auto size = static_cast<size_t>(group.size());
    const auto self = static_cast<size_t>(group.rank());
    const size_t count = 1001;
    const std::vector<float> few = sums_in_order(group.size(), 3 * size);
    const std::vector<float> sums = sums_in_order(group.size(), count * size);
    const Tensor x = uploaded(backend, terms(group.rank(), count * size));
    const Tensor part = backend.allocate(Dtype::f32, {static_cast<int64_t>(count)});
    group.reduce_scatter(part, x);
    EXPECT_THAT(host(backend, part), ElementsAreArray(&sums[self * count], count));
    backend.zero(part);
    const std::array parts{part, backend.allocate(Dtype::f32, {3})};
    const std::array xs{x, uploaded(backend, terms(group.rank(), 3 * size))};
    group.reduce_scatter(parts, xs);  // both in one message
    EXPECT_THAT(host(backend, parts[0]), ElementsAreArray(&sums[self * count], count));
    EXPECT_THAT(host(backend, parts[1]), ElementsAreArray(&few[self * 3], 3));

    for (const size_t any : {size_t{1}, size_t{3}, size_t{1003}}) {  // parts of unequal lengths
      const Tensor all = uploaded(backend, terms(group.rank(), any));
      group.all_reduce(all);
      EXPECT_EQ(host(backend, all), sums_in_order(group.size(), any));
    }

    double total = 0;
    for (int rank = 0; rank < group.size(); ++rank) total += 1.0 / (3.0 + rank);
    EXPECT_EQ(group.sum(1.0 / (3.0 + group.rank())), total);
  });
}

TEST_P(GroupOf, BroadcastsFromAnyRoot) {
  as_group(GetParam(), [](Backend& backend, Collective& group) {
    for (int root = 0; root < group.size(); ++root) {
      const std::vector<int32_t> ids(33, 100 + group.rank());
      const Tensor x = ids_of(backend, ids);
      group.broadcast(x, root);
      std::vector<int32_t> got(ids.size());
      backend.download(got.data(), x);
      EXPECT_THAT(got, Each(100 + root));
    }
  });
}

TEST_P(GroupOf, RunsWhatWasBegunBesideTheMember) {
  as_group(GetParam(), [](Backend& backend, Collective& group) {
    const auto size = static_cast<size_t>(group.size());
    const auto self = static_cast<size_t>(group.rank());
    const size_t count = 70001;
    const Tensor part = uploaded(backend, terms(group.rank(), count));
    const Tensor x = uploaded(backend, terms(group.rank(), count * size));
    const Tensor whole = backend.allocate(Dtype::f32, x.shape());
    const Tensor sums = backend.allocate(Dtype::f32, part.shape());
    const Tensor own = uploaded(backend, std::vector<float>(1000, 1.0F));

    const auto gathering = group.begin_all_gather({&whole, 1}, {&part, 1});
    const auto summing = group.begin_reduce_scatter({&sums, 1}, {&x, 1});
    for (int i = 0; i < 20; ++i) backend.add(own, part.rows(0, 1000));  // what both read or leave
    EXPECT_EQ(group.sum(1), group.size());                              // behind both
    summing->wait();
    gathering->wait();
    gathering->wait();  // again: nothing

    std::vector<float> expected;
    for (int rank = 0; rank < group.size(); ++rank) {
      for (const float value : terms(rank, count)) expected.push_back(value);
    }
    EXPECT_EQ(host(backend, whole), expected);
    const std::vector<float> all = sums_in_order(group.size(), count * size);
    EXPECT_THAT(host(backend, sums), ElementsAreArray(&all[self * count], count));
    std::vector<float> added(1000, 1.0F);
    for (int i = 0; i < 20; ++i) {
      for (size_t e = 0; e < added.size(); ++e) added[e] += term(group.rank(), e);
    }
    EXPECT_EQ(host(backend, own), added);
  });
}

TEST_P(GroupOf, KeepsTheStorageOfWhatWasBegunUntilItsEnd) {
  as_group(GetParam(), [](Backend& backend, Collective& group) {
    const size_t before = backend.bytes_in_use(), count = 50000;
    const auto begin = [&] {
      const Tensor part = uploaded(backend, terms(group.rank(), count));
      const Tensor whole = backend.allocate(Dtype::f32, {group.size() * part.elements()});
      return group.begin_all_gather({&whole, 1}, {&part, 1});
    };
    begin()->wait();
    EXPECT_EQ(backend.bytes_in_use(), before);
    static_cast<void>(begin());  // dropped: it still takes its turn
    {                            // were its storage free, these would be given it
      const Tensor part = uploaded(backend, terms(group.rank() + 1, count));
      const Tensor whole = backend.allocate(Dtype::f32, {group.size() * part.elements()});
      group.all_gather(whole, part);
      std::vector<float> first = host(backend, whole);
      first.resize(count);
      EXPECT_EQ(first, terms(1, count));
    }
    EXPECT_EQ(backend.bytes_in_use(), before);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, GroupOf, testing::Values(1, 2, 4),
                         [](const auto& size) { return std::to_string(size.param); });

TEST(LoneCollective, IsAGroupOfOne) {
  const auto backend = make_cpu_backend(1);
  const auto group = make_lone_collective(*backend);
  const Tensor x = uploaded(*backend, terms(0, 40));
  for (const bool gathers : {true, false}) {
    const Tensor out = backend->allocate(Dtype::f32, {40});
    backend->zero(out);
    gathers ? group->all_gather(out, x) : group->reduce_scatter(out, x);
    EXPECT_EQ(host(*backend, out), terms(0, 40));
  }
  const Tensor begun = backend->allocate(Dtype::f32, {40});
  group->begin_all_gather({&begun, 1}, {&x, 1})->wait();
  EXPECT_EQ(host(*backend, begun), terms(0, 40));
  group->all_reduce(x);
  EXPECT_EQ(host(*backend, x), terms(0, 40));
  EXPECT_EQ(group->sum(0.1), 0.1);
}

TEST(Collective, RefusesTensorsThatDoNotFit) {
  as_group(2, [](Backend& backend, Collective& group) {
    const Tensor three = uploaded(backend, {1, 2, 3}), two = uploaded(backend, {1, 2});
    EXPECT_THROW(group.all_gather(three, two), std::invalid_argument);
    EXPECT_THROW(group.reduce_scatter(two, three), std::invalid_argument);
    EXPECT_THROW(group.all_reduce(ids_of(backend, {1})), std::invalid_argument);
    EXPECT_THROW(group.broadcast(two, 2), std::invalid_argument);
  });
}

/// A gather and a sum of n parts, begun one after the other.
struct TwoBegun {
  TwoBegun(Backend& backend, Collective& group)
      : x(uploaded(backend, terms(group.rank(), 3000 * static_cast<size_t>(group.size())))),
        part(backend.allocate(Dtype::f32, {3000})),
        gathering(group.begin_all_gather({&x, 1}, {&part, 1})),
        summing(group.begin_reduce_scatter({&part, 1}, {&x, 1})) {}

  Tensor x, part;
  std::unique_ptr<Pending> gathering, summing;
};

/// Two ranks here and a third in a process of its own, which kills itself after a first barrier.
TEST(LostMember, AKilledProcessEndsTheOthersOperations) {
  const MeetingPlace place;
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      make_gloo_collective(place.member(2, 3, std::chrono::minutes(1)))->barrier();
    } catch (...) {
    }
    ::raise(SIGKILL);
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      const auto backend = make_cpu_backend(1);
      const auto group = make_gloo_collective(place.member(rank, 3, std::chrono::minutes(1)));
      group->barrier();
      const TwoBegun begun(*backend, *group);
      EXPECT_THROW(begun.gathering->wait(), LostMember);
      EXPECT_THROW(begun.summing->wait(), LostMember);
      EXPECT_THROW(begun.gathering->wait(), LostMember);  // again: the same
      EXPECT_THROW(group->all_reduce(begun.x), LostMember);
      EXPECT_THROW(group->barrier(), LostMember);  // and so on
    });
  }
  for (std::thread& thread : threads) thread.join();
  ::waitpid(child, nullptr, 0);
}

TEST(LostMember, ASilentOneEndsTheOthersOperationsAfterTheTimeout) {
  const MeetingPlace place;
  std::latch given_up(1);
  const auto member = [&](int rank) {
    return make_gloo_collective(place.member(rank, 2, std::chrono::milliseconds(800)));
  };
  std::thread silent([&] {
    const auto group = member(1);
    given_up.wait();
  });
  {
    const auto backend = make_cpu_backend(1);
    const auto group = member(0);
    const TwoBegun begun(*backend, *group);
    EXPECT_THROW(begun.summing->wait(), LostMember);
    EXPECT_THROW(begun.gathering->wait(), LostMember);
    EXPECT_THROW(group->sum(1), LostMember);
  }
  given_up.count_down();
  silent.join();
}

// One goes while messages are on their way. The timeout is longer than any test may take.
TEST(LostMember, AGroupThatGoesEndsWhatWasBegunEverywhere) {
  const MeetingPlace place;
  std::latch begun(2), gone(1);
  struct Member {
    Member(const MeetingPlace& at, int rank)
        : group(make_gloo_collective(at.member(rank, 2, std::chrono::hours(2)))) {
      backend->zero(part);
    }
    std::unique_ptr<Pending> begin() const {
      return group->begin_all_gather({&out, 1}, {&part, 1});
    }

    std::unique_ptr<Backend> backend = make_cpu_backend(1);
    Tensor part = backend->allocate(Dtype::f32, {int64_t{8} << 20});
    Tensor out = backend->allocate(Dtype::f32, {int64_t{16} << 20});
    std::unique_ptr<Collective> group;
  };
  std::thread other([&] {
    const Member member(place, 1);
    const auto pending = member.begin();  // may end well
    begun.arrive_and_wait();
    gone.wait();
    EXPECT_THROW(member.group->barrier(), LostMember);
  });
  Member member(place, 0);
  const auto running = member.begin(), behind = member.begin();
  begun.arrive_and_wait();
  member.group.reset();
  EXPECT_THROW(behind->wait(), LostMember);
  gone.count_down();
  other.join();
}

TEST(LostMember, OneThatNeverComesEndsTheMeeting) {
  const MeetingPlace place;
  EXPECT_THROW(make_gloo_collective(place.member(0, 2, std::chrono::milliseconds(300))),
               LostMember);
  EXPECT_THROW(make_gloo_collective(place.member(2, 2, std::chrono::milliseconds(300))),
               std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::backend
