// Streams of decompressed bytes over zlib (which passes plain files through) and zstd.
#include "worker/data/line_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdio>
#include <vector>

#include "experiments/error.h"

namespace ropesweep::data {
namespace {

constexpr size_t block_bytes = size_t{1} << 16;
constexpr std::string_view zstd_magic = "\x28\xB5\x2F\xFD";

/// Plain or gzip, several members included.
class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::filesystem::path& file)
      : name_(file.string()), stream_(gzopen(file.c_str(), "rb")), buffer_(block_bytes) {
    if (stream_ == nullptr) throw_user_error("{}: can't be opened", name_);
  }
  ~GzipStream() override { gzclose(stream_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::string_view next() override {
    const int count = gzread(stream_, buffer_.data(), static_cast<unsigned>(buffer_.size()));
    int error = Z_OK;
    const char* message = gzerror(stream_, &error);
    if (count < 0 || (error != Z_OK && error != Z_STREAM_END)) {
      throw_user_error("{}: damaged or cut short: {}", name_, message);
    }
    return {buffer_.data(), static_cast<size_t>(count)};
  }
  int64_t consumed() const override { return gzoffset(stream_); }

 private:
  std::string name_;
  gzFile stream_;
  std::vector<char> buffer_;
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(const std::filesystem::path& file)
      : name_(file.string()),
        file_(std::fopen(file.c_str(), "rb"), &std::fclose),
        context_(ZSTD_createDCtx(), &ZSTD_freeDCtx),
        compressed_(block_bytes),
        buffer_(block_bytes) {
    if (!file_) throw_user_error("{}: can't be opened", name_);
    // Long windows (zstd --long=31), as large corpora use them.
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 31);
  }

  std::string_view next() override {
    ZSTD_outBuffer output{buffer_.data(), buffer_.size(), 0};
    while (output.pos == 0) {
      if (input_.pos == input_.size && !refill() && !pending_) {
        if (within_frame_)
          throw_user_error("{}: damaged or cut short: a zstd frame has no end", name_);
        return {};
      }
      const size_t result = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(result)) {
        throw_user_error("{}: damaged or cut short: {}", name_, ZSTD_getErrorName(result));
      }
      within_frame_ = result != 0;
      pending_ = within_frame_ && output.pos == output.size;
    }
    return {buffer_.data(), output.pos};
  }
  int64_t consumed() const override { return std::ftell(file_.get()); }

 private:
  bool refill() {
    const size_t count = std::fread(compressed_.data(), 1, compressed_.size(), file_.get());
    if (std::ferror(file_.get()) != 0) throw_transient_error("{}: can't be read", name_);
    input_ = {compressed_.data(), count, 0};
    return count > 0;
  }

  std::string name_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  std::vector<char> compressed_, buffer_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool within_frame_ = false;
  bool pending_ = false;  ///< the output was full: more may come without more input
};

}  // namespace

std::unique_ptr<ByteStream> open_bytes(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    throw_user_error("{}: no such file", file.string());
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "rb"),
                                                               &std::fclose);
  if (!stream) throw_user_error("{}: can't be opened", file.string());
  std::array<char, 4> magic{};
  const size_t count = std::fread(magic.data(), 1, magic.size(), stream.get());
  if (count == 0) throw_user_error("{}: is empty", file.string());
  if (std::string_view(magic.data(), count) == zstd_magic)
    return std::make_unique<ZstdStream>(file);
  return std::make_unique<GzipStream>(file);
}

void check_record_length(size_t bytes, const std::filesystem::path& file, int64_t line) {
  if (bytes <= longest_record) return;
  throw_user_error("{}:{}: a record of more than {} MiB; is the file what it is taken for?",
                   file.string(), line, longest_record >> 20);
}

LineReader::LineReader(const std::filesystem::path& file) : file_(file), bytes_(open_bytes(file)) {}

bool LineReader::next(std::string& line) {
  line.clear();
  bool any = false;
  for (;;) {
    if (block_.empty()) block_ = bytes_->next();
    if (block_.empty()) break;
    any = true;
    const size_t end = block_.find('\n');
    line.append(block_.substr(0, end));
    check_record_length(line.size(), file_, number_ + 1);
    block_.remove_prefix(end == std::string_view::npos ? block_.size() : end + 1);
    if (end != std::string_view::npos) break;
  }
  if (any) ++number_;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return any;
}

}  // namespace ropesweep::data
