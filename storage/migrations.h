// How what older versions wrote becomes what this one reads: two lists of functions, each from one
// version to the next. A change of meaning raises the version and adds a function here; what is
// only added (a field of an event, an optional column) needs neither. Older records are upgraded as
// they are read; a run writes such a journal anew at its start (compaction.h).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "storage/results.h"

namespace ropesweep {

/// The version of the events' meaning, carried by each record of the journal.
inline constexpr int kEventVersion = 1;

/// upgrades[v − 1] turns an event of version v into one of version v + 1.
using EventUpgrade = void (*)(nlohmann::json& event);
std::span<const EventUpgrade> event_upgrades();

/// upgrades[v − 1] turns what a published file of schema version v says into what one of version
/// v + 1 would.
using SchemaUpgrade = void (*)(StoreContents& contents);
std::span<const SchemaUpgrade> schema_upgrades();

/// Applies the upgrades that lead from `version` on.
void upgrade_contents(StoreContents& contents, int64_t version,
                      std::span<const SchemaUpgrade> upgrades);

}  // namespace ropesweep
