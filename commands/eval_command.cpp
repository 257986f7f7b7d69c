// `ropesweep eval`: one model on one task, one JSON object on standard output.
#include <filesystem>
#include <iostream>
#include <set>
#include <sstream>

#include "commands/engine.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "experiments/output_file.h"
#include "worker/llama/config.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;

const std::string usage =
    "ropesweep eval --model DIR --task perplexity|lines|passkey|wikiqa|multiple-choice "
    "[--data FILE] [options]";

struct EvalOptions {
  std::string model, base, task, data, context_lengths, per_token;
  int64_t context_length = 0;
  bool print_samples = false;
  DatasetSettings dataset;
  PositionOptions positions;
  EngineOptions engine;
};

po::options_description describe(EvalOptions& o) {
  po::options_description options("Options");
  auto add = options.add_options();
  add("model", po::value(&o.model)->value_name("DIR"),
      "Hugging Face checkpoint, or a PEFT adapter");
  add_base_option(options, o.base);
  add("task", po::value(&o.task)->value_name("T"),
      "perplexity | lines | passkey | wikiqa | multiple-choice");
  add("data", po::value(&o.data)->value_name("FILE"),
      "documents or samples; lines, passkey and wikiqa are built without it");
  add_position_options(options, o.positions);
  add("context-length", po::value(&o.context_length)->value_name("N"),
      "positions of a window or prompt (the original length)");
  add("context-lengths", po::value(&o.context_lengths)->value_name("N,N"),
      "several, from one pass where that is possible; prints a JSON array");
  add("samples", po::value(&o.dataset.samples)->value_name("N"),
      "documents or samples used (all of a file, 50 built)");
  add("text-field", po::value(&o.dataset.text_field)->default_value("text")->value_name("F"),
      "field of a JSON record that holds the text");
  add("skip-bad-records", po::bool_switch(&o.dataset.skip_bad_records),
      "count malformed records instead of stopping");
  po::options_description perplexity("Perplexity");
  auto add_perplexity = perplexity.add_options();
  add_perplexity("window", po::value(&o.dataset.window)->default_value("sliding")->value_name("W"),
                 "sliding | truncated");
  add_perplexity("stride", po::value(&o.dataset.stride)->value_name("S"),
                 "tokens between sliding windows (256, at most the window)");
  add_perplexity("minimum-length", po::value(&o.dataset.minimum_length)->value_name("N"),
                 "leave out documents with fewer tokens");
  add_perplexity("last-tokens", po::value(&o.dataset.last_tokens)->value_name("N"),
                 "truncated: score only a window's last N positions");
  add_perplexity("bos", po::value(&o.dataset.bos)->default_value("auto")->value_name("B"),
                 "auto | yes | no: windows begin with BOS");
  add_perplexity("by-position", po::value(&o.dataset.by_position)->value_name("B"),
                 "the loss by position in the window: a number of bins, or powers (1, 2, 4, …)");
  add_perplexity("per-token", po::value(&o.per_token)->value_name("FILE"),
                 "write document,position,id,nll of each predicted token");
  options.add(perplexity);
  po::options_description generation("Generation");
  auto add_generation = generation.add_options();
  add_generation("max-new-tokens", po::value(&o.dataset.max_new_tokens)->value_name("N"),
                 "tokens generated at most (wikiqa 50, lines 35, passkey 16)");
  add_generation("which", po::value(&o.dataset.which)->default_value("first")->value_name("W"),
                 "lines: first | last integer of the output");
  add_generation("instruction-template", po::bool_switch(&o.dataset.instruction_template),
                 "prompts go through the checkpoint's chat template");
  add_generation("print-samples", po::bool_switch(&o.print_samples),
                 "add each sample's text to the JSON");
  options.add(generation);
  po::options_description choice("Multiple choice");
  auto add_choice = choice.add_options();
  add_choice("layout", po::value(&o.dataset.layout)->value_name("L"),
             "arc | hellaswag | mmlu | truthfulqa (as the first record looks)");
  add_choice("shots", po::value(&o.dataset.shots)->value_name("N"),
             "solved questions before each (25 | 10 | 5 | 0, the Open LLM leaderboard's; 0 with "
             "--instruction-template)");
  add_choice("shots-data", po::value(&o.dataset.shots_path)->value_name("FILE"),
             "questions of the same layout to take them from");
  options.add(choice);
  add_engine_options(options, o.engine);
  return options;
}

