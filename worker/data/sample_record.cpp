// The layouts of lines, passkey and WikiQA records.
#include "worker/data/sample_record.h"

#include <array>

#include "experiments/error.h"
#include "worker/data/wikiqa_text.h"

namespace ropesweep::data {
namespace {

std::string depth_text(double depth) { return fmt::format("{:.2f}", depth); }

Sample lines_sample(const Record& record, int64_t index) {
  Sample sample{index, record.text("prompt"), std::to_string(record.integer("expected_number")), "",
                ""};
  const bool placed = record.value().contains("random_idx") && record.value().contains("num_lines");
  const int64_t count = placed ? record.integer("num_lines") : 0;
  if (count > 0) {
    const int64_t line = record.integer("random_idx.1");
    sample.location = depth_text(static_cast<double>(line) / static_cast<double>(count));
  }
  return sample;
}

Sample passkey_sample(const Record& record, int64_t index) {
  const bool is_text =
      record.value().contains("reference") && record.value()["reference"].is_string();
  const std::string reference =
      is_text ? record.text("reference") : std::to_string(record.integer("reference"));
  const bool placed = record.value().contains("depth");
  return {index, record.text("prompt"), reference,
          placed ? depth_text(record.fraction("depth")) : std::string(), ""};
}

Sample wikiqa_sample(const Record& record, int64_t index) {
  static const std::array<const char*, 3> places = {"start", "random", "end"};
  return {index, record.text("conversations.0.value"), record.text("conversations.1.value"),
          places[static_cast<size_t>(answer_place_of(index))],
          question_first_of(index) ? "start" : "end"};
}

}  // namespace

Sample sample_from_record(const std::string& kind, const Record& record, int64_t index) {
  if (kind == "lines") return lines_sample(record, index);
  if (kind == "passkey") return passkey_sample(record, index);
  if (kind == "wikiqa") return wikiqa_sample(record, index);
  throw_user_error("kind '{}' has no samples; expected lines, passkey or wikiqa", kind);
}

}  // namespace ropesweep::data
