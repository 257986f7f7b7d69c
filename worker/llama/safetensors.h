// Safetensors files: eight bytes of header length, a JSON header, then the tensors' bytes without
// gaps (huggingface/safetensors, README "Format"). Nothing in a file is believed before it is
// checked.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ropesweep::llama {

enum class FileType { f32, bf16, f16 };
const char* name_of(FileType type);  ///< "F32", "BF16", "F16"
size_t size_of(FileType type);       ///< bytes an element

/// A tensor as its file has it; `bytes` lie in the mapped file and live as long as the reader.
struct FileTensor {
  FileType type = FileType::f32;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;
};

/// One mapped file.
class SafetensorsReader {
 public:
  /// Errors: user error naming the file (and the tensor) for anything malformed: a header longer
  /// than the file, bad JSON, offsets outside the data, gaps or overlaps, a shape that does not
  /// fill its bytes. A tensor of another dtype is an error only when it is asked for.
  explicit SafetensorsReader(const std::filesystem::path& file);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  const std::filesystem::path& file() const { return file_; }
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return entries_.contains(name); }
  /// Errors: user error when there is no such tensor, or its dtype is not f32, bf16 or f16.
  FileTensor tensor(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  ///< within the data
  };
  void read_header();
  void check_layout() const;

  std::filesystem::path file_;
  std::span<const uint8_t> mapped_, data_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// All weight files of a model directory: model.safetensors, or the shards that the index names.
class SafetensorsDirectory {
 public:
  /// Errors: user error when neither is there, the index is malformed, or it names a file outside
  /// the directory.
  explicit SafetensorsDirectory(const std::filesystem::path& directory);

  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return readers_of_.contains(name); }
  /// The tensor and the file it lies in. Errors: user error when a shard lacks it.
  std::pair<FileTensor, const SafetensorsReader*> tensor(const std::string& name) const;

 private:
  std::filesystem::path directory_;
  std::map<std::string, std::shared_ptr<const SafetensorsReader>> readers_of_;  ///< by tensor
};

/// The files that hold a directory's weights, as names within it: model.safetensors, or the index
/// and its shards. Errors: as SafetensorsDirectory.
std::vector<std::string> weight_files(const std::filesystem::path& directory);

/// Lets the kernel begin to read a tensor's bytes: a mapped file is otherwise read a little at a
/// time, when its pages are touched.
void read_ahead(const FileTensor& tensor);

/// Elements of a file's tensor as f32, or as bf16 bits.
std::vector<float> to_f32(const FileTensor& tensor);
std::vector<uint16_t> to_bf16(const FileTensor& tensor);

/// Writes one file beside itself, then syncs and renames it: readers see the old one or the new
/// one.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    FileType type = FileType::f32;
    std::vector<int64_t> shape;
  };
  /// Errors: transient, naming the file, when the machine fails (disk full, no such directory, …).
  SafetensorsWriter(const std::filesystem::path& file, const std::vector<Entry>& entries,
                    const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();  ///< without finish(): removes what it wrote
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// The bytes of the next entry, in the order given.
  void write(std::span<const uint8_t> bytes);
  void finish();

 private:
  std::filesystem::path file_, beside_;
  std::vector<size_t> sizes_;
  size_t next_ = 0;
  std::FILE* stream_ = nullptr;
};

}  // namespace ropesweep::llama
