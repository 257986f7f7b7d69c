// Writing one safetensors file: the header from the entries, then their bytes in the same order.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "experiments/error.h"
#include "worker/llama/durable_file.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

/// The header's text, padded with blanks so that the data begins at a multiple of eight bytes.
std::string header_text(const std::vector<SafetensorsWriter::Entry>& entries,
                        const std::map<std::string, std::string>& metadata,
                        std::vector<size_t>& sizes) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const auto& entry : entries) {
    size_t bytes = size_of(entry.type);
    for (const int64_t extent : entry.shape) bytes *= static_cast<size_t>(extent);
    header[entry.name] = {{"dtype", name_of(entry.type)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + bytes}}};
    sizes.push_back(bytes);
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

[[noreturn]] void throw_write_error(const std::filesystem::path& file) {
  throw_file_error(file, "be written", errno);
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& file,
                                     const std::vector<Entry>& entries,
                                     const std::map<std::string, std::string>& metadata)
    : file_(file), beside_(file.string() + fmt::format(".partial-{}", ::getpid())) {
  const std::string header = header_text(entries, metadata, sizes_);
  const uint64_t length = header.size();
  stream_ = std::fopen(beside_.c_str(), "wb");
  if (stream_ == nullptr) throw_write_error(beside_);
  if (std::fwrite(&length, sizeof(length), 1, stream_) != 1 ||
      std::fwrite(header.data(), 1, header.size(), stream_) != header.size()) {
    const int why = errno;
    std::fclose(stream_);
    stream_ = nullptr;
    std::error_code ignored;
    std::filesystem::remove(beside_, ignored);
    errno = why;
    throw_write_error(beside_);
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (stream_ == nullptr) return;
  std::fclose(stream_);
  std::error_code ignored;
  std::filesystem::remove(beside_, ignored);
}

void SafetensorsWriter::write(std::span<const uint8_t> bytes) {
  if (next_ >= sizes_.size() || bytes.size() != sizes_[next_]) {
    throw std::invalid_argument("SafetensorsWriter::write: not the bytes of the next entry");
  }
  if (std::fwrite(bytes.data(), 1, bytes.size(), stream_) != bytes.size()) {
    throw_write_error(beside_);
  }
  ++next_;
}

void SafetensorsWriter::finish() {
  if (next_ != sizes_.size()) {
    throw std::invalid_argument("SafetensorsWriter::finish: entries are missing");
  }
  const bool flushed = std::fflush(stream_) == 0 && ::fsync(::fileno(stream_)) == 0;
  if (!flushed) throw_write_error(beside_);
  const bool closed = std::fclose(stream_) == 0;
  stream_ = nullptr;
  if (!closed) throw_write_error(beside_);
  rename_durably(beside_, file_);
}

}  // namespace ropesweep::llama
