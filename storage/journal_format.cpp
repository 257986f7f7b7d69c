// Little-endian numbers and checksums of the journal.
#include "storage/journal_format.h"

#include <spdlog/fmt/fmt.h>
#include <zlib.h>

namespace ropesweep {

void put_u32(uint8_t* bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
}

void put_u64(uint8_t* bytes, uint64_t value) {
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
}

uint32_t get_u32(const uint8_t* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = (value << 8) | bytes[i];
  return value;
}

uint64_t get_u64(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | bytes[i];
  return value;
}

uint32_t header_crc(std::span<const uint8_t> header) {
  uLong crc = crc32_z(0, header.data() + kVersionOffset, 4);
  crc = crc32_z(crc, header.data() + kIdentityOffset, kIdentityBytes);
  return static_cast<uint32_t>(crc);
}

std::string header_identity(std::span<const uint8_t> header) {
  std::string text;
  for (const uint8_t byte : header.subspan(kIdentityOffset, kIdentityBytes)) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

void seal_frame(std::span<uint8_t> frame) {
  const std::span<const uint8_t> payload = frame.subspan(kFrameHeaderBytes);
  put_u32(frame.data(), kFrameMagic);
  put_u64(frame.data() + kFrameLengthOffset, payload.size());
  put_u32(frame.data() + kFrameCrcOffset, frame_crc(frame.data() + kFrameLengthOffset, payload));
}

uint32_t frame_crc(const uint8_t* length_field, std::span<const uint8_t> payload) {
  const uLong crc = crc32_z(0, length_field, 8);
  return static_cast<uint32_t>(crc32_z(crc, payload.data(), payload.size()));
}

}  // namespace ropesweep
