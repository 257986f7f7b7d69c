// Messages: CBOR as it comes, or, since bytes rarely make whole messages, JSON text turned into
// CBOR. What is read is written and read again.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/protocol/messages.h"
#include "fuzz.h"

using namespace ropesweep;

namespace {

void check(std::span<const uint8_t> bytes) {
  fuzz::accepted([&] {
    const Message message = decode(bytes);
    const std::vector<uint8_t> written = encode(message);
    fuzz::require(encode(decode(written)) == written, "a message survives the wire");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check({data, size});
  const std::string_view text = fuzz::text_of(data, size);
  if (!text.starts_with('[') || std::count(text.begin(), text.end(), '[') > 500) return 0;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_discarded()) check(nlohmann::json::to_cbor(json));
  return 0;
}
