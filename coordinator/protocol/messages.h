// What coordinator, shepherds and runners say to each other: small structs, CBOR on the wire.
// Sizes and fields are checked before they are believed: `decode` throws on anything malformed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "experiments/task.h"

namespace ropesweep {

/// Names one try at one task.
struct AttemptId {
  std::string task;
  int64_t number = 0;  ///< from 1, across restarts of the sweep
  bool operator==(const AttemptId&) const = default;
};

// Worker → coordinator
struct Hello {
  std::string host, device;
  int64_t pid = 0;
  int64_t local_rank = 0;
};
/// Idle; the weights_key its runner holds.
struct RequestWork {
  std::string loaded_weights;
  int64_t assigned = 0;  ///< Assigns heard since the Hello: one that is on its way isn't among them
};
/// Attempt empty: idle.
struct Heartbeat {
  AttemptId attempt;
  double fraction = 0;
  std::string what;
};
/// What a fine-tune has reached; its curve: the steps since the last of these. Steps that an
/// earlier message told are told again after a restart.
struct Losses {
  AttemptId attempt;
  FineTuneOutcome so_far;
};
/// Finished, diverged or failed.
struct Done {
  AttemptId attempt;
  Outcome outcome;             ///< in a group, what rank 0 says counts
  bool lost_member = false;    ///< it failed because another of its group did
  bool runner_ends = false;    ///< the runner that says so takes no other task
  bool device_broken = false;  ///< its runner can't use the device: no fault of the task's
};
struct Goodbye {
  std::string reason;
};

// Coordinator → worker
struct Assign {
  AttemptId attempt;
  Task task;
  GroupPlace place;
  int64_t thrift = 0;        ///< to do with less memory than planned (coordinator/retry_policy.h)
  double patience = 0;       ///< seconds without progress after which it hangs; 0: never
  double disk_patience = 0;  ///< seconds for which a disk's failure is waited for
};
/// Nothing now: ask again.
struct Wait {
  double seconds = 1;
};
/// The result is durable.
struct Acknowledge {
  AttemptId attempt;
};
/// Heartbeat the other way; who coordinates, so that a worker on the same host can watch the
/// process itself.
struct CoordinatorAlive {
  std::string host;
  int64_t pid = 0;
};
/// Stale: end it, its answer is not wanted.
struct Abandon {
  AttemptId attempt;
};
/// Save what can be saved and leave.
struct Stop {
  bool save = true;
};

// Shepherd ↔ runner use Assign, Heartbeat, Losses, Done, CoordinatorAlive (the shepherd is alive)
// and Stop.
using Message = std::variant<Hello, RequestWork, Heartbeat, Done, Goodbye, Assign, Wait,
                             Acknowledge, CoordinatorAlive, Abandon, Stop, Losses>;

std::vector<uint8_t> encode(const Message& message);
/// Errors: Error(transient) "malformed message: …".
Message decode(std::span<const uint8_t> bytes);

}  // namespace ropesweep
