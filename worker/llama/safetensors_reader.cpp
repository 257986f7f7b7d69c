// Reading one safetensors file: mapped, checked as a whole, then handed out as spans.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "experiments/error.h"
#include "experiments/json_text.h"
#include "worker/llama/number_formats.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

// The reference implementation refuses longer headers too.
constexpr uint64_t longest_header = 100'000'000;

std::span<const uint8_t> map_file(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw_user_error("{}: cannot be read: {}", file.string(), std::strerror(errno));
  }
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const size_t size = known ? static_cast<size_t>(status.st_size) : 0;
  void* address =
      size == 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  ::close(descriptor);
  if (address == MAP_FAILED) {
    throw_user_error("{}: is empty or no regular file; no safetensors", file.string());
  }
  return {static_cast<const uint8_t*>(address), size};
}

/// Bits of an element in the dtypes of the format; 0: unknown.
uint64_t bits_of(const std::string& dtype) {
  static const std::map<std::string, uint64_t> bits = {
      {"F64", 64}, {"F32", 32}, {"F16", 16},    {"BF16", 16},   {"I64", 64},   {"U64", 64},
      {"I32", 32}, {"U32", 32}, {"I16", 16},    {"U16", 16},    {"I8", 8},     {"U8", 8},
      {"BOOL", 8}, {"C64", 64}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}};
  const auto found = bits.find(dtype);
  return found == bits.end() ? 0 : found->second;
}

/// Product of the dimensions, or false when one is negative or the product leaves 2^62.
bool count_elements(const std::vector<int64_t>& shape, uint64_t& count) {
  count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) return false;
    if (extent != 0 && count > (uint64_t{1} << 62) / static_cast<uint64_t>(extent)) return false;
    count *= static_cast<uint64_t>(extent);
  }
  return true;
}

}  // namespace

const char* name_of(FileType type) {
  switch (type) {
    case FileType::f32:
      return "F32";
    case FileType::bf16:
      return "BF16";
    case FileType::f16:
      return "F16";
  }
  return "";
}

size_t size_of(FileType type) { return type == FileType::f32 ? 4 : 2; }

void read_ahead(const FileTensor& tensor) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(tensor.bytes.data());
  const uintptr_t begin = first / page * page;
  const uintptr_t end = first + tensor.bytes.size();
  // The kernel takes no more of one call than the device's own limit, and forgets the rest. Only
  // advice: what fails here is read when it is touched.
  constexpr uintptr_t piece = 128 << 10;
  for (uintptr_t at = begin; at < end; at += piece) {
    static_cast<void>(
        ::madvise(reinterpret_cast<void*>(at), std::min(piece, end - at), MADV_WILLNEED));
  }
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file)
    : file_(file), mapped_(map_file(file)) {
  try {
    read_header();
    check_layout();
  } catch (...) {
    ::munmap(const_cast<uint8_t*>(mapped_.data()), mapped_.size());
    throw;
  }
}

SafetensorsReader::~SafetensorsReader() {
  ::munmap(const_cast<uint8_t*>(mapped_.data()), mapped_.size());
}