std::vector<int64_t> parse_lengths(const std::string& text) {
  std::vector<int64_t> lengths;
  std::istringstream stream(text);
  std::string part;
  while (std::getline(stream, part, ',')) {
    size_t used = 0;
    int64_t length = 0;
    try {
      length = std::stoll(part, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || used != part.size()) {
      throw_user_error("--context-lengths {}: '{}' is no whole number", text, part);
    }
    lengths.push_back(length);
  }
  return lengths;
}

void check_task(const EvalOptions& o) {
  const std::vector<std::string> known = {"perplexity", "lines", "passkey", "wikiqa",
                                          "multiple-choice"};
  if (std::find(known.begin(), known.end(), o.task) == known.end()) {
    const std::string nearest = nearest_name(o.task, known);
    throw_user_error("--task {}: unknown; {}", o.task,
                     nearest.empty()
                         ? "choose perplexity, lines, passkey, wikiqa or multiple-choice"
                         : "did you mean " + nearest + "?");
  }
  if (o.task == "perplexity" && o.data.empty()) {
    throw_user_error("--data is missing: perplexity needs documents (ropesweep data builds some)");
  }
  if (o.task == "multiple-choice" && o.data.empty()) {
    throw_user_error("--data is missing: multiple-choice needs a file of questions");
  }
  const std::vector<std::string> layouts = {"", "arc", "hellaswag", "mmlu", "truthfulqa"};
  if (std::find(layouts.begin(), layouts.end(), o.dataset.layout) == layouts.end()) {
    throw_user_error("--layout {}: unknown; choose arc, hellaswag, mmlu or truthfulqa",
                     o.dataset.layout);
  }
  if (o.dataset.shots < -1) throw_user_error("--shots {}: must be at least 0", o.dataset.shots);
  if (!o.per_token.empty() && (o.task != "perplexity" || !o.context_lengths.empty())) {
    throw_user_error("--per-token needs --task perplexity with a single --context-length");
  }
  if (o.context_length != 0 && !o.context_lengths.empty()) {
    throw_user_error("--context-length and --context-lengths exclude each other");
  }
}

Task make_task(EvalOptions& o, const ResolvedPositions& positions, bool stride_given) {
  Task task;
  task.id = "eval";
  task.weights = task.weights_key = o.model;
  task.model = o.base.empty() ? o.model : existing_path(o.base, "--base");
  task.scheme = positions.scheme;
  task.scale = positions.scale;
  task.workers.type = o.engine.type;
  task.dataset = o.dataset;
  task.dataset.kind = o.task == "perplexity" ? "text" : o.task;
  task.dataset.name = o.task;
  task.dataset.data_seed = o.engine.seed;
  task.dataset.keep_samples = o.print_samples;
  if (!o.data.empty()) task.dataset.path = existing_path(o.data, "--data");
  if (!o.dataset.shots_path.empty()) {
    task.dataset.shots_path = existing_path(o.dataset.shots_path, "--shots-data");
  }
  std::vector<int64_t> lengths = parse_lengths(o.context_lengths);
  if (lengths.empty()) {
    lengths = {o.context_length != 0
                   ? o.context_length
                   : static_cast<int64_t>(llama::read_config(task.model).rotary.original_length)};
  }
  for (const int64_t length : lengths) {
    if (length < 2) throw_user_error("--context-length {}: must be at least 2", length);
    if (!stride_given) task.dataset.stride = std::min(task.dataset.stride, length);
    Cell cell;
    cell.id = fmt::format("{}", length);
    cell.context_length = length;
    task.cells.push_back(cell);
  }
  return task;
}

/// Counts documents as their losses come by, and writes them down if asked.
class TokenLog {
 public:
  explicit TokenLog(const std::string& file) : file_(file) {
    if (file.empty()) return;
    stream_ = OutputFile(file, OutputFile::Mode::replace);
    stream_.write("document,position,id,nll\n");
  }

  void add(const tasks::TokenLoss& loss) {
    documents_.insert(loss.document);
    if (file_.empty()) return;
    stream_.write(fmt::format("{},{},{},{}\n", loss.document, loss.position, loss.id,
                              static_cast<double>(loss.nll)));
  }

  void close() { stream_.close(); }

  size_t documents() const { return documents_.size(); }

 private:
  std::string file_;
  OutputFile stream_;
  std::set<int64_t> documents_;
};

nlohmann::ordered_json counts_of(const CellOutcome& cell, const std::string& task,
                                 const TokenLog& log) {
  const Measure& main = cell.measures.front();
  nlohmann::ordered_json counts;
  if (task == "perplexity") {
    counts["documents"] = log.documents();
    counts["windows"] = cell.measures[1].count;  // of ppl_window
    counts["tokens"] = main.tokens;
    counts["sum_nll"] = main.sum_nll;
  } else {
    counts["samples"] = main.count;
    counts["hits"] = main.hits;
    counts["tokens"] = main.tokens;
  }
  return counts;
}

nlohmann::ordered_json to_report(const CellOutcome& cell, const Outcome& outcome,
                                 const EvalOptions& o, const Task& task, const TokenLog& log) {
  nlohmann::ordered_json json;
  json["task"] = o.task;
  for (const Measure& measure : cell.measures) json["metrics"][measure.metric] = to_figure(measure);
  json["counts"] = counts_of(cell, o.task, log);
  json["context_length"] = std::stoll(cell.cell);
  json["seconds"] = cell.seconds;
  json["tokens_per_second"] = static_cast<double>(cell.measures.front().tokens) / cell.seconds;
  json["device"] = outcome.device;
  json["type"] = outcome.type;
  json["scheme"] = task.scheme;
  json["scale"] = task.scale;
  for (const SampleRecord& sample : cell.samples) {
    if (!o.print_samples || o.task == "perplexity") break;
    json["samples"].push_back({{"index", sample.index},
                               {"text", sample.text},
                               {"reference", sample.reference},
                               {"hit", sample.hit},
                               {"location", sample.location}});
  }
  return json;
}

}  // namespace

