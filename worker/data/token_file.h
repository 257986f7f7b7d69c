// A corpus' tokens in one file: what is tokenized once for all who need it.
//
//   header   256 bytes (TokenFileHeader)
//   ids      int32 [tokens], padded to 8 bytes
//   table    TokenDocument [documents]
//
// Little-endian, as all machines that this program runs on. The header has the digest of what
// follows it; it is written last, and the whole beside its name and renamed, so that a name never
// stands for a part.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "experiments/output_file.h"
#include "experiments/sha256.h"
#include "worker/data/token_corpus.h"

namespace ropesweep::data {

struct TokenFileHeader {
  char magic[16];  ///< "ropesweep tokens"
  uint32_t version, is_masked;
  int64_t tokens, documents, bad_records;
  char key[64];     ///< hex, of data, tokenizer and settings
  char digest[64];  ///< hex SHA-256 of ids, padding and table
  char unused[80];
};
static_assert(sizeof(TokenFileHeader) == 256);

/// A token file's place can't be written (another one may).
struct TokenFileError : FileError {
  using FileError::FileError;
};

/// Writes FILE.part-…, and FILE when it is finished; nothing stays when it isn't.
class TokenFileWriter : public TokenSink {
 public:
  /// Errors (of all calls): TokenFileError, transient, when the disk fails or is full.
  TokenFileWriter(std::filesystem::path file, std::string key);
  ~TokenFileWriter() override;
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  void add(std::span<const int32_t> ids) override;
  void end_document(int64_t index, uint64_t hash) override;
  /// Syncs and renames.
  void finish(int64_t bad_records, bool is_masked);

 private:
  using Stream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  void write(std::FILE* stream, const void* bytes, size_t count);
  void go_back(std::FILE* stream);
  void append_table();
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path file_, part_;
  std::string key_;
  Stream ids_, table_;  ///< the table waits in a file of its own, without a name
  Sha256 sha_;
  int64_t tokens_ = 0, documents_ = 0;
};

/// Maps a token file and checks header, sizes and key, and with `whole` its digest. Null with what
/// is wrong in `problem` when it is not what a writer with that key left, or isn't there.
std::shared_ptr<const TokenCorpus> open_token_file(const std::filesystem::path& file,
                                                   const std::string& key, bool whole,
                                                   std::string& problem);

}  // namespace ropesweep::data
