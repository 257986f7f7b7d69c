// From a device's name to its backend.
#include "worker/tasks/device.h"

#include <charconv>

#include "experiments/error.h"

namespace ropesweep::tasks {

int cuda_devices() { return backend::cuda_device_count(); }

int cuda_number(const std::string& device) {
  if (device == "cpu") return -1;
  if (device == "auto") return cuda_devices() > 0 ? 0 : -1;
  if (device == "cuda") return 0;
  const std::string prefix = "cuda:";
  const char* const first = device.data() + prefix.size();
  const char* const last = device.data() + device.size();
  int number = -1;
  if (device.starts_with(prefix)) {
    const auto [end, failure] = std::from_chars(first, last, number);
    if (failure != std::errc() || end != last) number = -1;
  }
  if (number < 0) {
    throw_user_error("device '{}' is unknown; choose cpu, cuda, cuda:N or auto", device);
  }
  return number;
}

std::unique_ptr<backend::Backend> make_backend(const std::string& device, int threads) try {
  const int number = cuda_number(device);
  return number < 0 ? backend::make_cpu_backend(threads) : backend::make_cuda_backend(number);
} catch (const backend::NoDevice& error) {
  throw_user_error("device '{}': {}; choose cpu, or see nvidia-smi and CUDA_VISIBLE_DEVICES",
                   device, error.what());
}

}  // namespace ropesweep::tasks
