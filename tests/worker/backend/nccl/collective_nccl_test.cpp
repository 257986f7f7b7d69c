// Groups of CUDA devices: as many ranks as this machine has, at least one. The same sums as groups
// of CPUs give, to the bit, and operations that go on beside the device's work.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "worker/backend/checked_backend.h"
#include "worker/backend/collective.h"
#include "worker/backend/cuda/make_backend.h"

namespace ropesweep::backend {
namespace {

/// Runs `body` as each rank, on a device of its own. The first rank's exception is thrown again.
void on_all_devices(const std::function<void(Backend&, Collective&)>& body) {
  const int size = cuda::device_count();
  const std::string id = make_nccl_id();
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(static_cast<size_t>(size));
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        const auto backend = checked(cuda::make_backend(rank));
        const auto group =
            make_nccl_collective(*backend, rank, {rank, size, id, std::chrono::minutes(1)});
        body(*backend, *group);
        group->barrier();
      } catch (...) {
        failures[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

/// Element i of rank r's x: numbers whose sum depends on the order.
float term(int rank, size_t i) {
  return std::ldexp(1.0F + 0.37F * static_cast<float>((i * 7 + 3 * static_cast<size_t>(rank)) % 11),
                    (rank * 9 + static_cast<int>(i)) % 23 - 11);
}

Tensor terms(Backend& backend, int rank, size_t count) {
  std::vector<float> values;
  for (size_t i = 0; i < count; ++i) values.push_back(term(rank, i));
  const Tensor x = backend.allocate(Dtype::f32, {static_cast<int64_t>(count)});
  backend.upload(x, values.data());
  return x;
}

std::vector<float> host(Backend& backend, const Tensor& x) {
  std::vector<float> values(static_cast<size_t>(x.elements()));
  backend.download(values.data(), x);
  return values;
}

TEST(NcclGroup, GathersInTheOrderOfTheRanks) {
  on_all_devices([](Backend& backend, Collective& group) {
    const Tensor part = terms(backend, group.rank(), 1000);
    const Tensor out = backend.allocate(Dtype::f32, {1000 * group.size()});
    group.all_gather(out, part);
    std::vector<float> expected;
    for (int rank = 0; rank < group.size(); ++rank) {
      for (size_t i = 0; i < 1000; ++i) expected.push_back(term(rank, i));
    }
    EXPECT_EQ(host(backend, out), expected);
  });
}

TEST(NcclGroup, SumsInTheOrderOfTheRanksToTheBit) {
  on_all_devices([](Backend& backend, Collective& group) {
    const auto size = static_cast<size_t>(group.size());
    const Tensor x = terms(backend, group.rank(), 500 * size);
    const Tensor part = backend.allocate(Dtype::f32, {500});
    group.reduce_scatter(part, x);
    group.all_reduce(x);
    std::vector<float> sums;
    for (size_t i = 0; i < 500 * size; ++i) {
      float sum = term(0, i);
      for (int rank = 1; rank < group.size(); ++rank) sum += term(rank, i);
      sums.push_back(sum);
    }
    EXPECT_EQ(host(backend, x), sums);
    const auto first = sums.begin() + 500 * group.rank();
    EXPECT_EQ(host(backend, part), std::vector<float>(first, first + 500));
    EXPECT_EQ(group.sum(0.1 * (group.rank() + 1)), [&] {
      double sum = 0;
      for (int rank = 1; rank <= group.size(); ++rank) sum += 0.1 * rank;
      return sum;
    }());
  });
}

TEST(NcclGroup, OperationsGoOnBesideTheDevicesWork) {
  on_all_devices([](Backend& backend, Collective& group) {
    const Tensor part = terms(backend, group.rank(), 1 << 20);
    const std::vector<float> before = host(backend, part);
    for (int round = 0; round < 20; ++round) {
      const Tensor out = backend.allocate(Dtype::f32, {group.size() * part.elements()});
      backend.zero(out);  // queued before the gather, which must come after it
      const auto pending = group.begin_all_gather({&out, 1}, {&part, 1});
      const Tensor busy = backend.allocate(Dtype::f32, {1 << 22});
      backend.zero(busy);
      pending->wait();
      const std::vector<float> all = host(backend, out);
      const auto own = all.begin() + group.rank() * part.elements();
      ASSERT_EQ(std::vector<float>(own, own + part.elements()), before) << "round " << round;
    }
  });
}

}  // namespace
}  // namespace ropesweep::backend
