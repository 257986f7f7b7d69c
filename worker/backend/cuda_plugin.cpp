// The CUDA backend as the program finds it: in a library of its own beside the program, opened when
// a device is asked for. The program itself needs neither CUDA nor a driver, and starts as fast
// without them.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "worker/backend/checked_backend.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend {

namespace {

/// The functions of cuda/plugin.cpp, or why they are not there.
struct Plugin {
  int (*device_count)() = nullptr;
  Backend* (*make)(int device, std::string* why_not) = nullptr;
  std::string why_not;
};

std::filesystem::path beside_the_program(const char* name) {
  std::error_code failure;
  return std::filesystem::read_symlink("/proc/self/exe", failure).parent_path() / name;
}

/// Another library than the program's own, for tests: the emulated device.
const char* other_plugin() { return std::getenv("ROPESWEEP_CUDA_PLUGIN"); }

Plugin open_plugin() {
  Plugin plugin;
  const std::filesystem::path file =
      other_plugin() != nullptr ? other_plugin() : beside_the_program("libropesweep_cuda.so");
  if (!std::filesystem::exists(file)) {
    plugin.why_not = "this build has no CUDA backend (" + file.string() + ")";
    return plugin;
  }
  // Never closed: CUDA's own threads and handlers live in it.
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    plugin.why_not = "the CUDA backend can't be opened: " + std::string(::dlerror());
    return plugin;
  }
  plugin.device_count = reinterpret_cast<decltype(plugin.device_count)>(
      ::dlsym(library, "ropesweep_cuda_device_count"));
  plugin.make =
      reinterpret_cast<decltype(plugin.make)>(::dlsym(library, "ropesweep_make_cuda_backend"));
  if (plugin.device_count == nullptr || plugin.make == nullptr) {
    plugin.make = nullptr;
    plugin.why_not = file.string() + " is of another version";
  }
  return plugin;
}

const Plugin& plugin() {
  static const Plugin opened = open_plugin();
  return opened;
}

}  // namespace

int cuda_device_count() {
  if (other_plugin() != nullptr) return plugin().make == nullptr ? 0 : plugin().device_count();
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
  if (plugin().make == nullptr) throw NoDevice(plugin().why_not);
  std::string why_not;
  std::unique_ptr<Backend> made(plugin().make(device, &why_not));
  if (made == nullptr) throw NoDevice(why_not);
  return checked(std::move(made));
}

}  // namespace ropesweep::backend
