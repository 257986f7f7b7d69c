// The lists. Version 1 is the first of both: no steps yet.
#include "storage/migrations.h"

#include "storage/schema.h"

namespace ropesweep {
namespace {

constexpr std::span<const EventUpgrade> kEventUpgrades;
static_assert(kEventUpgrades.size() + 1 == kEventVersion, "a version needs its step");

constexpr std::span<const SchemaUpgrade> kSchemaUpgrades;
static_assert(kSchemaUpgrades.size() + 1 == kSchemaVersion, "a version needs its step");

}  // namespace

std::span<const EventUpgrade> event_upgrades() { return kEventUpgrades; }
std::span<const SchemaUpgrade> schema_upgrades() { return kSchemaUpgrades; }

void upgrade_contents(StoreContents& contents, int64_t version,
                      std::span<const SchemaUpgrade> upgrades) {
  for (size_t v = static_cast<size_t>(version); v <= upgrades.size(); ++v) {
    upgrades[v - 1](contents);
  }
}

}  // namespace ropesweep
