// Libraries of ours that lie beside the program and are opened when they are asked for, so that the
// program starts, and runs on CPUs, without what they need.
#pragma once

#include <string>

namespace ropesweep::backend {

/// ROPESWEEP_CUDA_PLUGIN: another file than the program's own libropesweep_cuda.so, for tests (the
/// emulated device); libraries are then looked for beside it. Null when it isn't set.
const char* other_cuda_plugin();

/// A library, open for the rest of the process: CUDA's own threads and handlers live in it.
class PluginLibrary {
 public:
  /// `name` of the file; `absent`: what it means when there is none, e.g. "this build has no NCCL".
  PluginLibrary(const std::string& name, const std::string& absent);

  /// A function by its name; null, with the reason in why_not(), when it isn't there.
  template <typename Function>
  Function* find(const char* function) {
    return reinterpret_cast<Function*>(address(function));
  }
  /// Everything that was asked for was there.
  bool complete() const { return why_not_.empty(); }
  const std::string& why_not() const { return why_not_; }

 private:
  void* address(const char* function);

  std::string file_, why_not_;
  void* handle_ = nullptr;
};

}  // namespace ropesweep::backend
