// Why each pending cell and fine-tune waits.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "analysis/status.h"

namespace ropesweep {

/// By id: what the run that goes on says of its tasks (`live`); of what it doesn't name, since it
/// names a few of very many, and when none goes on, what the store tells.
std::map<std::string, std::string> why_cells_wait(const StoreContents& contents,
                                                  const std::optional<LiveView>& live);

}  // namespace ropesweep
