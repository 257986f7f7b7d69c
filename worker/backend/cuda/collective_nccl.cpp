// A group of CUDA devices, over NVLink and the network (NCCL). Operations run in a stream of the
// group's own, each after what was in the backend's stream when it was begun, and beside what comes
// after that. They are waited for with an eye on the clock, since NCCL itself would wait forever
// for a member that is gone. NCCL's reductions add in the order of its rings; here each rank gets
// the others' parts and adds them in the order of the ranks, as groups of CPUs do.
#include <cuda_runtime.h>
#include <nccl.h>

#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "worker/backend/checked_backend.h"
#include "worker/backend/collective.h"
#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend {

namespace {

using Clock = std::chrono::steady_clock;

/// A place in a stream: what was in it when this was made.
class Event {
 public:
  explicit Event(cudaStream_t stream) {
    cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
    const cudaError_t recorded = cudaEventRecord(event_, stream);
    if (recorded != cudaSuccess) static_cast<void>(cudaEventDestroy(event_));
    cuda::check(recorded, "recording an event");
  }
  ~Event() { static_cast<void>(cudaEventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class NcclCollective;

/// What was begun.
struct Operation {
  const char* what = nullptr;
  NcclCollective* group = nullptr;  ///< null: it is gone
  std::vector<Tensor> tensors;      ///< that it reads or writes: theirs until its end
  std::optional<Event> end;         ///< in the group's stream
  bool ended = false;
};

class Begun final : public Pending {
 public:
  /// `finish` is what the backend has to do after the operation's end.
  Begun(std::shared_ptr<Operation> operation, std::function<void()> finish)
      : operation_(std::move(operation)), finish_(std::move(finish)) {}
  void wait() override;

 private:
  std::shared_ptr<Operation> operation_;
  std::function<void()> finish_;
};

class NcclCollective final : public Collective {
 public:
  NcclCollective(Backend& backend, int device, const NcclGroup& group)
      : backend_(backend), device_(device), group_(group) {
    cuda::check(cudaSetDevice(device), "choosing the device");
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    ncclUniqueId id;
    std::memcpy(&id, group.id.data(), sizeof(id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // calls return at once, so that the clock can be watched
    try {
      accept("meeting",
             ncclCommInitRankConfig(&communicator_, group.size, id, group.rank, &config));
    } catch (...) {
      static_cast<void>(cudaStreamDestroy(stream_));
      throw;
    }
  }

  ~NcclCollective() override {
    static_cast<void>(cudaSetDevice(device_));
    end();
    for (const auto& operation : under_way_) operation->group = nullptr;
    static_cast<void>(cudaStreamDestroy(stream_));
  }
  NcclCollective(const NcclCollective&) = delete;
  NcclCollective& operator=(const NcclCollective&) = delete;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }

  void broadcast(const Tensor& x, int root) override {
    require(root >= 0 && root < size(), "broadcast", "the root is no member");
    begin("broadcast", {x}, [&](const auto& add) {
      add(ncclBroadcast(x.raw(), x.raw(), x.bytes(), ncclUint8, root, communicator_, stream_));
    })->wait();
  }

  std::unique_ptr<Pending> begin_all_gather(std::span<const Tensor> outs,
                                            std::span<const Tensor> parts) override {
    check_all_gather(outs, parts, size());
    std::vector<Tensor> tensors(outs.begin(), outs.end());
    tensors.insert(tensors.end(), parts.begin(), parts.end());
    return begin("all_gather", std::move(tensors), [&](const auto& add) {
      for (size_t i = 0; i < outs.size(); ++i) {
        add(ncclAllGather(parts[i].raw(), outs[i].raw(), parts[i].bytes(), ncclUint8, communicator_,
                          stream_));
      }
    });
  }

  std::unique_ptr<Pending> begin_reduce_scatter(std::span<const Tensor> parts,
                                                std::span<const Tensor> xs) override {
    check_reduce_scatter(parts, xs, size());
    std::vector<Tensor> sums(parts.begin(), parts.end()), terms;  // terms: [n, elements] each
    for (const Tensor& part : parts) {
      terms.push_back(backend_.allocate(Dtype::f32, {size(), part.elements()}));
    }
    std::vector<Tensor> tensors(xs.begin(), xs.end());
    tensors.insert(tensors.end(), terms.begin(), terms.end());
    const auto exchange = [&](const auto& add) {
      for (size_t i = 0; i < xs.size(); ++i) {
        const auto count = static_cast<size_t>(sums[i].elements());
        for (int r = 0; r < size(); ++r) {
          const size_t at = static_cast<size_t>(r) * count;
          add(ncclSend(xs[i].data<float>() + at, count, ncclFloat, r, communicator_, stream_));
          add(ncclRecv(terms[i].data<float>() + at, count, ncclFloat, r, communicator_, stream_));
        }
      }
    };
    return begin("reduce_scatter", std::move(tensors), exchange,
                 [&backend = backend_, sums, terms] {
                   for (size_t i = 0; i < sums.size(); ++i) {
                     backend.copy(sums[i], terms[i].rows(0, 1));
                     for (int64_t r = 1; r < terms[i].dim(0); ++r) {
                       backend.add(sums[i], terms[i].rows(r, 1));
                     }
                   }
                 });
  }

  void all_reduce(const Tensor& x) override {
    check_all_reduce(x);
    const int64_t elements = x.elements(), part = (elements + size() - 1) / size();
    const Tensor padded = backend_.allocate(Dtype::f32, {part * size()});
    backend_.zero(padded);
    backend_.copy(padded.rows(0, elements), x.reshape({elements}));
    const Tensor sums = backend_.allocate(Dtype::f32, {part});
    reduce_scatter(sums, padded);
    all_gather(padded, sums);
    backend_.copy(x.reshape({elements}), padded.rows(0, elements));
  }

  double sum(double x) override {
    const auto bytes = static_cast<int64_t>(sizeof(double) / sizeof(float));
    const Tensor term = backend_.allocate(Dtype::f32, {bytes});
    const Tensor terms = backend_.allocate(Dtype::f32, {size() * bytes});
    backend_.upload(term, &x);
    all_gather(terms, term);
    std::vector<double> values(static_cast<size_t>(size()));
    backend_.download(values.data(), terms);
    double total = 0;
    for (const double value : values) total += value;
    return total;
  }

  void barrier() override { sum(0); }

  /// Returns when the operation has ended, and with it all that were begun before it. What the
  /// backend does from then on sees its results. The wait spins: an operation takes microseconds, a
  /// sleep would take longer.
  void await(const Operation& operation) {
    if (communicator_ == nullptr) has_ended(operation.what);
    const auto deadline = Clock::now() + group_.timeout;
    for (;;) {
      const cudaError_t state = cudaEventQuery(operation.end->get());
      if (state == cudaSuccess) break;
      if (state != cudaErrorNotReady) cuda::check(state, operation.what);
      ncclResult_t failed = ncclSuccess;
      if (ncclCommGetAsyncError(communicator_, &failed) != ncclSuccess || failed != ncclSuccess) {
        lose(operation.what, ncclGetErrorString(failed));
      }
      if (Clock::now() > deadline) lose(operation.what, "no answer within the timeout");
      std::this_thread::yield();
    }
    while (!operation.ended) {  // the stream is in order: those before it, then itself
      under_way_.front()->ended = true;
      under_way_.front()->tensors.clear();
      under_way_.pop_front();
    }
  }

 private:
  [[noreturn]] static void has_ended(const char* what) {
    throw LostMember(std::string(what) + ": the group has ended");
  }

  [[noreturn]] void lose(const char* what, const std::string& reason) {
    end();
    throw LostMember(std::string(what) + ": rank " + std::to_string(rank()) + " of " +
                     std::to_string(size()) + " lost another: " + reason);
  }

  /// Cuts off what is under way; from then on nothing touches its tensors.
  void end() {
    if (communicator_ == nullptr) return;
    static_cast<void>(ncclCommAbort(communicator_));
    communicator_ = nullptr;
    static_cast<void>(cudaStreamSynchronize(stream_));
  }

  /// Waits until a call that returns at once is accepted by all of NCCL: a launch takes
  /// microseconds, a meeting much longer.
  void accept(const char* what, ncclResult_t result) {
    const auto start = Clock::now();
    while (result == ncclInProgress && Clock::now() - start < group_.timeout) {
      if (Clock::now() - start < std::chrono::milliseconds(1)) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &result);
      if (asked != ncclSuccess) result = asked;
    }
    if (result == ncclInProgress) lose(what, "no answer within the timeout");
    if (result != ncclSuccess) lose(what, ncclGetErrorString(result));
  }

  /// Begins what `fill` adds, as one.
  template <typename Fill>
  std::unique_ptr<Pending> begin(const char* what, std::vector<Tensor> tensors, const Fill& fill,
                                 std::function<void()> finish = {}) {
    if (communicator_ == nullptr) has_ended(what);
    cuda::check(cudaSetDevice(device_), "choosing the device");
    // What it reads is still being written, and the backend's pool may have given out again, for
    // what it writes, storage that the backend's stream still uses.
    const Event ready(static_cast<cudaStream_t>(backend_.stream()));
    cuda::check(cudaStreamWaitEvent(stream_, ready.get(), 0), "waiting for the backend");
    const auto operation = std::make_shared<Operation>();
    operation->what = what;
    operation->group = this;
    operation->tensors = std::move(tensors);
    under_way_.push_back(operation);

    ncclResult_t result = ncclGroupStart();
    // Within a group nothing starts yet: a call either takes its place in it or is refused.
    fill([&](ncclResult_t added) {
      if (added != ncclSuccess && added != ncclInProgress) result = added;
    });
    const ncclResult_t ended = ncclGroupEnd();
    accept(what, result == ncclSuccess ? ended : result);
    operation->end.emplace(stream_);
    return std::make_unique<Begun>(operation, std::move(finish));
  }

  Backend& backend_;
  int device_;
  NcclGroup group_;
  cudaStream_t stream_ = nullptr;
  ncclComm_t communicator_ = nullptr;
  std::deque<std::shared_ptr<Operation>> under_way_;  // in the order in which they were begun
};

void Begun::wait() {
  if (!operation_->ended) {
    if (operation_->group == nullptr) {
      throw LostMember(std::string(operation_->what) + ": the group has ended");
    }
    operation_->group->await(*operation_);
  }
  if (finish_) std::exchange(finish_, nullptr)();
}

}  // namespace

std::unique_ptr<Collective> make_nccl_collective(Backend& backend, int device,
                                                 const NcclGroup& group) {
  check_member("make_nccl_collective", group.rank, group.size);
  require(backend.stream() != nullptr, "make_nccl_collective", "the backend is no CUDA device");
  require(group.id.size() == sizeof(ncclUniqueId), "make_nccl_collective",
          "the id is not one of make_nccl_id");
  return std::make_unique<NcclCollective>(backend, device, group);
}

std::string make_nccl_id() {
  ncclUniqueId id;
  const ncclResult_t result = ncclGetUniqueId(&id);
  if (result != ncclSuccess) {
    throw std::runtime_error(std::string("nccl: making an id: ") + ncclGetErrorString(result));
  }
  return {reinterpret_cast<const char*>(&id), sizeof(id)};
}

}  // namespace ropesweep::backend
