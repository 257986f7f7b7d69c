// Events to bytes and back, and the seam where records of older versions are upgraded.
#include "experiments/cbor_check.h"
#include "experiments/error.h"
#include "storage/state.h"

namespace ropesweep {
namespace {

constexpr int kDeepestEvent = 64;

}  // namespace

std::vector<uint8_t> encode_event(const nlohmann::json& event) {
  return nlohmann::json::to_cbor(nlohmann::json::array({kEventVersion, event}));
}

int event_version(std::span<const uint8_t> record) {
  // CBOR: an array of two, then a whole number below 24 in one byte.
  return record.size() > 2 && record[0] == 0x82 && record[1] < 24 ? record[1] : 0;
}

nlohmann::json decode_event(std::span<const uint8_t> record, const std::string& source) {
  return decode_event(record, source, event_upgrades());
}

nlohmann::json decode_event(std::span<const uint8_t> record, const std::string& source,
                            std::span<const EventUpgrade> upgrades) {
  const int newest = static_cast<int>(upgrades.size()) + 1;
  if (!is_plain_cbor(record, kDeepestEvent)) {
    throw_transient_error("{}: a record is no CBOR of ours; see 'ropesweep check'", source);
  }
  nlohmann::json versioned;
  try {
    versioned = nlohmann::json::from_cbor(record.begin(), record.end());
  } catch (const nlohmann::json::exception& error) {
    throw_transient_error("{}: a record is not CBOR: {}", source, error.what());
  }
  if (!versioned.is_array() || versioned.size() != 2 || !versioned[0].is_number_integer()) {
    throw_transient_error("{}: a record is not [version, event]", source);
  }
  const auto version = versioned[0].get<int64_t>();
  if (version < 1 || version > newest) {
    throw_user_error(
        "{}: holds records of version {}, this ropesweep reads up to {}; use the version that "
        "wrote "
        "them",
        source, version, newest);
  }
  nlohmann::json event = std::move(versioned[1]);
  for (int64_t v = version; v < newest; ++v) upgrades[static_cast<size_t>(v) - 1](event);
  return event;
}

}  // namespace ropesweep
