// The CPU backend as a whole: construction, description, checks that the ops share.
#include "worker/backend/cpu/cpu_backend.h"

#include <sched.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "worker/backend/cpu/matmul.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/cpu_backend.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend {
namespace cpu {

namespace {

HWY_EXPORT(target_name);

/// Cores that this process may use (its affinity mask, which mpirun and Slurm set).
int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

}  // namespace

CpuBackend::CpuBackend(int threads)
    : threads_(threads == 0 ? allowed_cores() : threads),
      pool_(std::make_shared<MemoryPool>(std::make_unique<HostMemory>())) {
  if (threads < 0) throw std::invalid_argument("make_cpu_backend: threads must not be negative");
}

namespace {

/// A call costs nothing here.
class CalledAgain final : public Recording {
 public:
  explicit CalledAgain(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Recording> CpuBackend::record(std::function<void()> work) {
  work();
  return std::make_unique<CalledAgain>(std::move(work));
}

std::string CpuBackend::description() const {
  return "cpu (" + processor_name() + ", " + std::to_string(threads_) +
         (threads_ == 1 ? " thread, " : " threads, ") + HWY_DYNAMIC_DISPATCH(target_name)() +
         (has_bf16_product() ? ", bf16 products" : ", f32 products") + ")";
}

}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  return checked(std::make_unique<cpu::CpuBackend>(threads));
}

}  // namespace ropesweep::backend
#endif  // HWY_ONCE
