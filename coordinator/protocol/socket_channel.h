// A channel over one stream socket, between a shepherd and its runner: a length before each
// message. For one thread. Nothing blocks: what the peer doesn't take yet waits in memory.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "coordinator/protocol/channel.h"
#include "experiments/owned_descriptor.h"

namespace ropesweep {

class SocketChannel : public Channel {
 public:
  /// `rank` 0: the shepherd's end, 1: the runner's.
  SocketChannel(OwnedDescriptor socket, int rank);
  int rank() const override { return rank_; }
  int size() const override { return 2; }
  void send(int to, const Message& message) override;
  /// Errors: Error(transient) for bytes that are no message.
  std::optional<std::pair<int, Message>> poll() override;

  int fd() const { return socket_.get(); }
  /// The peer is gone and all that it said has been polled.
  bool closed() const { return closed_; }
  /// Something waits to be written: wait for POLLOUT too.
  bool wants_write() const { return written_ < outgoing_.size(); }
  void flush();
  /// Waits until there is something to read, `seconds` pass, or the peer takes what waits.
  void wait(double seconds);

 private:
  void read_available();

  OwnedDescriptor socket_;
  int rank_;
  bool closed_ = false, end_of_stream_ = false;
  std::vector<uint8_t> outgoing_, incoming_;
  size_t written_ = 0, parsed_ = 0;
};

/// Two ends of a socket pair, closed on exec. Errors: Error(transient) with errno's text.
std::pair<OwnedDescriptor, OwnedDescriptor> make_socket_pair();

}  // namespace ropesweep
