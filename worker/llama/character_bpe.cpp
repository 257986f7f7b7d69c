// The first symbols of a word: its characters, else their bytes, else the unknown token.
#include "worker/llama/character_bpe.h"

#include <algorithm>

#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

constexpr std::string_view space = "\u2581";

/// Whether merging never looks across the border of another character and a following "▁".
bool spaces_begin_words(const JsonPlace& merges) {
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto [left, right] = merge_texts(merges.at(i));
    if (right.starts_with(space) && !left.ends_with(space)) return false;
  }
  return true;
}

}  // namespace

CharacterBpe::CharacterBpe(const JsonPlace& model) : BpeModel(model) {
  byte_ids_.fill(-1);
  for (const auto& [text, id] : vocabulary()) {
    const CodePoint point = text.empty() ? CodePoint() : code_point_at(text, 0);
    if (point.length > 0 && point.length == text.size()) characters_.emplace(point.value, id);
  }
  if (model.boolean_or("byte_fallback", false)) {
    for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
      const auto found = vocabulary().find(fmt::format("<0x{:02X}>", byte));
      if (found != vocabulary().end()) byte_ids_[byte] = found->second;
    }
  }
  // Where a character may be left out altogether, those beside it meet.
  const bool none_left_out =
      unknown_id() >= 0 || std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  cuts_at_spaces_ = none_left_out && !ignores_merges() &&
                    vocabulary().contains(std::string(space)) &&
                    spaces_begin_words(model.at("merges"));
}

size_t CharacterBpe::part_end(std::string_view word, size_t from) const {
  if (!cuts_at_spaces_) return word.size();
  while (word.substr(from).starts_with(space)) from += space.size();
  return std::min(word.find(space, from), word.size());
}

int32_t CharacterBpe::id_of_word(std::string_view word) const {
  const auto found = vocabulary().find(std::string(word));
  return found == vocabulary().end() ? -1 : found->second;
}

bool CharacterBpe::append_bytes(std::string_view character, std::vector<int32_t>& symbols) const {
  const auto id_of = [this](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
  const bool known =
      std::all_of(character.begin(), character.end(), [&id_of](char c) { return id_of(c) >= 0; });
  if (known) std::transform(character.begin(), character.end(), std::back_inserter(symbols), id_of);
  return known;
}

void CharacterBpe::first_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  // As the library `tokenizers` has it: an unknown is held back until the next known character, so
  // that bytes of a fallback go before it.
  bool held = false;
  for (size_t at = 0; at < word.size();) {
    const CodePoint point = code_point_at(word, at);
    const auto found = characters_.find(point.value);
    if (found != characters_.end()) {
      if (held) symbols.push_back(unknown_id());
      held = false;
      symbols.push_back(found->second);
    } else if (!append_bytes(word.substr(at, point.length), symbols) && unknown_id() >= 0) {
      if (held && !fuses_unknown()) symbols.push_back(unknown_id());
      held = true;
    }
    at += point.length;
  }
  if (held) symbols.push_back(unknown_id());
}

}  // namespace ropesweep::llama
