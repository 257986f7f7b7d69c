// Pre-tokenizers as steps of one kind: a regular expression and what becomes of its matches.
// A piece goes through all steps before the next piece is cut, so nothing is copied.
#include "worker/llama/pre_tokenizer.h"

#include <map>
#include <stdexcept>
#include <string>

#include "worker/llama/growth.h"

namespace ropesweep::llama {
namespace {

constexpr int deepest_sequence = 8;
// Radford et al. 2019, encoder.py.
constexpr const char* byte_level_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Cuts nothing: one match takes the whole piece.
constexpr const char* whole_pattern = R"((?s).+)";

SplitBehavior behavior_of(const JsonPlace& place) {
  static const std::map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  const auto found = behaviors.find(place.string());
  if (found == behaviors.end()) place.fail(fmt::format("unknown behavior '{}'", place.string()));
  return found->second;
}

Regex compile(const JsonPlace& place, const std::string& pattern, bool literal) {
  try {
    return Regex(pattern, literal);
  } catch (const std::invalid_argument& error) {
    place.fail(error.what());
  }
}

struct Range {
  size_t start, end;
  bool match;
};

/// Joins matches with their neighbours as the behaviour says (`NormalizedString::split`).
void join(std::vector<Range>& ranges, SplitBehavior behavior) {
  std::vector<Range> joined;
  const auto add = [&joined](const Range& range, bool to_last) {
    if (to_last && !joined.empty()) {
      joined.back().start = std::min(joined.back().start, range.start);
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  };
  bool after_match = false;
  if (behavior == SplitBehavior::merged_with_next) {
    for (auto range = ranges.rbegin(); range != ranges.rend(); ++range) {
      add(*range, range->match && !after_match);
      after_match = range->match;
    }
    ranges.assign(joined.rbegin(), joined.rend());
    return;
  }
  for (const Range& range : ranges) {
    const bool contiguous = behavior == SplitBehavior::contiguous;
    add(range, contiguous ? range.match == after_match : range.match && !after_match);
    after_match = range.match;
  }
  ranges = std::move(joined);
}

}  // namespace

/// Texts through the steps, with a search for each.
class PreTokenizer::Run {
 public:
  explicit Run(const std::vector<Step>& steps) : steps_(steps) {
    for (const Step& step : steps) searches_.push_back(std::make_unique<Regex::Search>(step.regex));
  }

  void split(std::string_view text, bool at_start,
             const std::function<void(std::string_view)>& take) {
    take_ = &take;
    text_bytes_ = text.size();
    cut(0, text, at_start);
  }

 private:
  void cut(size_t level, std::string_view piece, bool at_start) {
    if (piece.empty()) return;
    if (level == steps_.size()) return (*take_)(piece);
    const Step& step = steps_[level];
    if (step.prefix == Prefix::never && step.space == " ") return cut_at(level, piece, at_start);
    const std::string changed = with_spaces(step, piece, at_start);
    cut_at(level, changed, at_start);
  }

  std::string with_spaces(const Step& step, std::string_view piece, bool at_start) const {
    std::string changed;
    for (const char c : piece) {
      if (c == ' ') {
        changed += step.space;
      } else {
        changed += c;
      }
    }
    const bool prefixed =
        step.prefix == Prefix::always || (step.prefix == Prefix::first && at_start);
    if (prefixed && !changed.starts_with(step.space)) changed.insert(0, step.space);
    check_growth(text_bytes_, changed.size());
    return changed;
  }

  void cut_at(size_t level, std::string_view piece, bool at_start) {
    const Step& step = steps_[level];
    const bool streams =
        step.behavior == SplitBehavior::isolated || step.behavior == SplitBehavior::removed;
    std::vector<Range> ranges;
    const auto put = [&](size_t start, size_t end, bool match) {
      if (!streams) {
        ranges.push_back({start, end, match != step.invert});
      } else if (match == step.invert || step.behavior == SplitBehavior::isolated) {
        cut(level + 1, piece.substr(start, end - start), at_start && start == 0);
      }
    };
    size_t done = 0, from = 0, start = 0, end = 0;
    while (from <= piece.size() && searches_[level]->find(piece, from, start, end)) {
      if (start > done) put(done, start, false);
      put(start, end, true);
      done = end;
      from = end > start ? end : next_character(piece, end);
    }
    if (done < piece.size()) put(done, piece.size(), false);
    if (streams) return;
    join(ranges, step.behavior);
    for (const Range& range : ranges) {
      cut(level + 1, piece.substr(range.start, range.end - range.start),
          at_start && range.start == 0);
    }
  }

