// A group of CPUs over TCP, with Gloo's connections and messages. Gloo's own reductions add in the
// order of a ring or a tree; here each rank gets the others' parts and adds them in the order of
// the ranks, which takes no more bytes on the wire. All of it happens in a thread of the group's.
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <mutex>
#include <vector>

#include "worker/backend/checked_backend.h"
#include "worker/backend/collective.h"
#include "worker/backend/operation_queue.h"

namespace ropesweep::backend {

namespace {

/// What goes to or comes from one member.
struct Piece {
  void* data = nullptr;
  size_t bytes = 0;
};

/// A message that may arrive in several reads.
bool is_large(size_t bytes) { return bytes > 4096; }

/// The messages of an exchange that is under way.
struct Exchange {
  using Buffer = std::unique_ptr<gloo::transport::UnboundBuffer>;
  std::vector<Buffer> receiving, sending;

  /// Ends the waits for them, from another thread. Those that have not begun end at once, too.
  void abort() const {
    for (const Buffer& buffer : receiving) buffer->abortWaitRecv();
    for (const Buffer& buffer : sending) buffer->abortWaitSend();
  }
};

/// Gloo writes to a dead member's socket as to any other: that must be an error of the write and
/// not the end of this process. A handler that the program has set stays.
void ignore_broken_pipes() {
  struct sigaction action = {};
  if (::sigaction(SIGPIPE, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
      action.sa_handler == SIG_DFL) {
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  }
}

class GlooCollective final : public Collective {
 public:
  explicit GlooCollective(const GlooGroup& group) : group_(group) {
    ignore_broken_pipes();
    during("meeting", [&] {
      gloo::transport::tcp::attr place;
      place.hostname = group.address;
      auto device = gloo::transport::tcp::CreateDevice(place);
      gloo::rendezvous::FileStore store(group.directory);
      context_ = std::make_shared<gloo::rendezvous::Context>(group.rank, group.size);
      context_->setTimeout(group.timeout);
      context_->connectFullMesh(store, device);
    });
  }

  ~GlooCollective() override {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    if (under_way_ != nullptr) under_way_->abort();
  }
  GlooCollective(const GlooCollective&) = delete;
  GlooCollective& operator=(const GlooCollective&) = delete;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }

  void broadcast(const Tensor& x, int root) override {
    require(root >= 0 && root < size(), "broadcast", "the root is no member");
    std::vector<Piece> out(members()), in(members());
    if (rank() == root) {
      out.assign(members(), {x.raw(), x.bytes()});
    } else {
      in[static_cast<size_t>(root)] = {x.raw(), x.bytes()};
    }
    run("broadcast", [&] { exchange("broadcast", out, in); });
  }

  std::unique_ptr<Pending> begin_all_gather(std::span<const Tensor> outs,
                                            std::span<const Tensor> parts) override {
    check_all_gather(outs, parts, size());
    return queue_.submit(
        "all_gather", [this, out = std::vector(outs.begin(), outs.end()),
                       in = std::vector(parts.begin(), parts.end())] { gather_tensors(out, in); });
  }

  std::unique_ptr<Pending> begin_reduce_scatter(std::span<const Tensor> parts,
                                                std::span<const Tensor> xs) override {
    check_reduce_scatter(parts, xs, size());
    return queue_.submit("reduce_scatter",
                         [this, out = std::vector(parts.begin(), parts.end()),
                          in = std::vector(xs.begin(), xs.end())] { reduce_tensors(out, in); });
  }

  void all_reduce(const Tensor& x) override {
    check_all_reduce(x);
    run("all_reduce", [&] { all_reduce_tensor(x); });
  }

  double sum(double x) override {
    std::vector<double> terms(members());
    run("sum", [&] { gather("sum", terms.data(), {&x, sizeof(x)}); });
    double total = 0;
    for (const double term : terms) total += term;
    return total;
  }

  void barrier() override {
    uint8_t here = 1;
    std::vector<uint8_t> all(members());
    run("barrier", [&] { gather("barrier", all.data(), {&here, 1}); });
  }

 private:
  size_t members() const { return static_cast<size_t>(group_.size); }
  size_t self() const { return static_cast<size_t>(group_.rank); }

  /// An operation, begun and waited for.
  void run(const char* what, std::function<void()> operation) {
    queue_.submit(what, std::move(operation))->wait();
  }

  // --- what follows runs in the queue's thread ---------------------------------------------------
  void gather_tensors(std::span<const Tensor> outs, std::span<const Tensor> parts) {
    if (outs.size() == 1) {
      gather("all_gather", outs[0].raw(), {parts[0].raw(), parts[0].bytes()});
      return;
    }
    std::vector<std::byte> packed;
    for (const Tensor& part : parts) {
      packed.insert(packed.end(), part.data<std::byte>(), part.data<std::byte>() + part.bytes());
    }
    std::vector<std::byte> gathered(members() * packed.size());
    gather("all_gather", gathered.data(), {packed.data(), packed.size()});
    const std::byte* from = gathered.data();
    for (size_t r = 0; r < members(); ++r) {
      for (size_t i = 0; i < outs.size(); ++i) {
        const size_t bytes = parts[i].bytes();
        std::copy_n(from, bytes, outs[i].data<std::byte>() + r * bytes);
        from += bytes;
      }
    }
  }

  void reduce_tensors(std::span<const Tensor> parts, std::span<const Tensor> xs) {
    size_t own = 0;  // elements of all parts
    for (const Tensor& part : parts) own += static_cast<size_t>(part.elements());
    std::vector<size_t> firsts(members() + 1);
    for (size_t r = 0; r < firsts.size(); ++r) firsts[r] = r * own;
    if (xs.size() == 1) {
      reduce("reduce_scatter", parts[0].data<float>(), xs[0].data<float>(), firsts);
      return;
    }
    std::vector<float> packed, sums(own);
    packed.reserve(own * members());
    for (size_t r = 0; r < members(); ++r) {
      for (size_t i = 0; i < xs.size(); ++i) {
        const auto count = static_cast<size_t>(parts[i].elements());
        const float* first = xs[i].data<float>() + r * count;
        packed.insert(packed.end(), first, first + count);
      }
    }
    reduce("reduce_scatter", sums.data(), packed.data(), firsts);
    const float* from = sums.data();
    for (const Tensor& part : parts) {
      std::copy_n(from, part.elements(), part.data<float>());
      from += part.elements();
    }
  }

  void all_reduce_tensor(const Tensor& x) {
    const auto elements = static_cast<size_t>(x.elements());
    std::vector<size_t> firsts(members() + 1);
    for (size_t r = 0; r < firsts.size(); ++r) firsts[r] = r * elements / members();
    const auto place = [&](size_t r) {
      return Piece{x.data<float>() + firsts[r], (firsts[r + 1] - firsts[r]) * sizeof(float)};
    };
    const Piece own = place(self());
    std::vector<float> sums(own.bytes / sizeof(float));
    reduce("all_reduce", sums.data(), x.data<float>(), firsts);
    if (own.bytes > 0) std::memcpy(own.data, sums.data(), own.bytes);
    std::vector<Piece> in;
    for (size_t r = 0; r < members(); ++r) in.push_back(place(r));
    exchange("all_reduce", std::vector<Piece>(members(), own), in);
  }

  /// Gloo's failures as ours: whatever it says, a member is out of reach.
  template <typename Action>
  void during(const char* what, Action&& action) const try {
    action();
  } catch (const std::exception& failure) {
    throw LostMember(std::string(what) + ": rank " + std::to_string(rank()) + " of " +
                     std::to_string(size()) + " lost another: " + failure.what());
  }

  /// What the group's end would have to cut off; null: nothing.
  void announce(const Exchange* exchange) {
    const std::lock_guard lock(mutex_);
    under_way_ = exchange;
    if (ending_ && exchange != nullptr) exchange->abort();
  }

  /// out[r] to rank r and in[r] from it, for all others; empty pieces make no message.
  ///
  /// Gloo tells those who wait for a message that the sender is gone, but not when a part of it has
  /// already come. So a large one has a second behind it, its last byte again, which is waited for
  /// in the same buffer: one that is still to come as long as the first is on its way.
  void exchange(const char* what, const std::vector<Piece>& out, const std::vector<Piece>& in) {
    during(what, [&] {
      const auto slot = static_cast<uint64_t>(context_->nextSlot());
      const auto second = static_cast<uint64_t>(context_->nextSlot());
      Exchange messages;
      for (size_t r = 0; r < members(); ++r) {
        if (r == self() || in[r].bytes == 0) continue;
        messages.receiving.push_back(context_->createUnboundBuffer(in[r].data, in[r].bytes));
        messages.receiving.back()->recv(static_cast<int>(r), slot);
        if (!is_large(in[r].bytes)) continue;
        messages.receiving.back()->recv(static_cast<int>(r), second, in[r].bytes - 1, 1);
      }
      for (size_t r = 0; r < members(); ++r) {
        if (r == self() || out[r].bytes == 0) continue;
        messages.sending.push_back(context_->createUnboundBuffer(out[r].data, out[r].bytes));
        messages.sending.back()->send(static_cast<int>(r), slot);
        if (!is_large(out[r].bytes)) continue;
        messages.sending.back()->send(static_cast<int>(r), second, out[r].bytes - 1, 1);
      }
      struct Announced {
        GlooCollective& group;
        ~Announced() { group.announce(nullptr); }
      } const announced{*this};
      announce(&messages);
      const auto wait = [&](size_t bytes, const auto& wait_once) {
        for (int left = is_large(bytes) ? 2 : 1; left > 0; --left) {
          if (wait_once()) continue;
          context_->closeConnections();  // first, so that Gloo is done with the buffers
          throw std::runtime_error("the group went before the operation's end");
        }
      };
      for (const auto& buffer : messages.receiving) {
        wait(buffer->size, [&] { return buffer->waitRecv(group_.timeout); });
      }
      for (const auto& buffer : messages.sending) {
        wait(buffer->size, [&] { return buffer->waitSend(group_.timeout); });
      }
    });
  }

  /// `out`: the parts of all ranks, end to end.
  void gather(const char* what, void* out, Piece part) {
    std::vector<Piece> in;
    for (size_t r = 0; r < members(); ++r) {
      in.push_back({static_cast<std::byte*>(out) + r * part.bytes, part.bytes});
    }
    if (part.bytes > 0) std::memcpy(in[self()].data, part.data, part.bytes);
    exchange(what, std::vector<Piece>(members(), part), in);
  }

  /// sums = Σ over the ranks of elements firsts[rank] … firsts[rank + 1] of their x.
  void reduce(const char* what, float* sums, float* x, const std::vector<size_t>& firsts) {
    const size_t own = firsts[self() + 1] - firsts[self()];
    std::vector<float> parts(own * members());
    std::vector<Piece> out, in;
    for (size_t r = 0; r < members(); ++r) {
      out.push_back({x + firsts[r], (firsts[r + 1] - firsts[r]) * sizeof(float)});
      in.push_back({parts.data() + r * own, own * sizeof(float)});
    }
    if (own > 0) std::memcpy(in[self()].data, out[self()].data, own * sizeof(float));
    exchange(what, out, in);
    std::copy_n(parts.data(), own, sums);
    for (size_t r = 1; r < members(); ++r) {
      const float* part = parts.data() + r * own;
      for (size_t i = 0; i < own; ++i) sums[i] += part[i];
    }
  }

  GlooGroup group_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::mutex mutex_;  // of what follows
  const Exchange* under_way_ = nullptr;
  bool ending_ = false;
  OperationQueue queue_;  // last: its thread uses the others
};

}  // namespace

std::unique_ptr<Collective> make_gloo_collective(const GlooGroup& group) {
  check_member("make_gloo_collective", group.rank, group.size);
  return std::make_unique<GlooCollective>(group);
}

}  // namespace ropesweep::backend
