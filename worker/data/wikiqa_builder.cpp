// Short-answer questions over synthetic-wiki documents, placed as the published WikiQA places them
// (Abacus.AI's FFQA: 10 % at either end count as start and end).
#include <algorithm>
#include <vector>

#include "experiments/error.h"
#include "worker/data/question_layout.h"
#include "worker/data/random.h"
#include "worker/data/record_builder.h"
#include "worker/data/wiki_writer.h"
#include "worker/data/wikiqa_text.h"

namespace ropesweep::data {
namespace {

constexpr int64_t permille = 1000, edge_permille = 100;
constexpr size_t shortest_answer = 3;  ///< characters; shorter ones are hit by chance

/// Where the fact goes, in 1/1000 of the document's tokens.
int64_t draw_depth(Random& random, AnswerPlace place) {
  switch (place) {
    case AnswerPlace::start:
      return random.below(edge_permille);
    case AnswerPlace::end:
      return random.between(permille - edge_permille, permille);
    default:
      return random.between(edge_permille, permille - edge_permille - 1);
  }
}

/// A document's pieces with the token count up to each.
struct Pieces {
  std::vector<std::string> texts;
  std::vector<int64_t> tokens_before;

  /// The piece before which `depth` thousandths of the first `count` pieces' tokens stand.
  size_t at_depth(size_t count, int64_t depth) const {
    const int64_t target = tokens_before[count] * depth / permille;
    const auto end = tokens_before.begin() + static_cast<std::ptrdiff_t>(count);
    return static_cast<size_t>(std::lower_bound(tokens_before.begin(), end, target) -
                               tokens_before.begin());
  }
};

std::string document_of(const Pieces& pieces, size_t count, int64_t depth,
                        const std::string& fact) {
  const size_t place = pieces.at_depth(count, depth);
  std::string text;
  for (size_t i = 0; i <= count; ++i) {
    if (i == place) text += (text.empty() ? "" : " ") + fact;
    // The first piece has no space before it, and needs one where the fact goes first.
    if (i < count) text += (i == 0 && place == 0 ? " " : "") + pieces.texts[i];
  }
  return text;
}

class WikiqaBuilder : public RecordBuilder {
 public:
  WikiqaBuilder(const BuildOptions& options, const llama::Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {
    if (options.tokens < 1) throw_user_error("wikiqa: tokens must be positive");
  }

  nlohmann::ordered_json build(int64_t index) const override {
    const WikiQuestion made =
        make_wiki_question(Random(options_.seed, "wikiqa", index), tokenizer_, options_.tokens,
                           answer_place_of(index), question_first_of(index));
    nlohmann::ordered_json human = {
        {"from", "human"}, {"value", made.prompt}, {"tok_len", made.tokens}};
    nlohmann::ordered_json gpt = {{"from", "gpt"}, {"value", made.answer}};
    nlohmann::ordered_json record;
    record["conversations"] = nlohmann::ordered_json::array({human, gpt});
    return record;
  }

 private:
  BuildOptions options_;
  const llama::Tokenizer& tokenizer_;
};

}  // namespace

Fact fact_outside(WikiWriter& writer, const std::string& document, bool numeric) {
  for (;;) {
    Fact fact = writer.unstated_fact();
    if (numeric && fact.relation->most == 0) continue;
    const bool elsewhere = document.find(fact.value) != std::string::npos ||
                           fact.subject.find(fact.value) != std::string::npos;
    if (!elsewhere && fact.value.size() >= shortest_answer) return fact;
  }
}

WikiQuestion make_wiki_question(Random random, const llama::Tokenizer& tokenizer, int64_t limit,
                                AnswerPlace place, bool question_first) {
  const int64_t depth = draw_depth(random, place);
  WikiWriter writer(Random(random.next(), "document", 0), 0);
  Pieces pieces{{}, {0}};
  std::string document;
  while (pieces.tokens_before.back() < limit) {
    pieces.texts.push_back(writer.next());
    document += pieces.texts.back();
    const auto tokens = static_cast<int64_t>(tokenizer.encode(pieces.texts.back(), false).size());
    pieces.tokens_before.push_back(pieces.tokens_before.back() + tokens);
  }
  const Fact fact = fact_outside(writer, document);
  const std::string sentence = statement(fact, random);
  const auto prompt_with = [&](size_t count) {
    return question_prompt(QuestionWording::plain, question_first,
                           document_of(pieces, count, depth, sentence), question(fact));
  };
  // All pieces are more than fit; what the fact and the question take goes off the end.
  size_t count = pieces.texts.size();
  for (;;) {
    std::string prompt = prompt_with(count);
    const int64_t tokens = count_tokens(tokenizer, prompt);
    if (tokens <= limit) return {std::move(prompt), fact.value, tokens};
    if (count == 0) {
      throw_user_error(
          "wikiqa: the shortest prompt has {} tokens, but only {} fit: ask for a longer "
          "context",
          tokens, limit);
    }
    const int64_t kept = pieces.tokens_before[count] - (tokens - limit);
    while (count > 0 && pieces.tokens_before[count] > kept) --count;
  }
}

std::unique_ptr<RecordBuilder> wikiqa_builder(const BuildOptions& options,
                                              const llama::Tokenizer& tokenizer) {
  return std::make_unique<WikiqaBuilder>(options, tokenizer);
}

}  // namespace ropesweep::data
