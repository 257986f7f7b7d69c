// Time and floating-point operations by op, for `--profile`. Off: one branch an op.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace ropesweep::backend {

struct OpTotals {
  int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  ///< multiply and add counted apart
  double bytes = 0;  ///< read and written once each
};

class Profile {
 public:
  static Profile& instance();
  bool enabled() const { return enabled_; }
  void enable(bool on) { enabled_ = on; }
  void add(const char* op, double seconds, double flops, double bytes);
  const std::map<std::string, OpTotals>& totals() const { return totals_; }
  void clear() { totals_.clear(); }
  /// A table: op, calls, seconds, share, GFLOP/s, GB/s; slowest first.
  std::string table() const;

 private:
  bool enabled_ = false;
  std::map<std::string, OpTotals> totals_;
};

/// Times its own life as one call of `op`.
class OpTimer {
 public:
  OpTimer(const char* op, double flops, double bytes)
      : op_(op), flops_(flops), bytes_(bytes), on_(Profile::instance().enabled()) {
    if (on_) start_ = std::chrono::steady_clock::now();
  }
  ~OpTimer() {
    if (!on_) return;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    Profile::instance().add(op_, elapsed.count(), flops_, bytes_);
  }
  OpTimer(const OpTimer&) = delete;
  OpTimer& operator=(const OpTimer&) = delete;

 private:
  const char* op_;
  double flops_, bytes_;
  bool on_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace ropesweep::backend
