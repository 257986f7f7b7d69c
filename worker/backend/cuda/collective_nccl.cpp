// A group of CUDA devices, over NVLink and the network (NCCL). Operations run in a stream of the
// group's own and are waited for with an eye on the clock, since NCCL itself would wait forever for
// a member that is gone. NCCL's reductions add in the order of its rings; here each rank gets the
// others' parts and adds them in the order of the ranks, as groups of CPUs do.
#include <cuda_runtime.h>
#include <nccl.h>

#include <cstring>
#include <thread>
#include <vector>

#include "worker/backend/checked_backend.h"
#include "worker/backend/collective.h"
#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend {

namespace {

using Clock = std::chrono::steady_clock;

class NcclCollective final : public Collective {
 public:
  NcclCollective(Backend& backend, int device, const NcclGroup& group)
      : backend_(backend), group_(group) {
    cuda::check(cudaSetDevice(device), "choosing the device");
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    ncclUniqueId id;
    std::memcpy(&id, group.id.data(), sizeof(id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // calls return at once, so that the clock can be watched
    try {
      begun("meeting", ncclCommInitRankConfig(&communicator_, group.size, id, group.rank, &config));
    } catch (...) {
      static_cast<void>(cudaStreamDestroy(stream_));
      throw;
    }
  }

  ~NcclCollective() override {
    // Every operation was waited for: nothing is under way that destruction would have to finish.
    if (communicator_ != nullptr) static_cast<void>(ncclCommAbort(communicator_));
    static_cast<void>(cudaStreamDestroy(stream_));
  }
  NcclCollective(const NcclCollective&) = delete;
  NcclCollective& operator=(const NcclCollective&) = delete;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }

  void broadcast(const Tensor& x, int root) override {
    require(root >= 0 && root < size(), "broadcast", "the root is no member");
    run("broadcast", [&](const auto& add) {
      add(ncclBroadcast(x.raw(), x.raw(), x.bytes(), ncclUint8, root, communicator_, stream_));
    });
  }

  using Collective::all_gather, Collective::reduce_scatter;
  void all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts) override {
    check_all_gather(outs, parts, size());
    run("all_gather", [&](const auto& add) {
      for (size_t i = 0; i < outs.size(); ++i) {
        add(ncclAllGather(parts[i].raw(), outs[i].raw(), parts[i].bytes(), ncclUint8, communicator_,
                          stream_));
      }
    });
  }

  void reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs) override {
    check_reduce_scatter(parts, xs, size());
    std::vector<Tensor> terms;  // [n, elements] each
    for (const Tensor& part : parts) {
      terms.push_back(backend_.allocate(Dtype::f32, {size(), part.elements()}));
    }
    run("reduce_scatter", [&](const auto& add) {
      for (size_t i = 0; i < xs.size(); ++i) {
        const auto count = static_cast<size_t>(parts[i].elements());
        for (int r = 0; r < size(); ++r) {
          const size_t at = static_cast<size_t>(r) * count;
          add(ncclSend(xs[i].data<float>() + at, count, ncclFloat, r, communicator_, stream_));
          add(ncclRecv(terms[i].data<float>() + at, count, ncclFloat, r, communicator_, stream_));
        }
      }
    });
    for (size_t i = 0; i < parts.size(); ++i) {
      backend_.copy(parts[i], terms[i].rows(0, 1));
      for (int64_t r = 1; r < size(); ++r) backend_.add(parts[i], terms[i].rows(r, 1));
    }
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

 private:
  [[noreturn]] void lose(const char* what, const std::string& reason) {
    if (communicator_ != nullptr) static_cast<void>(ncclCommAbort(communicator_));
    communicator_ = nullptr;
    throw LostMember(std::string(what) + ": rank " + std::to_string(rank()) + " of " +
                     std::to_string(size()) + " lost another: " + reason);
  }

  /// Waits until a call that returns at once is accepted by all of NCCL.
  void begun(const char* what, ncclResult_t result) {
    const auto deadline = Clock::now() + group_.timeout;
    while (result == ncclInProgress && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &result);
      if (asked != ncclSuccess) result = asked;
    }
    if (result == ncclInProgress) lose(what, "no answer within the timeout");
    if (result != ncclSuccess) lose(what, ncclGetErrorString(result));
  }

  /// What `fill` adds, as one, after the backend's work; waits for its end. The wait spins: an
  /// operation takes microseconds, a sleep would take longer.
  template <typename Fill>
  void run(const char* what, Fill&& fill) {
    if (communicator_ == nullptr) throw LostMember(std::string(what) + ": the group has ended");
    backend_.synchronize();
    ncclResult_t result = ncclGroupStart();
    // Within a group nothing starts yet: a call either takes its place in it or is refused.
    fill([&](ncclResult_t added) {
      if (added != ncclSuccess && added != ncclInProgress) result = added;
    });
    const ncclResult_t ended = ncclGroupEnd();
    begun(what, result == ncclSuccess ? ended : result);
    const auto deadline = Clock::now() + group_.timeout;
    for (;;) {
      const cudaError_t done = cudaStreamQuery(stream_);
      if (done == cudaSuccess) return;
      if (done != cudaErrorNotReady) cuda::check(done, what);
      ncclResult_t failed = ncclSuccess;
      if (ncclCommGetAsyncError(communicator_, &failed) != ncclSuccess || failed != ncclSuccess) {
        lose(what, ncclGetErrorString(failed));
      }
      if (Clock::now() > deadline) lose(what, "no answer within the timeout");
      std::this_thread::yield();
    }
  }

  Backend& backend_;
  NcclGroup group_;
  cudaStream_t stream_ = nullptr;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace

std::unique_ptr<Collective> make_nccl_collective(Backend& backend, int device,
                                                 const NcclGroup& group) {
  check_member("make_nccl_collective", group.rank, group.size);
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