int eval_command(const Arguments& arguments) {
  EvalOptions o;
  po::variables_map values;
  if (!parse_options(arguments, usage, describe(o), {}, values)) return 0;
  require_option(o.model, "--model", usage);
  require_option(o.task, "--task", usage);
  check_task(o);
  o.model = existing_path(o.model, "--model");
  const ResolvedPositions positions = resolve_positions(o.positions, shape_of(o.model, o.base));
  const Task task = make_task(o, positions, values.count("stride") != 0);

  const auto runner = make_runner(o.engine);
  TokenLog log(o.per_token);
  tasks::TaskContext context = make_context(o.engine);
  context.token_loss = [&](const tasks::TokenLoss& loss) { log.add(loss); };
  const Outcome outcome = runner->run(task, context);
  log.close();
  finish_engine(o.engine);

  nlohmann::ordered_json reports = nlohmann::ordered_json::array();
  for (const CellOutcome& cell : outcome.cells) {
    reports.push_back(to_report(cell, outcome, o, task, log));
  }
  const auto replace =
      nlohmann::ordered_json::error_handler_t::replace;  // of bytes that are no UTF-8
  const bool several = !o.context_lengths.empty();
  std::cout << (several ? reports : reports.front()).dump(-1, ' ', false, replace) << "\n";
  return 0;
}

}  // namespace ropesweep::commands
