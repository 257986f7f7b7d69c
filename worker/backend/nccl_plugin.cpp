// Groups of CUDA devices as the program finds them: in a library of its own beside the program, so
// that one device is used without libnccl.so. What links backend_nccl has these functions from
// there, and the linker leaves this file in its archive: nothing else may be defined here.
#include "worker/backend/collective.h"
#include "worker/backend/plugin.h"

namespace ropesweep::backend {

namespace {

/// The functions of cuda/plugin_nccl.cpp, or why they are not there.
struct Plugin {
  PluginLibrary library{"libropesweep_nccl.so", "this build has no NCCL"};
  Collective* (*make)(Backend&, int device, const NcclGroup&) =
      library.find<Collective*(Backend&, int, const NcclGroup&)>("ropesweep_make_nccl_collective");
  void (*make_id)(std::string* id) = library.find<void(std::string*)>("ropesweep_make_nccl_id");
};

const Plugin& plugin() {
  static const Plugin opened;
  if (!opened.library.complete()) throw NoDevice(opened.library.why_not());
  return opened;
}

}  // namespace

std::unique_ptr<Collective> make_nccl_collective(Backend& backend, int device,
                                                 const NcclGroup& group) {
  return std::unique_ptr<Collective>(plugin().make(backend, device, group));
}

std::string make_nccl_id() {
  std::string id;
  plugin().make_id(&id);
  return id;
}

}  // namespace ropesweep::backend
