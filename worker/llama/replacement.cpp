// Replacing by plain text and by expression.
#include "worker/llama/replacement.h"

#include <memory>
#include <stdexcept>

#include "worker/llama/regex.h"

namespace ropesweep::llama {
namespace {

std::string replace_text(std::string_view text, const std::string& from, const std::string& to) {
  std::string result;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos;) {
    result.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
  }
  return result.append(text.substr(at));
}

std::string replace_matches(std::string_view text, const Regex& regex, const std::string& to) {
  Regex::Search search(regex);
  std::string result;
  size_t done = 0, start = 0, end = 0;
  while (done < text.size() && search.find(text, done, start, end) && end > start) {
    result.append(text.substr(done, start - done)).append(to);
    done = end;
  }
  return result.append(text.substr(done));
}

}  // namespace

std::function<std::string(std::string_view)> read_replacement(const JsonPlace& place) {
  const JsonPlace pattern = place.at("pattern");
  std::string to = place.at("content").string();
  if (pattern.has("Regex")) {
    try {
      const auto regex = std::make_shared<const Regex>(pattern.at("Regex").string());
      return [=](std::string_view text) { return replace_matches(text, *regex, to); };
    } catch (const std::invalid_argument& error) {
      pattern.at("Regex").fail(error.what());
    }
  }
  std::string from = pattern.at("String").string();
  if (from.empty()) pattern.fail("is empty");
  return [=](std::string_view text) { return replace_text(text, from, to); };
}

}  // namespace ropesweep::llama
