// The last bytes of a published file: a checksum of all before them. HDF5 reads to the end that its
// header tells and leaves what follows alone, so any reader opens a sealed file; whoever changes
// one in place (h5py with "r+") drops the seal. A file without a seal is read as it is.
//
// Seal: "ropeswpE" · u64 bytes before it · u32 CRC-32 of these bytes and of the u64. Little-endian.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

#include "experiments/owned_descriptor.h"

namespace ropesweep {

enum class Seal { none, whole, broken };

inline constexpr size_t kSealBytes = 20;

/// The seal of `length` bytes whose CRC-32 is `crc`.
std::array<uint8_t, kSealBytes> make_seal(uint64_t length, uint32_t crc);

/// Of a whole file, read in pieces. `broken`: some byte is not what was sealed. Errors: transient,
/// naming `path`.
Seal check_seal(const OwnedDescriptor& file, const std::filesystem::path& path);

}  // namespace ropesweep
