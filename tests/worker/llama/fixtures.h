// What the tests of worker/llama share: the fixtures of tests/reference/llama_fixtures.py and
// family_fixtures.py, folders that vanish, and norms.
#pragma once

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"
#include "tests/worker/devices.h"
#include "worker/llama/model.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {

inline std::filesystem::path fixture(const std::string& name) {
  // A test program that was carried to another machine finds its fixtures where it is told.
  const char* const source = std::getenv("ROPESWEEP_SOURCE_DIR");
  return std::filesystem::path(source != nullptr ? source : ROPESWEEP_SOURCE_DIR) /
         "tests/reference/llama" / name;
}

inline nlohmann::json read_json(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return nlohmann::json::parse(stream);
}

inline std::string read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

/// The ids of llama_fixtures.py's token_ids.
inline std::vector<int32_t> token_ids(int64_t count, int64_t seed, int64_t vocabulary = 96) {
  std::vector<int32_t> ids;
  for (int64_t x = seed; static_cast<int64_t>(ids.size()) < count;) {
    x = (1103515245 * x + 12345) % (int64_t{1} << 31);
    ids.push_back(static_cast<int32_t>((x >> 16) % vocabulary));
  }
  return ids;
}

/// Each token's successor in its sequence of `tokens`; −1 at the sequence's end.
inline std::vector<int32_t> next_tokens(std::span<const int32_t> ids, int64_t tokens) {
  std::vector<int32_t> targets(ids.size(), -1);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    if ((static_cast<int64_t>(i) + 1) % tokens != 0) targets[i] = ids[i + 1];
  }
  return targets;
}

/// ‖a − b‖ / ‖b‖; infinite when the sizes differ.
inline double relative_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

inline std::vector<float> host_values(backend::Backend& backend, const backend::Tensor& tensor) {
  backend::Tensor wide = tensor;
  if (tensor.dtype() != backend::Dtype::f32) {
    wide = backend.allocate(backend::Dtype::f32, tensor.shape());
    backend.copy(wide, tensor);
  }
  std::vector<float> values(static_cast<size_t>(wide.elements()));
  backend.download(values.data(), wide);
  return values;
}

/// An emulated device takes seconds for what others do in milliseconds: short sequences suffice.
inline bool is_slow() { return backend::test_device() == "emulated"; }
inline const char* const kTooLong = "takes too long on an emulated device; the others run it";

/// A fixture's model on a backend of its own.
struct TestModel {
  explicit TestModel(const std::string& name, backend::Dtype type = backend::Dtype::f32,
                     int threads = 1)
      : backend(backend::make_test_backend(threads)), config(read_config(fixture(name))) {
    model = std::make_unique<Model>(*backend, config,
                                    load_weights(*backend, fixture(name), config, type));
  }
  void use(const std::string& scheme, double scale) {
    model->use_positions(make_position_encoding(scheme, scale, config.rotary));
  }

  std::unique_ptr<backend::Backend> backend;
  Config config;
  std::unique_ptr<Model> model;
};

inline const char* const families[] = {"mistral",      "ministral", "qwen2",
                                       "qwen2_window", "gpt_neox",  "gpt_neox_serial"};
inline const char* const shapes[] = {"multi_head",   "grouped_tied", "head_96",
                                     "mistral",      "ministral",    "qwen2",
                                     "qwen2_window", "gpt_neox",     "gpt_neox_serial"};

}  // namespace ropesweep::llama
