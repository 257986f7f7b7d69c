// Files as a store needs them: every error names the file, nothing is half-written in silence, and
// what must survive a crash is synced, its directory too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "experiments/owned_descriptor.h"

namespace ropesweep {

/// open(2) with O_CLOEXEC; what it creates has the rights that the user's umask leaves. Errors:
/// transient, naming the file and the system's reason.
OwnedDescriptor open_file(const std::filesystem::path& path, int flags, unsigned mode = 0666);

/// Writes all bytes at `offset`, over short writes and interrupts. Errors: transient.
void write_at(const OwnedDescriptor& file, int64_t offset, std::span<const uint8_t> bytes,
              const std::filesystem::path& path);

/// Reads up to `bytes.size()` at `offset`; fewer only at the file's end. Returns the count. Errors:
/// transient.
size_t read_at(const OwnedDescriptor& file, int64_t offset, std::span<uint8_t> bytes,
               const std::filesystem::path& path);

int64_t file_size(const OwnedDescriptor& file, const std::filesystem::path& path);

/// The whole file. Errors: transient.
std::vector<uint8_t> read_file(const std::filesystem::path& path);

/// fdatasync. Errors: transient.
void sync_data(const OwnedDescriptor& file, const std::filesystem::path& path);

/// Cuts or extends (by zeros) the file. Errors: transient.
void resize_file(const OwnedDescriptor& file, int64_t bytes, const std::filesystem::path& path);

/// The file holds either its old or these bytes whatever happens: written beside, synced, renamed.
/// Errors: transient; the old file is untouched then and nothing is left beside it.
void replace_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

/// The same of what `write` writes into the empty file beside, whose name it gets. Errors: also
/// what `write` throws.
using FileWriter =
    std::function<void(const OwnedDescriptor& file, const std::filesystem::path& beside)>;
void replace_file(const std::filesystem::path& path, const FileWriter& write);

}  // namespace ropesweep
