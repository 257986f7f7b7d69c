// Reading a checkpoint from a cold disk, beside reading the same bytes and doing nothing with them.
// The checkpoint (2.1 GB, bf16) is written into the folder for temporary files (TMPDIR) and
// removed.
//   TMPDIR=/data/tmp build/release/tests/checkpoint_benchmark
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "tests/temporary_folder.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/config.h"

namespace {

namespace fs = std::filesystem;
using ropesweep::backend::Dtype;

/// A Llama of 1.07 billion weights on disk.
class Checkpoint {
 public:
  Checkpoint() : backend_(ropesweep::backend::make_cpu_backend(0)) {
    std::ofstream(directory_ / "config.json")
        << R"({"model_type": "llama", "hidden_act": "silu", "hidden_size": 2048,
               "intermediate_size": 5632, "num_hidden_layers": 20, "num_attention_heads": 16,
               "num_key_value_heads": 16, "vocab_size": 16384, "max_position_embeddings": 4096,
               "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "bfloat16"})";
    config_ = ropesweep::llama::read_config(directory_);
    const auto weights = ropesweep::llama::init_weights(*backend_, config_, Dtype::bf16, 1);
    ropesweep::llama::save_checkpoint(*backend_, directory_, weights, config_, Dtype::bf16, "none",
                                      1, {});
    for (const auto& entry : fs::directory_iterator(directory_)) bytes_ += entry.file_size();
  }

  /// The kernel forgets what it has of the files.
  void cool() const {
    each_file([](int file) { ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED); });
  }
  void load() const {
    benchmark::DoNotOptimize(
        ropesweep::llama::load_weights(*backend_, directory_, config_, Dtype::bf16));
  }
  void read() const {
    std::vector<char> block(size_t{16} << 20);
    each_file([&](int file) {
      while (::read(file, block.data(), block.size()) > 0) {
      }
    });
  }
  uintmax_t bytes() const { return bytes_; }

 private:
  template <typename Visit>
  void each_file(Visit visit) const {
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0) throw std::runtime_error(entry.path().string() + ": cannot be opened");
      ::fsync(file);
      visit(file);
      ::close(file);
    }
  }

  std::unique_ptr<ropesweep::backend::Backend> backend_;
  ropesweep::TemporaryFolder folder_;
  const fs::path directory_ = folder_.path();
  ropesweep::llama::Config config_;
  uintmax_t bytes_ = 0;
};

template <void (Checkpoint::*Use)() const>
void from_cold_disk(benchmark::State& state) {
  static const Checkpoint checkpoint;
  for (auto _ : state) {
    state.PauseTiming();
    checkpoint.cool();
    state.ResumeTiming();
    (checkpoint.*Use)();
  }
  state.SetBytesProcessed(static_cast<int64_t>(checkpoint.bytes()) * state.iterations());
}

BENCHMARK(from_cold_disk<&Checkpoint::read>)->Name("read")->Iterations(3)->UseRealTime();
BENCHMARK(from_cold_disk<&Checkpoint::load>)->Name("load_weights")->Iterations(3)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
