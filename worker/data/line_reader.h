// Text files as a stream of lines: plain, gzip or zstd, recognised by their first bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ropesweep::data {

/// Decompressed bytes of a file, a block at a time.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// The next bytes, valid until the next call; empty at the end.
  /// Errors: user error naming the file when it is damaged or cut short.
  virtual std::string_view next() = 0;
  /// Bytes of the file, as it lies on the disk, that were read so far.
  virtual int64_t consumed() const = 0;
};

/// Errors: user error for a missing, unreadable or empty file.
std::unique_ptr<ByteStream> open_bytes(const std::filesystem::path& file);

/// A line or record must fit into memory: a small compressed file may hold one without end.
inline constexpr size_t longest_record = size_t{256} << 20;
/// Errors: user error naming file and line when a record has more bytes than that.
void check_record_length(size_t bytes, const std::filesystem::path& file, int64_t line);

class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& file);

  /// The next line without its "\n" (and "\r\n"); false at the end. Errors: user error, see above.
  bool next(std::string& line);
  int64_t number() const { return number_; }  ///< of the line given last, from 1
  int64_t consumed() const { return bytes_->consumed(); }
  /// For who joins lines: refuses what grows too long, at the line given last.
  void check_length(size_t bytes) const { check_record_length(bytes, file_, number_); }

 private:
  std::filesystem::path file_;
  std::unique_ptr<ByteStream> bytes_;
  std::string_view block_;
  int64_t number_ = 0;
};

}  // namespace ropesweep::data
