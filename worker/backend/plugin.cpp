// Finding and opening the libraries beside the program.
#include "worker/backend/plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace ropesweep::backend {

namespace {

namespace fs = std::filesystem;

fs::path file_of(const std::string& name) {
  if (const char* other = other_cuda_plugin()) {
    return name == "libropesweep_cuda.so" ? fs::path(other) : fs::path(other).parent_path() / name;
  }
  std::error_code failure;
  return fs::read_symlink("/proc/self/exe", failure).parent_path() / name;
}

}  // namespace

const char* other_cuda_plugin() { return std::getenv("ROPESWEEP_CUDA_PLUGIN"); }

PluginLibrary::PluginLibrary(const std::string& name, const std::string& absent)
    : file_(file_of(name).string()) {
  if (!fs::exists(file_)) {
    why_not_ = absent + " (" + file_ + ")";
    return;
  }
  handle_ = ::dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    const char* reason = ::dlerror();
    why_not_ = file_ + " can't be opened: " + (reason == nullptr ? "" : reason);
  }
}

void* PluginLibrary::address(const char* function) {
  if (handle_ == nullptr) return nullptr;
  void* found = ::dlsym(handle_, function);
  if (found == nullptr) why_not_ = file_ + " is of another version";
  return found;
}

}  // namespace ropesweep::backend
