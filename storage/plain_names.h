// Names in a store become names of files (checkpoints/ID) and of HDF5 groups. A store may come from
// elsewhere: what could lead out of its directory is refused where records are taken in.
#pragma once

#include <string>

#include "storage/results.h"

namespace ropesweep {

/// Errors: user error when an id is no plain name, or a fine-tune's checkpoint does not lie below
/// the store's directory.
void check_names(const CellRecord& record);
void check_names(const FineTuneRecord& record);

}  // namespace ropesweep
