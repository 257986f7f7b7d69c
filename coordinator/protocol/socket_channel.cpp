// Frames: four bytes of length, least significant first, then the message's CBOR.
#include "coordinator/protocol/socket_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace ropesweep {
namespace {

constexpr size_t kHeader = 4;
constexpr size_t kMaximumMessage = size_t{1} << 30;
constexpr size_t kChunk = size_t{1} << 16;

/// Forgets the first `count` bytes once they are the larger part.
void drop_front(std::vector<uint8_t>& bytes, size_t& count) {
  if (count * 2 > bytes.size()) {
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    count = 0;
  }
}

}  // namespace

std::pair<OwnedDescriptor, OwnedDescriptor> make_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw_transient_error("socketpair: {}", std::strerror(errno));
  }
  return {OwnedDescriptor(ends[0]), OwnedDescriptor(ends[1])};
}

SocketChannel::SocketChannel(OwnedDescriptor socket, int rank)
    : socket_(std::move(socket)), rank_(rank) {
  const int flags = ::fcntl(fd(), F_GETFL);
  if (flags < 0 || ::fcntl(fd(), F_SETFL, flags | O_NONBLOCK) != 0) {
    throw_transient_error("socket {}: {}", fd(), std::strerror(errno));
  }
}

void SocketChannel::send(int /*to*/, const Message& message) {
  if (end_of_stream_) {
    return;
  }
  const std::vector<uint8_t> bytes = encode(message);
  for (size_t i = 0; i < kHeader; ++i) {
    outgoing_.push_back(static_cast<uint8_t>(bytes.size() >> (8 * i)));
  }
  outgoing_.insert(outgoing_.end(), bytes.begin(), bytes.end());
  flush();
}

void SocketChannel::flush() {
  while (wants_write()) {
    const ssize_t count = ::send(fd(), outgoing_.data() + written_, outgoing_.size() - written_,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      written_ += static_cast<size_t>(count);
    } else if (errno != EINTR) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        outgoing_.clear();  // The peer is gone; reading finds its last words and the end.
        written_ = 0;
      }
      break;
    }
  }
  drop_front(outgoing_, written_);
}

void SocketChannel::read_available() {
  while (!end_of_stream_) {
    const size_t size = incoming_.size();
    incoming_.resize(size + kChunk);
    const ssize_t count = ::recv(fd(), incoming_.data() + size, kChunk, MSG_DONTWAIT);
    incoming_.resize(size + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      end_of_stream_ = true;
    } else if (count < 0 && errno != EINTR) {
      break;
    }
  }
}

std::optional<std::pair<int, Message>> SocketChannel::poll() {
  flush();
  read_available();
  const size_t available = incoming_.size() - parsed_;
  if (available >= kHeader) {
    size_t length = 0;
    for (size_t i = 0; i < kHeader; ++i) {
      length |= static_cast<size_t>(incoming_[parsed_ + i]) << (8 * i);
    }
    if (length > kMaximumMessage) {
      throw_transient_error("malformed message: {} bytes announced", length);
    }
    if (available - kHeader >= length) {
      Message message = decode(std::span(incoming_).subspan(parsed_ + kHeader, length));
      parsed_ += kHeader + length;
      drop_front(incoming_, parsed_);
      return std::pair{1 - rank_, std::move(message)};
    }
  }
  closed_ = end_of_stream_;
  return std::nullopt;
}

void SocketChannel::wait(double seconds) {
  pollfd entry{fd(), static_cast<short>(POLLIN | (wants_write() ? POLLOUT : 0)), 0};
  ::poll(&entry, 1, static_cast<int>(std::max(0.0, seconds) * 1000));
}

}  // namespace ropesweep