void SafetensorsReader::read_header() {
  uint64_t length = 0;
  if (mapped_.size() < sizeof(length)) {
    throw_user_error("{}: {} bytes are too few for safetensors", file_.string(), mapped_.size());
  }
  std::memcpy(&length, mapped_.data(), sizeof(length));
  if (length > longest_header || length > mapped_.size() - sizeof(length)) {
    throw_user_error(
        "{}: the header claims {} bytes, the file has {}: truncated, or no safetensors",
        file_.string(), length, mapped_.size());
  }
  data_ = mapped_.subspan(sizeof(length) + length);
  const auto text = mapped_.subspan(sizeof(length), length);
  std::string tensor;
  try {
    const json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()});
    if (!header.is_object()) throw_user_error("{}: the header is no JSON object", file_.string());
    for (const auto& [name, value] : header.items()) {
      tensor = name;
      if (name == "__metadata__") {
        metadata_ = value.get<std::map<std::string, std::string>>();
        continue;
      }
      Entry entry;
      entry.dtype = value.at("dtype").get<std::string>();
      for (const json& extent : value.at("shape")) {
        if (!extent.is_number_integer())
          throw_user_error("{}: tensor {}: shape must hold integers", file_.string(), name);
        entry.shape.push_back(extent.get<int64_t>());
      }
      const json& offsets = value.at("data_offsets");
      if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
          !offsets[1].is_number_unsigned()) {
        throw_user_error("{}: tensor {}: data_offsets must be two positive integers",
                         file_.string(), name);
      }
      entry.begin = offsets[0].get<uint64_t>();
      entry.end = offsets[1].get<uint64_t>();
      entries_[name] = entry;
    }
  } catch (const json::exception& error) {
    throw_user_error("{}: malformed header{}{}: {}", file_.string(), tensor.empty() ? "" : " at ",
                     tensor, error.what());
  }
}

void SafetensorsReader::check_layout() const {
  std::vector<const std::pair<const std::string, Entry>*> in_order;
  for (const auto& named : entries_) {
    const auto& [name, entry] = named;
    if (entry.begin > entry.end || entry.end > data_.size()) {
      throw_user_error("{}: tensor {} ends at byte {} of {}: the file is truncated", file_.string(),
                       name, entry.end, data_.size());
    }
    uint64_t elements = 0;
    const uint64_t bits = bits_of(entry.dtype);
    const bool countable = count_elements(entry.shape, elements) && elements < (uint64_t{1} << 55);
    if (!countable || (bits != 0 && elements * bits != (entry.end - entry.begin) * 8)) {
      throw_user_error("{}: tensor {}: its shape does not fill its {} bytes of {}", file_.string(),
                       name, entry.end - entry.begin, entry.dtype);
    }
    in_order.push_back(&named);
  }
  std::sort(in_order.begin(), in_order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t expected = 0;
  for (const auto* named : in_order) {
    if (named->second.begin != expected) {
      throw_user_error("{}: tensor {} begins at byte {}, not at {}: tensors overlap or leave a gap",
                       file_.string(), named->first, named->second.begin, expected);
    }
    expected = named->second.end;
  }
  if (expected != data_.size()) {
    throw_user_error("{}: {} bytes after the last tensor", file_.string(), data_.size() - expected);
  }
}

std::vector<std::string> SafetensorsReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

FileTensor SafetensorsReader::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw_user_error("{}: tensor {} is missing", file_.string(), name);
  }
  const Entry& entry = found->second;
  for (const FileType type : {FileType::f32, FileType::bf16, FileType::f16}) {
    if (entry.dtype != name_of(type)) continue;
    return {type, entry.shape, data_.subspan(entry.begin, entry.end - entry.begin)};
  }
  throw_user_error("{}: tensor {}: type {} is unknown; weights must be F32, BF16 or F16",
                   file_.string(), name, entry.dtype);
}

std::vector<float> to_f32(const FileTensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / size_of(tensor.type));
  if (values.empty()) return values;  // without memory, which memcpy demands even of no bytes
  if (tensor.type == FileType::f32) {
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;  // a file's data need not be aligned
    std::memcpy(&bits, tensor.bytes.data() + 2 * i, sizeof(bits));
    values[i] = tensor.type == FileType::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
  return values;
}

std::vector<uint16_t> to_bf16(const FileTensor& tensor) {
  std::vector<uint16_t> values(tensor.bytes.size() / size_of(tensor.type));
  if (values.empty()) return values;
  if (tensor.type == FileType::bf16) {
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    float value = 0;
    if (tensor.type == FileType::f32) {
      std::memcpy(&value, tensor.bytes.data() + 4 * i, sizeof(value));
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, tensor.bytes.data() + 2 * i, sizeof(bits));
      value = f16_to_f32(bits);
    }
    values[i] = f32_to_bf16(value);
  }
  return values;
}

}  // namespace ropesweep::llama
