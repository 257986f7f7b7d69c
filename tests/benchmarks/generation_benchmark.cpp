// What answers cost beyond their prompts: samples of a retrieval evaluation on SmolLM2-135M's
// shape, with random weights, each answered to its last token; and the same samples' prompts alone.
//
//   generation_benchmark [--tokens N] [--samples N] [--new-tokens N] [--shared N] [--at-once N …]
//                        [--type f32|bf16] [--threads N] [--repeat N] [--portion N] [--profile]
//
// One JSON object a line: first the floor, in operations and bytes; then, for each --at-once (the
// sequences decoded together), seconds by the clock and of processor time, both as least of
// --repeat, and their ratios to those of the prompts alone. Passes are taken in turns, so that
// another program's load meets all; with --portion prompts at a time. --shared: tokens that all
// prompts begin with. --profile prints time by op of the last --at-once to standard error.
#include <sys/resource.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>

#include "tests/benchmarks/shapes.h"
#include "worker/backend/profile.h"
#include "worker/llama/byte_tokenizer.h"
#include "worker/tasks/answer_batch.h"

namespace {

using namespace ropesweep;
using backend::Dtype;

struct Settings {
  int64_t tokens = 4000, samples = 8, new_tokens = 50, shared = 0;
  std::vector<int64_t> at_once = {1, 8};
  std::string type = "bf16";
  int64_t portion = 0;
  int threads = 0, repeat = 3;
  bool profile = false;
};

struct Seconds {
  double wall = 0, processor = 0;
};

double processor_seconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Operations and bytes that can't be saved: 2 a weight and token, 4·K a head and pair of a query
/// and a key; weights are read once a token and batch, keys and values once a token.
nlohmann::json floor_of(const llama::Config& config, const Settings& settings, Dtype type) {
  const auto of = [](int64_t n) { return static_cast<double>(n); };
  const double queries = of(config.heads * config.head_dim);
  const double keys = of(config.kv_heads * config.head_dim);
  const double layers =
      of(config.layers) * of(config.width) * (2 * queries + 2 * keys + 3 * of(config.hidden));
  const double head = of(config.vocabulary * config.width);
  const double tokens = of(settings.tokens), size = static_cast<double>(backend::size_of(type));
  const double pairs = 4 * of(config.layers) * queries;
  return {{"prefill_flops", tokens * (2 * layers + pairs * tokens / 2)},
          {"answer_flops", of(settings.new_tokens) * (2 * (layers + head) + pairs * tokens)},
          {"weight_bytes_a_token", (layers + head) * size},
          {"cache_bytes_a_token", 2 * of(config.layers) * keys * tokens * size}};
}

std::vector<tasks::Question> questions_of(const Settings& settings, int64_t vocabulary) {
  std::vector<tasks::Question> questions;
  for (int64_t sample = 0; sample < settings.samples; ++sample) {
    std::vector<int32_t> prompt;
    for (int64_t i = 0; i < settings.tokens; ++i) {
      const int64_t seed = i < settings.shared ? 0 : sample + 1;
      prompt.push_back(static_cast<int32_t>((i * 7919 + seed * 104729 + 13) % vocabulary));
    }
    questions.push_back({std::move(prompt), {}});
  }
  return questions;
}

/// Answers of `new_tokens` to the questions; adds the seconds that it took and what it fed.
void answer(llama::Model& model, const llama::Tokenizer& tokenizer,
            std::span<const tasks::Question> questions, int64_t new_tokens, int64_t at_once,
            Seconds& seconds, int64_t& fed) {
  const auto start = std::chrono::steady_clock::now();
  const double before = processor_seconds();
  tasks::AnswerBatch batch(
      model, tokenizer, questions, new_tokens, [](size_t, const tasks::Generated&) {}, at_once);
  while (!batch.ended()) batch.advance();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  seconds.wall += wall.count();
  seconds.processor += processor_seconds() - before;
  fed += batch.tokens_fed();
}

/// The prompts alone, and with answers so many at once.
struct Pass {
  Seconds prompts;
  std::vector<Seconds> all;
  std::vector<int64_t> fed;

  explicit Pass(size_t ways) : all(ways), fed(ways) {}

