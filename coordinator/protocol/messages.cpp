// Messages as CBOR: [name, {fields}]. A message is believed only when every byte of it parses,
// every field is there with its type, and its nesting is that of a message.
#include "coordinator/protocol/messages.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>

namespace ropesweep {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AttemptId, task, number)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Hello, host, device, pid, local_rank)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RequestWork, loaded_weights)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Heartbeat, attempt, fraction, what)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Losses, attempt, so_far)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Done, attempt, outcome, lost_member)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Goodbye, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Assign, attempt, task, place)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Wait, seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Acknowledge, attempt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CoordinatorAlive, host, pid)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Abandon, attempt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Stop, save)

namespace {

using nlohmann::json;

/// By the alternatives' order in Message.
constexpr std::array<std::string_view, std::variant_size_v<Message>> kNames = {
    "hello", "request_work", "heartbeat",         "done",    "goodbye", "assign",
    "wait",  "acknowledge",  "coordinator_alive", "abandon", "stop",    "losses"};

/// Deeper than any message (an outcome's measures lie six deep); the parser recurses.
constexpr int kMaximumDepth = 32;

/// Walks the bytes without keeping anything: refuses what nests too deep before a tree is built.
class DepthCheck : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= kMaximumDepth; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(std::size_t) override { return ++depth_ <= kMaximumDepth; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  int depth_ = 0;
};

/// So many levels are harmless to any stack.
constexpr std::ptrdiff_t kHarmlessDepth = 256;

/// Bytes with which arrays and maps begin (0x80 … 0xbf) are at least as many as these nest; in a
/// message as they are sent there are few, and the walk is spared.
bool may_nest_deep(std::span<const uint8_t> bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](uint8_t byte) { return (byte & 0xc0U) == 0x80U; }) > kHarmlessDepth;
}

[[noreturn]] void throw_malformed(std::string_view what) {
  throw_transient_error("malformed message: {}", what);
}

/// The alternative whose name is kNames[I], or the next one's turn.
template <std::size_t I = 0>
Message message_from(std::string_view name, const json& fields) {
  if constexpr (I == std::variant_size_v<Message>) {
    throw_malformed(fmt::format("unknown name \"{}\"", name));
  } else {
    if (name != kNames[I]) {
      return message_from<I + 1>(name, fields);
    }
    return fields.get<std::variant_alternative_t<I, Message>>();
  }
}

}  // namespace

std::vector<uint8_t> encode(const Message& message) {
  json fields = std::visit([](const auto& body) { return json(body); }, message);
  return json::to_cbor(json::array({std::string(kNames[message.index()]), std::move(fields)}));
}

Message decode(std::span<const uint8_t> bytes) {
  DepthCheck depth;
  if (may_nest_deep(bytes) &&
      !json::sax_parse(bytes.begin(), bytes.end(), &depth, json::input_format_t::cbor)) {
    throw_malformed(fmt::format("{} bytes that are no CBOR of ours", bytes.size()));
  }
  try {
    const json whole = json::from_cbor(bytes.begin(), bytes.end());
    if (!whole.is_array() || whole.size() != 2 || !whole[0].is_string()) {
      throw_malformed("not a name with fields");
    }
    return message_from(whole[0].get_ref<const std::string&>(), whole[1]);
  } catch (const json::exception& error) {
    throw_malformed(error.what());
  }
}

}  // namespace ropesweep
