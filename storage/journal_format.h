// The bytes of a journal (see journal.h), shared by its writer and its reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace ropesweep {

inline constexpr char kJournalMagic[8] = {'r', 'o', 'p', 'e', 's', 'w', 'p', 'J'};
inline constexpr size_t kVersionOffset = 8, kHeaderCrcOffset = 12, kIdentityOffset = 16;
inline constexpr size_t kIdentityBytes = 16, kHeaderBytes = 32;
inline constexpr uint32_t kFrameMagic = 0x46575352;  ///< "RSWF"
inline constexpr size_t kFrameHeaderBytes = 16, kRecordHeaderBytes = 4;
inline constexpr size_t kFrameCrcOffset = 4, kFrameLengthOffset = 8;

void put_u32(uint8_t* bytes, uint32_t value);
void put_u64(uint8_t* bytes, uint64_t value);
uint32_t get_u32(const uint8_t* bytes);
uint64_t get_u64(const uint8_t* bytes);

/// CRC-32 of a header's version and identity.
uint32_t header_crc(std::span<const uint8_t> header);
/// Its identity as 32 hex digits.
std::string header_identity(std::span<const uint8_t> header);

/// Fills in the header of a frame whose payload starts after kFrameHeaderBytes.
void seal_frame(std::span<uint8_t> frame);
/// CRC-32 of a frame's length field and payload.
uint32_t frame_crc(const uint8_t* length_field, std::span<const uint8_t> payload);

}  // namespace ropesweep
