// A thread that runs a group's operations one after another, in the order in which they were
// submitted, while those who submitted them do something else.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "worker/backend/collective.h"

namespace ropesweep::backend {

class OperationQueue {
 public:
  OperationQueue() : thread_([this] { work(); }) {}
  /// Waits for the operation that runs; those behind it are not run any more.
  ~OperationQueue();
  OperationQueue(const OperationQueue&) = delete;
  OperationQueue& operator=(const OperationQueue&) = delete;

  /// `run` and all that it holds is gone before wait() returns, which throws what `run` threw.
  /// After one that threw, members no longer agree on what comes next: all others throw LostMember
  /// without having run.
  [[nodiscard]] std::unique_ptr<Pending> submit(const char* what, std::function<void()> run);

 private:
  struct Operation {
    const char* what = nullptr;
    std::function<void()> run;
    std::promise<void> end;
  };
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Operation> operations_;  // that have not begun to run
  bool ending_ = false;
  std::thread thread_;  // last, since it uses the others
};

}  // namespace ropesweep::backend
