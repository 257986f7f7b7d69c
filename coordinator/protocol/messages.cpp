// Messages as CBOR: [name, {fields}]. A message is believed only when every byte of it parses,
// every field is there with its type, and its nesting is that of a message.
#include "coordinator/protocol/messages.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>

#include "experiments/cbor_check.h"
#include "experiments/json_fields.h"

namespace ropesweep {

namespace {

using nlohmann::json;

/// Reads fields as JsonReader does, and wants each of them.
class RequiredFields {
 public:
  explicit RequiredFields(const json& fields) : fields_(fields), read_(fields) {}

  template <typename Value>
  void operator()(const char* name, Value& value) const {
    if (!fields_.contains(name)) throw_transient_error("JSON field \"{}\" is missing", name);
    read_(name, value);
  }

 private:
  const json& fields_;
  JsonReader read_;
};

/// The fields of each message, in the alternatives' order.
template <typename Message, typename Visitor>
void message_fields(Message& message, const Visitor& field) {
  using Kind = std::remove_const_t<Message>;
  if constexpr (std::is_same_v<Kind, Hello>) {
    field("host", message.host);
    field("device", message.device);
    field("pid", message.pid);
    field("local_rank", message.local_rank);
  } else if constexpr (std::is_same_v<Kind, RequestWork>) {
    field("loaded_weights", message.loaded_weights);
    field("assigned", message.assigned);
  } else if constexpr (std::is_same_v<Kind, Wait>) {
    field("seconds", message.seconds);
  } else if constexpr (std::is_same_v<Kind, Goodbye>) {
    field("reason", message.reason);
  } else if constexpr (std::is_same_v<Kind, CoordinatorAlive>) {
    field("host", message.host);
    field("pid", message.pid);
  } else if constexpr (std::is_same_v<Kind, Stop>) {
    field("save", message.save);
  } else {  // those about an attempt
    field("attempt", message.attempt);
    if constexpr (std::is_same_v<Kind, Heartbeat>) {
      field("fraction", message.fraction);
      field("what", message.what);
    } else if constexpr (std::is_same_v<Kind, Losses>) {
      field("so_far", message.so_far);
    } else if constexpr (std::is_same_v<Kind, Done>) {
      field("outcome", message.outcome);
      field("lost_member", message.lost_member);
      field("runner_ends", message.runner_ends);
      field("device_broken", message.device_broken);
    } else if constexpr (std::is_same_v<Kind, Assign>) {
      field("task", message.task);
      field("place", message.place);
      field("thrift", message.thrift);
      field("patience", message.patience);
      field("disk_patience", message.disk_patience);
    } else {
      static_assert(std::is_same_v<Kind, Acknowledge> || std::is_same_v<Kind, Abandon>);
    }
  }
}

}  // namespace

// Found by nlohmann::json, beside AttemptId.
void to_json(json& fields, const AttemptId& attempt) {
  const JsonWriter field(fields);
  field("task", attempt.task);
  field("number", attempt.number);
}

void from_json(const json& fields, AttemptId& attempt) {
  const RequiredFields field(fields);
  field("task", attempt.task);
  field("number", attempt.number);
}

namespace {

/// By the alternatives' order in Message.
constexpr std::array<std::string_view, std::variant_size_v<Message>> kNames = {
    "hello", "request_work", "heartbeat",         "done",    "goodbye", "assign",
    "wait",  "acknowledge",  "coordinator_alive", "abandon", "stop",    "losses"};

/// Deeper than any message (an outcome's measures lie six deep); the parser recurses.
constexpr int kMaximumDepth = 32;

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
    std::variant_alternative_t<I, Message> message;
    message_fields(message, RequiredFields(fields));
    return message;
  }
}

}  // namespace

std::vector<uint8_t> encode(const Message& message) {
  json fields;
  std::visit([&fields](const auto& body) { message_fields(body, JsonWriter(fields)); }, message);
  return json::to_cbor(json::array({std::string(kNames[message.index()]), std::move(fields)}));
}

Message decode(std::span<const uint8_t> bytes) {
  if (!is_plain_cbor(bytes, kMaximumDepth)) {
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
