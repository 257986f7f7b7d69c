// Writing and checking a seal.
#include "storage/file_seal.h"

#include <zlib.h>

#include <cstring>

#include "storage/journal_format.h"

namespace ropesweep {
namespace {

constexpr char kMagic[8] = {'r', 'o', 'p', 'e', 's', 'w', 'p', 'E'};
constexpr size_t kLengthOffset = 8, kCrcOffset = 16, kSealBytes = 20;

/// Of the bytes and the length field after them.
uint32_t seal_crc(std::span<const uint8_t> sealed, const uint8_t* length_field) {
  const uLong crc = crc32_z(0, sealed.data(), sealed.size());
  return static_cast<uint32_t>(crc32_z(crc, length_field, 8));
}

}  // namespace

void seal_file(std::vector<uint8_t>& bytes) {
  const size_t length = bytes.size();
  bytes.resize(length + kSealBytes);
  uint8_t* seal = bytes.data() + length;
  std::memcpy(seal, kMagic, sizeof kMagic);
  put_u64(seal + kLengthOffset, length);
  put_u32(seal + kCrcOffset, seal_crc(std::span(bytes).first(length), seal + kLengthOffset));
}

Seal check_seal(std::span<const uint8_t> bytes) {
  if (bytes.size() < kSealBytes) return Seal::none;
  const size_t length = bytes.size() - kSealBytes;
  const uint8_t* seal = bytes.data() + length;
  if (std::memcmp(seal, kMagic, sizeof kMagic) != 0) return Seal::none;
  const bool whole =
      get_u64(seal + kLengthOffset) == length &&
      get_u32(seal + kCrcOffset) == seal_crc(bytes.first(length), seal + kLengthOffset);
  return whole ? Seal::whole : Seal::broken;
}

}  // namespace ropesweep
