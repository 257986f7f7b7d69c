// Set by the thread that is given a task, read by the one that runs it.
#include "worker/tasks/thrift.h"

#include <atomic>

namespace ropesweep::tasks {
namespace {

std::atomic<Thrift> current{Thrift::none};

}  // namespace

Thrift thrift() { return current.load(); }

void set_thrift(Thrift thrift) { current.store(thrift); }

}  // namespace ropesweep::tasks
