// Writing beside and renaming; mapping and not believing.
#include "worker/data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "experiments/error.h"
#include "experiments/host_name.h"
#include "experiments/owned_descriptor.h"

namespace ropesweep::data {
namespace {

constexpr std::string_view magic = "ropesweep tokens";
constexpr uint32_t version = 1;

int64_t padding_of(int64_t tokens) { return tokens % 2 * 4; }

int64_t file_bytes(const TokenFileHeader& header) {
  return static_cast<int64_t>(sizeof(header)) + header.tokens * 4 + padding_of(header.tokens) +
         header.documents * static_cast<int64_t>(sizeof(TokenDocument));
}

/// A file that is mapped as long as the corpus lives.
class MappedCorpus : public TokenCorpus {
 public:
  MappedCorpus(void* start, size_t bytes) : start_(start), bytes_(bytes) {}
  ~MappedCorpus() override { ::munmap(start_, bytes_); }
  MappedCorpus(const MappedCorpus&) = delete;
  MappedCorpus& operator=(const MappedCorpus&) = delete;

  const char* bytes() const { return static_cast<const char*>(start_); }
  TokenFileHeader header() const {
    TokenFileHeader header;
    std::memcpy(&header, start_, sizeof(header));
    return header;
  }

  /// What is wrong; empty: nothing.
  std::string check(const std::string& key) const {
    if (bytes_ < sizeof(TokenFileHeader)) return "it is cut short";
    const TokenFileHeader h = header();
    if (std::string_view(h.magic, sizeof(h.magic)) != magic) return "it is no token file";
    if (h.version != version) return "it is of another version";
    if (std::string_view(h.key, std::min(key.size(), sizeof(h.key))) != key) {
      return "it is of other data, another tokenizer or other settings";
    }
    const auto most = static_cast<int64_t>(bytes_);
    const bool sizes = h.tokens >= 0 && h.documents >= 0 && h.tokens <= most && h.documents <= most;
    if (!sizes || file_bytes(h) != most) return "its size is not what its header says";
    return "";
  }

  void lay_out() {
    const TokenFileHeader h = header();
    const char* const ids = bytes() + sizeof(h);
    const char* const table = ids + h.tokens * 4 + padding_of(h.tokens);
    ids_ = {reinterpret_cast<const int32_t*>(ids), static_cast<size_t>(h.tokens)};
    table_ = {reinterpret_cast<const TokenDocument*>(table), static_cast<size_t>(h.documents)};
    bad_records_ = h.bad_records;
    is_masked_ = h.is_masked != 0;
  }

  bool has_its_digest() const {
    const TokenFileHeader h = header();
    Sha256 sha;
    constexpr size_t block = size_t{1} << 22;
    for (size_t at = sizeof(h); at < bytes_; at += block) {
      const size_t count = std::min(block, bytes_ - at);
      sha.add(bytes() + at, count);
      // What was read for the check needn't stay.
      const size_t page = at - sizeof(h);
      ::madvise(static_cast<char*>(start_) + page, std::min(block, bytes_ - page), MADV_DONTNEED);
    }
    int64_t end = 0;
    for (const TokenDocument& document : table_) {
      if (document.end < end) return false;
      end = document.end;
    }
    return end == tokens() && sha.hex() == std::string_view(h.digest, sizeof(h.digest));
  }

 private:
  void* start_;
  size_t bytes_;
};

}  // namespace

TokenFileWriter::TokenFileWriter(std::filesystem::path file, std::string key)
    : file_(std::move(file)),
      part_(file_.string() + fmt::format(".part-{}-{}", host_name(), ::getpid())),
      key_(std::move(key)),
      ids_(std::fopen(part_.c_str(), "wbe"), &std::fclose),
      table_(nullptr, &std::fclose) {
  if (!ids_) fail("can't be written");
  const std::string table = part_.string() + "-table";
  table_.reset(std::fopen(table.c_str(), "w+be"));
  if (!table_) fail("can't be written");
  ::unlink(table.c_str());
  const TokenFileHeader nothing{};
  if (std::fwrite(&nothing, sizeof(nothing), 1, ids_.get()) != 1) fail("can't be written");
}

TokenFileWriter::~TokenFileWriter() {
  if (!part_.empty()) ::unlink(part_.c_str());
}

void TokenFileWriter::fail(const char* what) const {
  const int error = errno;
  throw TokenFileError(
      error,
      fmt::format("{}: {}: {} (is there room? ROPESWEEP_TOKEN_CACHE names another directory)",
                  part_.string(), what, std::strerror(error)));
}

void TokenFileWriter::write(std::FILE* stream, const void* bytes, size_t count) {
  if (count > 0 && std::fwrite(bytes, 1, count, stream) != count) fail("can't be written");
}

void TokenFileWriter::add(std::span<const int32_t> ids) {
  write(ids_.get(), ids.data(), ids.size_bytes());
  sha_.add(ids.data(), ids.size_bytes());
  tokens_ += static_cast<int64_t>(ids.size());
}

void TokenFileWriter::end_document(int64_t index, uint64_t hash) {
  const TokenDocument document = {tokens_, index, hash};
  write(table_.get(), &document, sizeof(document));
  ++documents_;
}

/// To its begin; rewind() would hide that what is buffered could not be written.
void TokenFileWriter::go_back(std::FILE* stream) {
  if (std::fflush(stream) != 0 || std::fseek(stream, 0, SEEK_SET) != 0) fail("can't be written");
}

void TokenFileWriter::append_table() {
  go_back(table_.get());
  std::vector<char> block(size_t{1} << 16);
  for (size_t count = 0; (count = std::fread(block.data(), 1, block.size(), table_.get())) > 0;) {
    write(ids_.get(), block.data(), count);
    sha_.add(block.data(), count);
  }
  if (std::ferror(table_.get()) != 0) fail("can't be read back");
}

void TokenFileWriter::finish(int64_t bad_records, bool is_masked) {
  const std::array<char, 4> padding{};
  const auto padded = static_cast<size_t>(padding_of(tokens_));
  write(ids_.get(), padding.data(), padded);
  sha_.add(padding.data(), padded);
  append_table();
  TokenFileHeader header{};
  std::copy(magic.begin(), magic.end(), header.magic);
  header.version = version;
  header.is_masked = is_masked ? 1 : 0;
  header.tokens = tokens_;
  header.documents = documents_;
  header.bad_records = bad_records;
  key_.copy(header.key, sizeof(header.key));
  sha_.hex().copy(header.digest, sizeof(header.digest));
  go_back(ids_.get());
  write(ids_.get(), &header, sizeof(header));
  if (std::fflush(ids_.get()) != 0 || ::fsync(::fileno(ids_.get())) != 0) fail("can't be synced");
  if (::rename(part_.c_str(), file_.c_str()) != 0) fail("can't be renamed");
  part_.clear();
}

std::shared_ptr<const TokenCorpus> open_token_file(const std::filesystem::path& file,
                                                   const std::string& key, bool whole,
                                                   std::string& problem) {
  const OwnedDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  problem = "it can't be read";
  if (descriptor.get() < 0 || error || bytes == 0) return nullptr;
  void* const start = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (start == MAP_FAILED) return nullptr;
  const auto corpus = std::make_shared<MappedCorpus>(start, bytes);
  problem = corpus->check(key);
  if (!problem.empty()) return nullptr;
  corpus->lay_out();
  if (whole && !corpus->has_its_digest()) problem = "its content is damaged";
  return problem.empty() ? corpus : nullptr;
}

}  // namespace ropesweep::data
