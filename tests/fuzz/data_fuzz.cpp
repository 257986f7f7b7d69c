// Data files. The first byte says what they are read as: documents, conversations, samples of a
// kind, or questions of a layout; gzip and zstd are recognised by their first bytes.
#include <algorithm>
#include <array>

#include "fuzz.h"
#include "worker/data/choice_question.h"
#include "worker/data/conversations.h"
#include "worker/data/record_reader.h"
#include "worker/data/sample_record.h"

using namespace ropesweep;
using namespace ropesweep::data;

namespace {

constexpr std::array<const char*, 3> kinds = {"lines", "passkey", "wikiqa"};
constexpr std::array<const char*, 5> layouts = {"", "arc", "hellaswag", "mmlu", "truthfulqa"};
constexpr std::array<std::string_view, 2> templates = {
    "{% for m in messages %}<|im_start|>system\nYou help<|im_end|>{% endfor %}",
    "<|start_header_id|>x<|end_header_id|>y<|eot_id|>"};

/// The promise of document.targets.
void check_targets(const Document& document) {
  size_t last = 0;
  for (const TextRange& range : document.targets) {
    fuzz::require(
        last <= range.first && range.first <= range.end && range.end <= document.text.size(),
        "targets lie within the text, in order");
    last = range.end;
  }
}

void take(uint8_t as, const Record& record, int64_t index) {
  if (as == 0) {
    static_cast<void>(record.text("text"));
  } else if (as == 1) {
    if (!is_conversation(record)) return;
    const Conversation conversation = read_conversation(record);
    fuzz::require(!conversation.turns.empty(), "a conversation has turns");
    for (const std::string_view chat : templates) check_targets(write_chat(chat, conversation));
  } else {
    static_cast<void>(sample_from_record(kinds[as - 2], record, index));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const fuzz::MemoryFile file;
  static const fuzz::MemoryDirectory directory;
  static const bool once = [] {
    directory.name("anatomy_test.csv", file);
    directory.name("questions.jsonl", file);
    return true;
  }();
  static_cast<void>(once);
  file.write(fuzz::text_of(data + 1, size - 1));
  const uint8_t as = data[0] % 11;
  const bool skips = data[0] >= 128;
  fuzz::accepted([&] {
    if (as < 5) {
      RecordReader reader(file.path(), skips);
      while (reader.next([as](const Record& record, int64_t index) { take(as, record, index); })) {
      }
    } else if (as < 10) {
      const auto read = read_questions((directory.path() / "questions.jsonl").string(),
                                       layouts[as - 5], skips, 0);
      for (const ChoiceQuestion& question : read.questions) {
        fuzz::require(question.answer >= 0 && question.answer < std::ssize(question.options),
                      "the answer is one of the options");
      }
    } else {
      static_cast<void>(
          read_questions((directory.path() / "anatomy_test.csv").string(), "", skips, 0));
    }
  });
  return 0;
}
