// SHA-256 of what comes piece by piece.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <functional>
#include <istream>
#include <string>
#include <vector>

#include "experiments/error.h"

namespace ropesweep {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) != 1) {
      EVP_MD_CTX_free(context_);
      throw_transient_error("SHA-256 is not available from OpenSSL");
    }
  }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(const void* bytes, size_t count) { EVP_DigestUpdate(context_, bytes, count); }

  /// The rest of a stream, a block at a time; `after_block` is called behind each. Whether all of
  /// it could be read, the stream says.
  void add(std::istream& stream, const std::function<void()>& after_block = {}) {
    std::vector<char> block(size_t{1} << 16);
    while (stream.read(block.data(), static_cast<std::streamsize>(block.size())),
           stream.gcount() > 0) {
      add(block.data(), static_cast<size_t>(stream.gcount()));
      if (after_block) after_block();
    }
  }

  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_, digest.data(), nullptr);
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  EVP_MD_CTX* context_;
};

}  // namespace ropesweep
