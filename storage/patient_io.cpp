// One job at a time, handed over and waited for.
#include "storage/patient_io.h"

#include <chrono>
#include <utility>

namespace ropesweep {
namespace {

constexpr std::chrono::milliseconds kBetweenSigns(200);

}  // namespace

PatientIo::~PatientIo() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PatientIo::set_meanwhile(std::function<void()> meanwhile) {
  meanwhile_ = std::move(meanwhile);
}

void PatientIo::run(const std::function<void()>& job) {
  if (!meanwhile_) return job();
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  std::unique_lock lock(mutex_);
  thrown_ = nullptr;
  job_ = &job;
  changed_.notify_all();
  std::exception_ptr thrown_meanwhile;
  while (!changed_.wait_for(lock, kBetweenSigns, [this] { return job_ == nullptr; })) {
    lock.unlock();
    try {
      if (!thrown_meanwhile) meanwhile_();
    } catch (...) {
      thrown_meanwhile = std::current_exception();  // the job uses what this thread owns
    }
    lock.lock();
  }
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  if (thrown_meanwhile) std::rethrow_exception(thrown_meanwhile);
}

void PatientIo::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return over_ || job_ != nullptr; });
    if (over_) return;
    const std::function<void()>& job = *job_;
    lock.unlock();
    std::exception_ptr thrown;
    try {
      job();
    } catch (...) {
      thrown = std::current_exception();
    }
    lock.lock();
    thrown_ = thrown;
    job_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace ropesweep
