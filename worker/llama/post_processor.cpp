// Template post-processing for a single text: what stands before and after it.
#include "worker/llama/post_processor.h"

#include <string>

namespace ropesweep::llama {
namespace {

constexpr int deepest_sequence = 8;
constexpr int64_t largest_id = (1 << 24) - 1;

/// The ids of a template's special token, from the post-processor's own table.
std::vector<int32_t> special_ids(const JsonPlace& processor, const JsonPlace& token) {
  const JsonPlace table = processor.at("special_tokens");
  if (!table.has(token.string())) token.fail("is not among special_tokens");
  const JsonPlace ids = table.at(token.string()).at("ids");
  std::vector<int32_t> result;
  for (size_t i = 0; i < ids.size(); ++i) {
    result.push_back(static_cast<int32_t>(ids.at(i).integer(0, largest_id)));
  }
  return result;
}

}  // namespace

PostProcessor::PostProcessor(const JsonPlace& post_processor) {
  if (!post_processor.is_null()) read(post_processor, 0);
}

void PostProcessor::read(const JsonPlace& place, int depth) {
  if (depth > deepest_sequence) place.fail("sequences are nested too deeply");
  const std::string& type = place.at("type").string();
  if (type == "Sequence") {
    const JsonPlace parts = place.at("processors");
    for (size_t i = 0; i < parts.size(); ++i) read(parts.at(i), depth + 1);
  } else if (type == "TemplateProcessing") {
    read_template(place);
  } else if (type != "ByteLevel") {
    place.at("type").fail(fmt::format(
        "'{}' is not supported; expected ByteLevel, TemplateProcessing or a Sequence of "
        "these",
        type));
  }
}

void PostProcessor::read_template(const JsonPlace& place) {
  const JsonPlace single = place.at("single");
  std::vector<int32_t> before, after;
  int texts = 0;
  for (size_t i = 0; i < single.size(); ++i) {
    const JsonPlace piece = single.at(i);
    if (piece.has("Sequence")) {
      ++texts;
      continue;
    }
    const auto ids = special_ids(place, piece.at("SpecialToken").at("id"));
    auto& side = texts > 0 ? after : before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (texts != 1) single.fail("expected the text exactly once");
  before_.insert(before_.begin(), before.begin(), before.end());
  after_.insert(after_.end(), after.begin(), after.end());
}

std::vector<int32_t> PostProcessor::add_special_tokens(std::vector<int32_t> ids) const {
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

std::vector<int32_t> PostProcessor::ids() const {
  std::vector<int32_t> all = before_;
  all.insert(all.end(), after_.begin(), after_.end());
  return all;
}

}  // namespace ropesweep::llama
