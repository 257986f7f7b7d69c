// Synthetic documents and their records. The mix exists because a small model learns to look things
// up only where queries are dense: its lines and passkey documents ask for much of what they hold.
#include "worker/data/synthetic_text.h"

#include <algorithm>

#include "experiments/error.h"
#include "worker/data/lines_text.h"
#include "worker/data/passkey_text.h"
#include "worker/data/random.h"
#include "worker/data/record_builder.h"
#include "worker/data/wiki_writer.h"
#include "worker/data/wikiqa_text.h"

namespace ropesweep::data {
namespace {

constexpr int64_t question_percent = 40;             ///< of the facts that a document tells again
constexpr int64_t most_questions = 8;                ///< kept with a synthetic-wiki record
constexpr int64_t shortest_question_document = 128;  ///< tokens; below, plain documents stand in

/// Appends what `next` gives until the text has `tokens` tokens: counted piece by piece first
/// (pieces may join at their seams), then as a whole.
template <typename Next>
std::string write_until(const llama::Tokenizer& tokenizer, int64_t tokens, const Next& next) {
  std::string text;
  int64_t counted = 0;
  while (counted < tokens) {
    while (counted < tokens) {
      const std::string piece = next();
      counted += static_cast<int64_t>(tokenizer.encode(piece, false).size());
      text += piece;
    }
    counted = static_cast<int64_t>(tokenizer.encode(text, false).size());
  }
  return text;
}

SyntheticDocument wiki_document(const llama::Tokenizer& tokenizer, int64_t tokens, Random random) {
  WikiWriter writer(random, question_percent);
  std::string text = write_until(tokenizer, tokens, [&] { return writer.next(); });
  return {std::move(text), "synthetic-wiki", writer.facts()};
}

/// Lines with questions for half of them, one after the other, in about `tokens` tokens. Short
/// pieces do without LongChat's header, so that even they hold a line and its question.
std::string lines_piece(const llama::Tokenizer& tokenizer, int64_t tokens, Random& random) {
  const auto names = random.next();
  LinesRecord record;
  record.add(line_name(0, names), random);
  const int64_t line_tokens = count_tokens(tokenizer, record.line(0));
  const int64_t question_tokens = count_tokens(tokenizer, record.question(0) + " 12345\n");
  int64_t room = tokens - question_tokens;
  const int64_t header_tokens = count_tokens(tokenizer, LinesRecord::header());
  const bool header = room >= 2 * header_tokens && random.chance(50);
  if (header) room -= header_tokens;
  const int64_t most_lines = std::max<int64_t>(1, 2 * room / (2 * line_tokens + question_tokens));
  const int64_t count = random.between((most_lines + 2) / 3, most_lines);
  for (int64_t i = 1; i < count; ++i) record.add(line_name(i, names), random);
  std::string text = (header ? LinesRecord::header() : "") + record.lines() + "\n";
  if (header) text += "Now the record is over. ";
  for (int64_t asked = 0; asked < 1 + count / 2; ++asked) {
    const int64_t i = random.below(count);
    text += record.question(i) + " " + std::to_string(record.number(i)) + "\n";
  }
  return text;
}

/// A key, filler around it, and the question with its answer, in about `tokens` tokens.
std::string passkey_piece(const llama::Tokenizer& tokenizer, int64_t tokens, Random& random) {
  PasskeyText text;
  text.key = random.between(10000, 99999);
  const std::string answer = " " + std::to_string(text.key) + ".\n";
  const int64_t bare_tokens = count_tokens(tokenizer, text.prompt() + answer);
  const int64_t task_tokens = count_tokens(tokenizer, PasskeyText::task);
  text.with_task = tokens >= 2 * bare_tokens || (tokens >= bare_tokens && random.chance(50));
  const int64_t room = tokens - bare_tokens + (text.with_task ? 0 : task_tokens);
  constexpr int64_t round_sentences = 5;
  const int64_t round_tokens = count_tokens(tokenizer, filler(round_sentences));
  const int64_t most = std::max<int64_t>(1, round_sentences * room / round_tokens);
  const int64_t sentences = random.below(most + 1);
  text.before = random.below(sentences + 1);
  text.after = sentences - text.before;
  return text.prompt() + answer;
}

std::string wikiqa_piece(const llama::Tokenizer& tokenizer, int64_t tokens, Random& random) {
  const auto place = static_cast<AnswerPlace>(random.below(3));
  const bool question_first = random.chance(50);
  const WikiQuestion made =
      make_wiki_question(Random(random.next(), "wikiqa", 0), tokenizer,
                         std::max(tokens, shortest_question_document), place, question_first);
  return made.prompt + " " + made.answer + ".\n";
}

SyntheticDocument mix_document(const BuildOptions& options, const llama::Tokenizer& tokenizer,
                               Random random) {
  const int64_t draw = random.below(100);
  const int64_t lines = options.lines_percent, passkey = lines + options.passkey_percent;
  const int64_t wikiqa = passkey + options.wikiqa_percent;
  if (draw < lines) {
    return {write_until(tokenizer, options.tokens,
                        [&] { return lines_piece(tokenizer, options.tokens, random); }),
            "lines",
            {}};
  }
  if (draw < passkey) {
    const auto next = [&] { return passkey_piece(tokenizer, options.tokens, random); };
    return {write_until(tokenizer, options.tokens, next), "passkey", {}};
  }
  if (draw < wikiqa && options.tokens >= shortest_question_document) {
    const auto next = [&] { return wikiqa_piece(tokenizer, options.tokens, random); };
    return {write_until(tokenizer, options.tokens, next), "wikiqa", {}};
  }
  return wiki_document(tokenizer, options.tokens, Random(random.next(), "document", 0));
}

class SyntheticBuilder : public RecordBuilder {
 public:
  SyntheticBuilder(const BuildOptions& options, const llama::Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {
    if (options.tokens < 1) throw_user_error("{}: tokens must be positive", options.kind);
    const auto shares = {options.lines_percent, options.passkey_percent, options.wikiqa_percent};
    int64_t sum = 0;
    for (const int64_t share : shares) {
      if (share < 0 || share > 100)
        throw_user_error("{}: shares are 0 to 100 percent", options.kind);
      sum += share;
    }
    if (sum > 100) throw_user_error("{}: the shares make {} percent, past 100", options.kind, sum);
  }

  nlohmann::ordered_json build(int64_t index) const override {
    const SyntheticDocument document = synthetic_document(options_, tokenizer_, index);
    nlohmann::ordered_json record = {{"text", document.text}};
    if (options_.kind == "synthetic-mix") {
      record["kind"] = document.kind;
      return record;
    }
    record["questions"] = nlohmann::ordered_json::array();
    Random random(options_.seed, "questions", index);
    const auto count = static_cast<int64_t>(document.facts.size());
    const uint64_t order = random.next();
    for (int64_t i = 0; i < std::min(count, most_questions); ++i) {
      const Fact& fact = document.facts[static_cast<size_t>(permuted(i, count, order))];
      record["questions"].push_back({{"question", question(fact)}, {"answer", fact.value}});
    }
    return record;
  }

 private:
  BuildOptions options_;
  const llama::Tokenizer& tokenizer_;
};

}  // namespace

SyntheticDocument synthetic_document(const BuildOptions& options, const llama::Tokenizer& tokenizer,
                                     int64_t index) {
  const Random random(options.seed, options.kind, index);
  if (options.kind == "synthetic-mix") return mix_document(options, tokenizer, random);
  return wiki_document(tokenizer, options.tokens, random);
}

std::unique_ptr<RecordBuilder> synthetic_builder(const BuildOptions& options,
                                                 const llama::Tokenizer& tokenizer) {
  return std::make_unique<SyntheticBuilder>(options, tokenizer);
}

}  // namespace ropesweep::data
