// An HDF5 file that is made in memory and handed over as bytes, complete and closed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "storage/handle.h"

namespace ropesweep {

/// Makes a file, lets `fill` write into it, closes it and returns its bytes. (H5Fget_file_image is
/// no way to them: HDF5 1.10 clears a flag of the image's superblock and leaves its checksum
/// stale.) Errors: transient when HDF5 fails; whatever `fill` throws.
std::vector<uint8_t> hdf5_file_in_memory(const std::function<void(hid_t file)>& fill);

}  // namespace ropesweep
