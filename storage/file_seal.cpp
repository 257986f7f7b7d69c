// Writing and checking a seal.
#include "storage/file_seal.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "storage/journal_format.h"
#include "storage/posix_file.h"

namespace ropesweep {
namespace {

constexpr char kMagic[8] = {'r', 'o', 'p', 'e', 's', 'w', 'p', 'E'};
constexpr size_t kLengthOffset = 8, kCrcOffset = 16;
constexpr size_t kPieceBytes = size_t{256} << 10;

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

Seal check_seal(const OwnedDescriptor& file, const std::filesystem::path& path) {
  const int64_t bytes = file_size(file, path);
  const int64_t length = bytes - static_cast<int64_t>(kSealBytes);
  std::array<uint8_t, kSealBytes> seal{};
  if (length < 0 || read_at(file, length, seal, path) < kSealBytes) return Seal::none;
  if (std::memcmp(seal.data(), kMagic, sizeof kMagic) != 0) return Seal::none;
  if (get_u64(seal.data() + kLengthOffset) != static_cast<uint64_t>(length)) return Seal::broken;
  std::vector<uint8_t> piece(std::min<size_t>(static_cast<size_t>(length), kPieceBytes));
  uint32_t crc = 0;
  for (int64_t at = 0; at < length;) {
    const size_t wanted = std::min(piece.size(), static_cast<size_t>(length - at));
    const size_t read = read_at(file, at, {piece.data(), wanted}, path);
    if (read == 0) return Seal::broken;  // cut meanwhile
    crc = static_cast<uint32_t>(crc32_z(crc, piece.data(), read));
    at += static_cast<int64_t>(read);
  }
  const bool whole =
      get_u32(seal.data() + kCrcOffset) == seal_crc(crc, seal.data() + kLengthOffset);
  return whole ? Seal::whole : Seal::broken;
}

}  // namespace ropesweep
