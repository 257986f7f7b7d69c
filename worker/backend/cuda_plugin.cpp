// The CUDA backend as the program finds it: in a library of its own beside the program, opened when
// a device is asked for. The program itself needs neither CUDA nor a driver, and starts as fast
// without them.
#include <dlfcn.h>

#include <memory>
#include <string>

#include "worker/backend/checked_backend.h"
#include "worker/backend/ops.h"
#include "worker/backend/plugin.h"

namespace ropesweep::backend {

namespace {

/// The functions of cuda/plugin.cpp, or why they are not there.
struct Plugin {
  PluginLibrary library{"libropesweep_cuda.so", "this build has no CUDA backend"};
  int (*device_count)() = library.find<int()>("ropesweep_cuda_device_count");
  Backend* (*make)(int device, std::string* why_not) =
      library.find<Backend*(int, std::string*)>("ropesweep_make_cuda_backend");
};

const Plugin& plugin() {
  static const Plugin opened;
  return opened;
}

}  // namespace

int cuda_device_count() {
  if (other_cuda_plugin() != nullptr) {
    return plugin().library.complete() ? plugin().device_count() : 0;
  }
  // By the driver's own library: a few milliseconds, where the toolkit's take a hundred.
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return 0;
  using Init = int (*)(unsigned);
  using Count = int (*)(int*);
  const auto init = reinterpret_cast<Init>(::dlsym(driver, "cuInit"));
  const auto count_devices = reinterpret_cast<Count>(::dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  if (init == nullptr || count_devices == nullptr || init(0) != 0 || count_devices(&count) != 0) {
    return 0;
  }
  return count;
}

std::unique_ptr<Backend> make_cuda_backend(int device) {
  if (!plugin().library.complete()) throw NoDevice(plugin().library.why_not());
  std::string why_not;
  std::unique_ptr<Backend> made(plugin().make(device, &why_not));
  if (made == nullptr) throw NoDevice(why_not);
  return checked(std::move(made));
}

}  // namespace ropesweep::backend
