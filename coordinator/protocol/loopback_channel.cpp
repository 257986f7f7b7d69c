// Loopback: one inbox of bytes a rank.
#include "coordinator/protocol/loopback_channel.h"

namespace ropesweep {

class LoopbackNetwork::Endpoint : public Channel {
 public:
  Endpoint(LoopbackNetwork& network, int rank) : network_(network), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(network_.inboxes_.size()); }

  void send(int to, const Message& message) override {
    if (network_.disconnected_.contains(rank_) || network_.disconnected_.contains(to)) {
      return;
    }
    network_.inboxes_.at(static_cast<size_t>(to)).emplace_back(rank_, encode(message));
  }

  std::optional<std::pair<int, Message>> poll() override {
    auto& inbox = network_.inboxes_[static_cast<size_t>(rank_)];
    if (inbox.empty()) {
      return std::nullopt;
    }
    Parcel parcel = std::move(inbox.front());
    inbox.pop_front();
    return std::pair{parcel.first, decode(parcel.second)};
  }

 private:
  LoopbackNetwork& network_;
  int rank_;
};

LoopbackNetwork::LoopbackNetwork(int size) : inboxes_(static_cast<size_t>(size)) {
  for (int rank = 0; rank < size; ++rank) {
    endpoints_.push_back(std::make_unique<Endpoint>(*this, rank));
  }
}

LoopbackNetwork::~LoopbackNetwork() = default;

Channel& LoopbackNetwork::channel(int rank) { return *endpoints_.at(static_cast<size_t>(rank)); }

void LoopbackNetwork::disconnect(int rank) {
  disconnected_.insert(rank);
  inboxes_.at(static_cast<size_t>(rank)).clear();
}

void LoopbackNetwork::reconnect(int rank) { disconnected_.erase(rank); }

size_t LoopbackNetwork::in_flight() const {
  size_t count = 0;
  for (const auto& inbox : inboxes_) {
    count += inbox.size();
  }
  return count;
}

}  // namespace ropesweep
