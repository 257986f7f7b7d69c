// Writing and checking a seal.
#include "storage/file_seal.h"

#include <zlib.h>

#include <cstring>

#include "storage/journal_format.h"

namespace ropesweep {
namespace {

constexpr char kMagic[8] = {'r', 'o', 'p', 'e', 's', 'w', 'p', 'E'};
constexpr size_t kLengthOffset = 8, kCrcOffset = 16;

/// Of the bytes, whose CRC is `crc`, and the length field after them.
uint32_t seal_crc(uint32_t crc, const uint8_t* length_field) {
  return static_cast<uint32_t>(crc32_z(crc, length_field, 8));
}

}  // namespace

std::array<uint8_t, kSealBytes> make_seal(uint64_t length, uint32_t crc) {
  std::array<uint8_t, kSealBytes> seal{};
  std::memcpy(seal.data(), kMagic, sizeof kMagic);
  put_u64(seal.data() + kLengthOffset, length);
  put_u32(seal.data() + kCrcOffset, seal_crc(crc, seal.data() + kLengthOffset));
  return seal;
}

Seal check_seal(std::span<const uint8_t> bytes) {
  if (bytes.size() < kSealBytes) return Seal::none;
  const size_t length = bytes.size() - kSealBytes;
  const uint8_t* seal = bytes.data() + length;
  if (std::memcmp(seal, kMagic, sizeof kMagic) != 0) return Seal::none;
  if (get_u64(seal + kLengthOffset) != length) return Seal::broken;
  const auto crc = static_cast<uint32_t>(crc32_z(0, bytes.data(), length));
  const bool whole = get_u32(seal + kCrcOffset) == seal_crc(crc, seal + kLengthOffset);
  return whole ? Seal::whole : Seal::broken;
}

}  // namespace ropesweep
