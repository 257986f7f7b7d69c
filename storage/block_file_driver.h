// HDF5 over a BlockFile: a file driver of our own, so that a failing disk is our error and never a
// half-closed HDF5 file.
#pragma once

#include <cstdint>
#include <functional>

#include "storage/block_file.h"
#include "storage/handle.h"

namespace ropesweep {

/// Makes an HDF5 file in `blocks` (empty), lets `fill` write into it, closes it and returns its
/// length. Errors: what failed in `blocks`, else what `fill` throws; transient when HDF5 fails.
uint64_t make_hdf5_file(BlockFile& blocks, const std::function<void(hid_t file)>& fill);

}  // namespace ropesweep
