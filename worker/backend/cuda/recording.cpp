// Recordings as CUDA graphs: what the stream is given while it is captured, launched by one call.
//
// The work is done once before it is captured: that is its first run, and it shows what storage it
// takes, loads the kernels and has the products' algorithms chosen, none of which a capture
// permits.
#include <utility>

#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

/// Ends a capture that an error broke off, so that the stream can be used again.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "starting a capture");
  }
  ~Capture() {
    if (!ended_) {
      static_cast<void>(cudaStreamEndCapture(stream_, &graph_));
      static_cast<void>(cudaGetLastError());  // or the next launch would report it
    }
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// The graph as it can be launched.
  cudaGraphExec_t finish() {
    ended_ = true;
    check(cudaStreamEndCapture(stream_, &graph_), "ending a capture");
    cudaGraphExec_t graph = nullptr;
    check(cudaGraphInstantiateWithFlags(&graph, graph_, 0), "building a graph");
    return graph;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

class Graph final : public Recording {
 public:
  Graph(int device, cudaStream_t stream, cudaGraphExec_t graph,
        std::shared_ptr<RecordedMemory> memory)
      : device_(device), stream_(stream), graph_(graph), memory_(std::move(memory)) {}
  ~Graph() override {
    static_cast<void>(cudaSetDevice(device_));
    static_cast<void>(cudaStreamSynchronize(stream_));  // it may still run
    static_cast<void>(cudaGraphExecDestroy(graph_));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void replay() override {
    check(cudaSetDevice(device_), "choosing the device");
    check(cudaGraphLaunch(graph_, stream_), "launching a graph");
  }

 private:
  int device_;
  cudaStream_t stream_;
  cudaGraphExec_t graph_;
  std::shared_ptr<RecordedMemory> memory_;
};

}  // namespace

std::unique_ptr<Recording> CudaBackend::record(std::function<void()> work) {
  use_device();
  const auto memory = std::make_shared<RecordedMemory>(pool_);
  struct Own {
    std::shared_ptr<RecordedMemory>& place;
    ~Own() { place.reset(); }
  } const own{recorded_memory_};
  recorded_memory_ = memory;
  work();
  memory->rewind();
  Capture capture(stream_);
  work();
  return std::make_unique<Graph>(device_, stream_, capture.finish(), memory);
}

}  // namespace ropesweep::backend::cuda