  static size_t next_character(std::string_view text, size_t at) {
    do {
      ++at;
    } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    return at;
  }

  const std::vector<Step>& steps_;
  const std::function<void(std::string_view)>* take_ = nullptr;
  size_t text_bytes_ = 0;
  std::vector<std::unique_ptr<Regex::Search>> searches_;
};

PreTokenizer::PreTokenizer(const JsonPlace& pre_tokenizer) {
  if (!pre_tokenizer.is_null()) read(pre_tokenizer, 0);
}

void PreTokenizer::read(const JsonPlace& place, int depth) {
  if (byte_level_) place.fail("follows ByteLevel, which must be the last");
  if (depth > deepest_sequence) place.fail("sequences are nested too deeply");
  const std::string& type = place.at("type").string();
  if (type == "Sequence") {
    const JsonPlace parts = place.at("pretokenizers");
    for (size_t i = 0; i < parts.size(); ++i) read(parts.at(i), depth + 1);
  } else if (type == "ByteLevel") {
    read_byte_level(place);
  } else if (type == "Split") {
    read_split(place);
  } else if (type == "Metaspace") {
    read_metaspace(place);
  } else if (type == "Digits") {
    const bool individual = place.boolean_or("individual_digits", false);
    steps_.push_back(
        {Regex(R"(\p{N})"), individual ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else {
    place.at("type").fail(
        fmt::format("'{}' is not supported; expected ByteLevel, Metaspace, Split, Digits or a "
                    "Sequence of these",
                    type));
  }
}

void PreTokenizer::read_split(const JsonPlace& place) {
  const JsonPlace pattern = place.at("pattern");
  const bool literal = pattern.has("String");
  const JsonPlace text = pattern.at(literal ? "String" : "Regex");
  steps_.push_back({compile(text, text.string(), literal), behavior_of(place.at("behavior")),
                    place.boolean_or("invert", false)});
}

void PreTokenizer::read_byte_level(const JsonPlace& place) {
  const bool prefixed = place.boolean_or("add_prefix_space", true);
  const bool cuts = place.boolean_or("use_regex", true);
  steps_.push_back({Regex(cuts ? byte_level_pattern : whole_pattern), SplitBehavior::isolated,
                    false, " ", prefixed ? Prefix::always : Prefix::never});
  byte_level_ = true;
}

void PreTokenizer::read_metaspace(const JsonPlace& place) {
  static const std::map<std::string, Prefix> schemes = {
      {"never", Prefix::never}, {"first", Prefix::first}, {"always", Prefix::always}};
  const std::string& space = place.at("replacement").string();
  if (space.empty()) place.at("replacement").fail("is empty");
  Prefix prefix = Prefix::always;
  if (place.has("prepend_scheme")) {
    const JsonPlace scheme = place.at("prepend_scheme");
    const auto found = schemes.find(scheme.string());
    if (found == schemes.end()) scheme.fail(fmt::format("unknown scheme '{}'", scheme.string()));
    prefix = found->second;
  }
  if (!place.boolean_or("add_prefix_space", true)) prefix = Prefix::never;  // files before 2024
  if (place.boolean_or("split", true)) {
    steps_.push_back({Regex(space, true), SplitBehavior::merged_with_next, false, space, prefix});
  } else {
    steps_.push_back({Regex(whole_pattern), SplitBehavior::isolated, false, space, prefix});
  }
}

PreTokenizer::Cutter::Cutter(const PreTokenizer& pre_tokenizer)
    : run_(std::make_unique<Run>(pre_tokenizer.steps_)) {}

PreTokenizer::Cutter::~Cutter() = default;

void PreTokenizer::Cutter::split(std::string_view text, bool at_start,
                                 const std::function<void(std::string_view)>& take) {
  run_->split(text, at_start, take);
}

}  // namespace ropesweep::llama
