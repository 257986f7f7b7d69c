// Added tokens, matched as the library's `AddedVocabulary::find_matches` does.
#include "worker/llama/added_tokens.h"

#include <algorithm>

#include "worker/llama/regex.h"
#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

constexpr int64_t largest_id = (1 << 24) - 1;

size_t before(std::string_view text, size_t at) {  // start of the character that ends at `at`
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool is_word_character(std::string_view character) {
  static const Regex word(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])");
  static thread_local Regex::Search search(word);
  size_t start = 0, end = 0;
  return search.find(character, 0, start, end);
}

bool stands_alone(std::string_view text, size_t start, size_t end) {
  if (start > 0) {
    const size_t last = before(text, start);
    if (is_word_character(text.substr(last, start - last))) return false;
  }
  return end == text.size() ||
         !is_word_character(text.substr(end, code_point_at(text, end).length));
}

size_t without_space_before(std::string_view text, size_t start) {
  while (start > 0) {
    const size_t last = before(text, start);
    if (!is_white_space(code_point_at(text, last).value)) break;
    start = last;
  }
  return start;
}

size_t without_space_after(std::string_view text, size_t end) {
  while (end < text.size()) {
    const CodePoint point = code_point_at(text, end);
    if (!is_white_space(point.value)) break;
    end += point.length;
  }
  return end;
}

AddedToken read_token(const JsonPlace& place) {
  AddedToken token;
  token.id = static_cast<int32_t>(place.at("id").integer(0, largest_id));
  token.text = place.at("content").string();
  token.special = place.boolean_or("special", false);
  token.single_word = place.boolean_or("single_word", false);
  token.lstrip = place.boolean_or("lstrip", false);
  token.rstrip = place.boolean_or("rstrip", false);
  token.normalized = place.boolean_or("normalized", !token.special);
  return token;
}

}  // namespace

AddedTokens::AddedTokens(const JsonPlace& tokens,
                         const std::unordered_map<std::string, int32_t>& vocabulary,
                         const Normalizer& normalizer)
    : plain_(1), normalized_(1) {
  std::unordered_set<int32_t> own_ids;
  for (const auto& [text, id] : vocabulary) own_ids.insert(id);
  const size_t count = tokens.is_null() ? 0 : tokens.size();
  for (size_t i = 0; i < count; ++i) {
    AddedToken token = read_token(tokens.at(i));
    if (token.text.empty()) continue;
    const auto known = vocabulary.find(token.text);
    if (known != vocabulary.end() && known->second != token.id) {
      tokens.at(i).at("id").fail(fmt::format("is {}, but the vocabulary says {} for '{}'", token.id,
                                             known->second, token.text));
    }
    if (known == vocabulary.end() && !own_ids.insert(token.id).second) {
      tokens.at(i).at("id").fail(fmt::format("{} is given twice", token.id));
    }
    tokens_.push_back(std::move(token));
  }
  for (const AddedToken& token : tokens_) {
    if (token.special) special_.insert(token.id);
    if (token.normalized) {
      insert(normalizer.normalize(token.text), token, normalized_);
    } else {
      insert(token.text, token, plain_);
    }
  }
}

void AddedTokens::insert(const std::string& text, const AddedToken& token, Trie& trie) {
  size_t node = 0;
  for (const char c : text) {
    const auto [child, is_new] =
        trie[node].children.try_emplace(static_cast<unsigned char>(c), trie.size());
    node = child->second;
    if (is_new) trie.emplace_back();
  }
  if (node != 0) trie[node].token = &token;
}

AddedTokens::Match AddedTokens::longest_match(const Trie& trie, std::string_view text, size_t at) {
  Match longest;
  size_t node = 0;
  while (at < text.size()) {
    const auto child = trie[node].children.find(static_cast<unsigned char>(text[at]));
    if (child == trie[node].children.end()) break;
    node = child->second;
    ++at;
    if (trie[node].token != nullptr) longest = {trie[node].token, at};
  }
  return longest;
}

void AddedTokens::split(
    std::string_view text, bool normalized,
    const std::function<void(std::string_view piece, std::optional<int32_t> id)>& take) const {
  const Trie& trie = normalized ? normalized_ : plain_;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie.front().children.empty();) {
    const auto [token, token_end] = longest_match(trie, text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t start = at, end = token_end;
    at = end;
    if (token->single_word && !stands_alone(text, start, end)) continue;
    if (token->lstrip) start = std::max(without_space_before(text, start), done);
    if (token->rstrip) end = without_space_after(text, end);
    if (done < start) take(text.substr(done, start - done), std::nullopt);
    take(text.substr(start, end - start), token->id);
    done = end;
  }
  if (done < text.size()) take(text.substr(done), std::nullopt);
}

}  // namespace ropesweep::llama