  void keep_less(const Pass& other) {
    const auto keep = [](Seconds& mine, const Seconds& theirs) {
      if (mine.wall == 0 || theirs.wall < mine.wall) mine.wall = theirs.wall;
      if (mine.processor == 0 || theirs.processor < mine.processor) {
        mine.processor = theirs.processor;
      }
    };
    keep(prompts, other.prompts);
    for (size_t i = 0; i < all.size(); ++i) keep(all[i], other.all[i]);
    fed = other.fed;
  }
};

/// All questions, a portion at a time, so that a machine whose speed drifts is as fast for the
/// prompts alone as for both.
Pass measure_pass(const Settings& settings, llama::Model& model, const llama::Tokenizer& tokenizer,
                  std::span<const tasks::Question> questions) {
  Pass pass(settings.at_once.size());
  const size_t portion =
      settings.portion > 0 ? static_cast<size_t>(settings.portion) : questions.size();
  int64_t ignored = 0;
  backend::Profile::instance().clear();
  for (size_t first = 0; first < questions.size(); first += portion) {
    const auto some = questions.subspan(first, std::min(portion, questions.size() - first));
    answer(model, tokenizer, some, 1, 1, pass.prompts, ignored);
    for (size_t i = 0; i < pass.all.size(); ++i) {
      backend::Profile::instance().enable(settings.profile && i + 1 == pass.all.size());
      answer(model, tokenizer, some, settings.new_tokens, settings.at_once[i], pass.all[i],
             pass.fed[i]);
    }
    backend::Profile::instance().enable(false);
  }
  return pass;
}

void measure(const Settings& settings) {
  llama::Config config = benchmarks::smollm2_shape();
  config.eos_id = -1;  // every answer has all its tokens
  const auto device = backend::make_cpu_backend(settings.threads);
  const Dtype type = settings.type == "bf16" ? Dtype::bf16 : Dtype::f32;
  llama::Model model(*device, config, llama::init_weights(*device, config, type, 1));
  const auto tokenizer = llama::byte_tokenizer();
  const auto questions = questions_of(settings, config.vocabulary);
  nlohmann::json floor = floor_of(config, settings, type);
  floor["device"] = device->description();
  floor["tokens"] = settings.tokens;
  floor["samples"] = settings.samples;
  floor["new_tokens"] = settings.new_tokens;
  floor["type"] = settings.type;
  std::cout << floor.dump() << std::endl;

  Pass best(settings.at_once.size());
  for (int64_t i = 0; i < settings.repeat; ++i) {
    best.keep_less(measure_pass(settings, model, *tokenizer, questions));
  }
  const Seconds& prompts = best.prompts;
  const std::vector<Seconds>& all = best.all;
  for (size_t i = 0; i < all.size(); ++i) {
    const nlohmann::json line = {{"at_once", settings.at_once[i]},
                                 {"tokens_fed", best.fed[i]},
                                 {"prompt_seconds", prompts.wall},
                                 {"prompt_processor_seconds", prompts.processor},
                                 {"seconds", all[i].wall},
                                 {"processor_seconds", all[i].processor},
                                 {"ratio", all[i].wall / prompts.wall},
                                 {"processor_ratio", all[i].processor / prompts.processor}};
    std::cout << line.dump() << std::endl;
  }
  if (settings.profile) std::cerr << backend::Profile::instance().table();
}

}  // namespace

int main(int count, char** arguments) {
  namespace options = boost::program_options;
  Settings s;
  options::options_description known("generation_benchmark");
  known.add_options()("help", "print this")("tokens", options::value(&s.tokens), "of a prompt")(
      "samples", options::value(&s.samples), "prompts")("new-tokens", options::value(&s.new_tokens),
                                                        "of an answer")(
      "shared", options::value(&s.shared), "tokens that all prompts begin with")(
      "at-once", options::value(&s.at_once)->multitoken(), "sequences decoded together")(
      "type", options::value(&s.type), "f32 | bf16")(
      "threads", options::value(&s.threads), "0: all cores")("repeat", options::value(&s.repeat),
                                                             "passes, the best counts")(
      "portion", options::value(&s.portion),
      "prompts measured alone and with their answers by turns, 0: all at once")(
      "profile", options::bool_switch(&s.profile), "time by op");
  options::variables_map values;
  options::store(options::parse_command_line(count, arguments, known), values);
  options::notify(values);
  if (values.contains("help")) {
    std::cout << known;
    return 0;
  }
  measure(s);
  return 0;
}
