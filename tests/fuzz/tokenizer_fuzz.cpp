// tokenizer.json, and after a zero byte the text that is encoded with it; after another one,
// tokenizer_config.json.
#include <vector>

#include "fuzz.h"
#include "worker/llama/tokenizer.h"
#include "worker/llama/utf8.h"

using namespace ropesweep;
using namespace ropesweep::llama;

namespace {

constexpr std::string_view usual_text = "It's 12 naïve <s>tokens\n\n\t of\u2581text \xff\xe2\x82";

void check(const Tokenizer& tokenizer, std::string_view text) {
  const int64_t vocabulary = tokenizer.vocabulary();
  for (const bool special : {false, true}) {
    fuzz::accepted([&] {
      const std::vector<int32_t> ids = tokenizer.encode(text, special);
      for (const int32_t id : ids) fuzz::require(id >= 0 && id < vocabulary, "ids are tokens");
      fuzz::require(is_valid_utf8(tokenizer.decode(ids, special)), "decoded text is UTF-8");
    });
  }
  static_cast<void>(tokenizer.decode({-1, 0, static_cast<int32_t>(vocabulary), 1 << 30}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file, config;
  static const fuzz::MemoryDirectory directory;
  static const bool once = [] {
    directory.name("tokenizer.json", file);
    directory.name("tokenizer_config.json", config);
    return true;
  }();
  static_cast<void>(once);
  std::string_view rest = fuzz::text_of(data, size);
  const auto part = [&rest] {
    const std::string_view taken = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(taken.size() + 1, rest.size()));
    return taken;
  };
  file.write(part());
  const std::string_view text = part();
  config.write(rest.empty() ? "{}" : rest);
  fuzz::accepted([&] {
    const auto tokenizer = read_tokenizer(directory.path());
    check(*tokenizer, usual_text);
    check(*tokenizer, text);
  });
  return 0;
}
