// Disk calls that may take minutes (a stalled NFS), made in a thread of their own, so that the
// caller's thread can say meanwhile that it is alive.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace ropesweep {

class PatientIo {
 public:
  PatientIo() = default;
  ~PatientIo();
  PatientIo(const PatientIo&) = delete;
  PatientIo& operator=(const PatientIo&) = delete;

  /// `meanwhile` is called by the waiting thread, some times a second, while a job lasts. Without
  /// one, jobs run where they are given.
  void set_meanwhile(std::function<void()> meanwhile);

  /// Runs `job` and returns when it has ended; what it throws comes out here. One at a time.
  void run(const std::function<void()>& job);

 private:
  void work();

  std::function<void()> meanwhile_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* job_ = nullptr;  ///< null once it has ended
  std::exception_ptr thrown_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace ropesweep
