// Groups for tests: each member is a thread with a backend of its own, met over Gloo.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/temporary_folder.h"
#include "worker/backend/collective.h"

namespace ropesweep::backend {

/// Where a group meets; removed at the end.
class MeetingPlace {
 public:
  GlooGroup member(int rank, int size, std::chrono::milliseconds timeout) const {
    return {rank, size, folder_.path().string(), "127.0.0.1", timeout};
  }

 private:
  TemporaryFolder folder_;
};

/// Runs `body` as each of `size` ranks. The first rank's exception is thrown again.
inline void as_group(int size, const std::function<void(Backend&, Collective&)>& body) {
  const MeetingPlace place;
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(static_cast<size_t>(size));
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        const auto backend = make_cpu_backend(1);
        const auto group = make_gloo_collective(place.member(rank, size, std::chrono::minutes(1)));
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

}  // namespace ropesweep::backend
