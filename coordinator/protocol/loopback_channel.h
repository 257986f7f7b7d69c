// Channels within one process: what the reactor's tests and simulations talk over. Messages are
// encoded and decoded as on a wire; a rank can be cut off, as a crash or a broken network does.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "coordinator/protocol/channel.h"

namespace ropesweep {

/// `size` ranks, each with a channel. Not for several threads.
class LoopbackNetwork {
 public:
  explicit LoopbackNetwork(int size);
  ~LoopbackNetwork();
  /// The channel of a rank; lives as long as the network.
  Channel& channel(int rank);
  /// Cuts a rank off: what it sends and what is sent to it goes nowhere from now on.
  void disconnect(int rank);
  void reconnect(int rank);
  /// Messages not yet polled, over all ranks.
  size_t in_flight() const;

 private:
  class Endpoint;
  using Parcel = std::pair<int, std::vector<uint8_t>>;  ///< sender, bytes
  std::vector<std::deque<Parcel>> inboxes_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::set<int> disconnected_;
};

}  // namespace ropesweep
