// The totals behind `--profile`, and their table.
#include "worker/backend/profile.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

namespace ropesweep::backend {

Profile& Profile::instance() {
  static Profile profile;
  return profile;
}

void Profile::add(const char* op, double seconds, double flops, double bytes) {
  OpTotals& totals = totals_[op];
  totals.calls += 1;
  totals.seconds += seconds;
  totals.flops += flops;
  totals.bytes += bytes;
}

std::string Profile::table() const {
  std::vector<std::pair<std::string, OpTotals>> rows(totals_.begin(), totals_.end());
  std::stable_sort(rows.begin(), rows.end(), [](const auto& left, const auto& right) {
    return left.second.seconds > right.second.seconds;
  });
  double seconds = 0;
  for (const auto& [op, totals] : rows) seconds += totals.seconds;

  char line[160];
  std::snprintf(line, sizeof line, "%-26s %9s %10s %7s %10s %9s\n", "op", "calls", "seconds",
                "share", "GFLOP/s", "GB/s");
  std::string text = line;
  for (const auto& [op, totals] : rows) {
    const double time = std::max(totals.seconds, 1e-12);
    std::snprintf(line, sizeof line, "%-26s %9lld %10.4f %6.1f%% %10.1f %9.2f\n", op.c_str(),
                  static_cast<long long>(totals.calls), totals.seconds,
                  100 * totals.seconds / std::max(seconds, 1e-12), totals.flops / time * 1e-9,
                  totals.bytes / time * 1e-9);
    text += line;
  }
  return text;
}

}  // namespace ropesweep::backend
