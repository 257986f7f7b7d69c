// Chat templates: Jinja programs that a checkpoint's tokenizer_config.json brings along.
#include "fuzz.h"
#include "worker/data/chat_template.h"

using namespace ropesweep;
using namespace ropesweep::data;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Conversation conversation = {
      .system = "Be brief.",
      .input = "",
      .turns = {{Speaker::user, "One?"}, {Speaker::assistant, "Two."}, {Speaker::user, "Three?"}}};
  fuzz::accepted([&] {
    const ChatTemplate chat(fuzz::text_of(data, size), "<s>", "</s>");
    const Document document = chat.write(conversation);
    for (const TextRange& range : document.targets) {
      fuzz::require(range.first <= range.end && range.end <= document.text.size(),
                    "targets lie within the text");
    }
  });
  return 0;
}
