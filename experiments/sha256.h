// SHA-256 of what comes piece by piece.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <string>

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

  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_, digest.data(), nullptr);
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  EVP_MD_CTX* context_;
};

}  // namespace ropesweep
