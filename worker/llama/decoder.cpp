// Decoders as steps over the tokens' texts, as the library's `decode_chain`.
#include "worker/llama/decoder.h"

#include <charconv>
#include <optional>

#include "worker/llama/byte_level_bpe.h"
#include "worker/llama/growth.h"
#include "worker/llama/replacement.h"
#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

constexpr int deepest_sequence = 8;
constexpr int64_t most_stripped = 1 << 20;

std::string joined(const std::vector<std::string>& tokens, std::string_view between = "") {
  return fmt::format("{}", fmt::join(tokens, between));
}

void byte_level(std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += bytes_of_characters(token).value_or(token);
  tokens = {replace_invalid_utf8(bytes)};
}

/// The byte of a token such as "<0x0A>".
std::optional<char> fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return {};
  uint8_t byte = 0;
  const char* const end = token.data() + 5;
  const auto parsed = std::from_chars(token.data() + 3, end, byte, 16);
  if (parsed.ec != std::errc() || parsed.ptr != end) return {};
  return static_cast<char>(byte);
}

/// Runs of byte tokens become text; a run that is no UTF-8, one U+FFFD a byte.
void byte_fallback(std::vector<std::string>& tokens) {
  std::vector<std::string> texts;
  std::string bytes;
  const auto finish_run = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      texts.push_back(bytes);
    } else {
      texts.insert(texts.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      bytes += *byte;
    } else {
      finish_run();
      texts.push_back(std::move(token));
    }
  }
  finish_run();
  tokens = std::move(texts);
}

/// Takes up to `start` times `content` off a token's beginning, up to `stop` times off its end.
void strip(std::string& token, std::string_view content, int64_t start, int64_t stop) {
  if (content.empty()) return;
  std::string_view rest = token;
  for (; start > 0 && rest.starts_with(content); --start) rest.remove_prefix(content.size());
  for (; stop > 0 && rest.ends_with(content); --stop) rest.remove_suffix(content.size());
  token = std::string(rest);
}

/// Replacements become spaces; those of the first token, which a prefix made, go.
void metaspace(std::vector<std::string>& tokens, const std::string& replacement, bool prefixed) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string text;
    for (size_t at = 0; at < tokens[i].size();) {
      if (tokens[i].compare(at, replacement.size(), replacement) != 0) {
        text += tokens[i][at++];
        continue;
      }
      if (i > 0 || !prefixed) text += ' ';
      at += replacement.size();
    }
    tokens[i] = std::move(text);
  }
}

size_t bytes_of(const std::vector<std::string>& tokens) {
  size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  return bytes;
}

}  // namespace

Decoder::Decoder(const JsonPlace& decoder) : spaced_(decoder.is_null()) {
  if (spaced_) return;
  byte_level_ = decoder.at("type").string() == "ByteLevel";
  read(decoder, 0);
}

void Decoder::read(const JsonPlace& place, int depth) {
  if (depth > deepest_sequence) place.fail("sequences are nested too deeply");
  const std::string& type = place.at("type").string();
  if (type == "Sequence") {
    const JsonPlace parts = place.at("decoders");
    for (size_t i = 0; i < parts.size(); ++i) read(parts.at(i), depth + 1);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(byte_level);
  } else if (type == "ByteFallback") {
    steps_.emplace_back(byte_fallback);
  } else if (type == "Fuse") {
    steps_.emplace_back([](std::vector<std::string>& tokens) { tokens = {joined(tokens)}; });
  } else if (type == "Replace") {
    steps_.emplace_back([replace = read_replacement(place)](std::vector<std::string>& tokens) {
      for (std::string& token : tokens) token = replace(token);
    });
  } else if (type == "Strip") {
    steps_.emplace_back(
        [content = place.at("content").string(),
         start = place.at("start").integer(0, most_stripped),
         stop = place.at("stop").integer(0, most_stripped)](std::vector<std::string>& tokens) {
          for (std::string& token : tokens) strip(token, content, start, stop);
        });
  } else if (type == "Metaspace") {
    if (place.at("replacement").string().empty()) place.at("replacement").fail("is empty");
    const bool prefixed = place.has("prepend_scheme")
                              ? place.at("prepend_scheme").string() != "never"
                              : place.boolean_or("add_prefix_space", true);
    steps_.emplace_back(
        [replacement = place.at("replacement").string(),
         prefixed](std::vector<std::string>& tokens) { metaspace(tokens, replacement, prefixed); });
  } else {
    place.at("type").fail(
        fmt::format("'{}' is not supported; expected ByteLevel, ByteFallback, Fuse, Metaspace, "
                    "Replace, Strip or a Sequence of these",
                    type));
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  if (spaced_) return replace_invalid_utf8(joined(tokens, " "));
  const size_t before = bytes_of(tokens);
  for (const Step& step : steps_) {
    step(tokens);
    check_growth(before, bytes_of(tokens));
  }
  return replace_invalid_utf8(joined(tokens));
}

}  // namespace ropesweep::llama
