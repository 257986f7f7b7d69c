// The thread of a group's operations.
#include "worker/backend/operation_queue.h"

#include <string>
#include <utility>

namespace ropesweep::backend {

namespace {

class Submitted final : public Pending {
 public:
  explicit Submitted(std::future<void> end) : end_(end.share()) {}
  void wait() override { end_.get(); }

 private:
  std::shared_future<void> end_;
};

}  // namespace

OperationQueue::~OperationQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

std::unique_ptr<Pending> OperationQueue::submit(const char* what, std::function<void()> run) {
  Operation operation{what, std::move(run), {}};
  auto submitted = std::make_unique<Submitted>(operation.end.get_future());
  {
    const std::lock_guard lock(mutex_);
    operations_.push_back(std::move(operation));
  }
  changed_.notify_one();
  return submitted;
}

void OperationQueue::work() {
  std::string ended;  // why; empty: it has not
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ending_ || !operations_.empty(); });
    if (operations_.empty()) return;
    Operation operation = std::move(operations_.front());
    operations_.pop_front();
    if (ending_ && ended.empty()) ended = "it was given up";
    lock.unlock();

    std::exception_ptr failure;
    try {
      if (!ended.empty()) {
        throw LostMember(std::string(operation.what) + ": the group has ended: " + ended);
      }
      operation.run();
    } catch (const std::exception& error) {
      failure = std::current_exception();
      if (ended.empty()) ended = error.what();
    }
    operation.run = nullptr;
    if (failure) {
      operation.end.set_exception(std::move(failure));
    } else {
      operation.end.set_value();
    }
  }
}

}  // namespace ropesweep::backend
