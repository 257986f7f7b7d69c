// How messages travel. The coordinator and the shepherds see only this; tests give them a channel
// of their own in one process.
#pragma once

#include <optional>
#include <utility>

#include "coordinator/protocol/messages.h"

namespace ropesweep {

class Channel {
 public:
  virtual ~Channel() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Queues a message; returns at once. Never throws for a peer that is gone (silence is the
  /// error).
  virtual void send(int to, const Message& message) = 0;
  /// The next message and its sender, or nothing. Never blocks.
  virtual std::optional<std::pair<int, Message>> poll() = 0;
  /// The peer is taken for dead: what is still queued for it is no longer pushed.
  virtual void abandon(int /*rank*/) {}
};

}  // namespace ropesweep
