// What libropesweep_nccl.so shows to the program (worker/backend/nccl_plugin.cpp). Exceptions pass
// through: one compiler made both.
#include <string>

#include "worker/backend/collective.h"

namespace ropesweep::backend {

/// A group that the caller owns.
extern "C" __attribute__((visibility("default"))) Collective* ropesweep_make_nccl_collective(
    Backend& backend, int device, const NcclGroup& group) {
  return make_nccl_collective(backend, device, group).release();
}

extern "C" __attribute__((visibility("default"))) void ropesweep_make_nccl_id(std::string* id) {
  *id = make_nccl_id();
}

}  // namespace ropesweep::backend
