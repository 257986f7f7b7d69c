// `ropesweep finetune`: one training stage without a sweep; a Hugging Face checkpoint comes out.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "commands/engine.h"
#include "experiments/error.h"
#include "experiments/schedule.h"
#include "worker/data/builders.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

const std::string usage =
    "ropesweep finetune --model DIR|--init config.json --data FILE --output DIR --context-length N "
    "--steps N --batch-tokens N --learning-rate x [options]";

struct FinetuneOptions {
  std::string model, data, output, betas, lora_targets;
  int64_t samples = 0;
  bool resume = false, no_masters = false;
  RecipeSettings recipe;
  PositionOptions positions;
  EngineOptions engine;
};

void describe_schedule(po::options_description& options, FinetuneOptions& o) {
  RecipeSettings& r = o.recipe;
  auto add = options.add_options();
  add("context-length", po::value(&r.context_length)->value_name("N"), "tokens of a chunk");
  add("steps", po::value(&r.steps)->value_name("N"), "updates");
  add("batch-tokens", po::value(&r.batch_tokens)->value_name("N"), "tokens of an update");
  add("learning-rate", po::value(&r.learning_rate)->value_name("x"), "highest rate");
  add("schedule", po::value(&r.schedule)->default_value("constant")->value_name("S"),
      "constant | linear | cosine: what follows warm-up, the last two to 0 at the last step");
  add("warmup-steps", po::value(&r.warmup_steps)->value_name("N"),
      "step j has rate x · min(1, j/N)");
  add("betas", po::value(&o.betas)->default_value("0.9,0.999")->value_name("b,b"), "AdamW's");
  add("epsilon", po::value(&r.epsilon)->value_name("x"), "AdamW's (1e-8)");
  add("weight-decay", po::value(&r.weight_decay)->value_name("x"), "of matrices (0)");
  add("clip", po::value(&r.clip)->value_name("x"), "global gradient norm, 0: none (1)");
  add("no-master-weights", po::bool_switch(&o.no_masters),
      "bf16 weights without f32 masters, rounded up or down by chance");
  add("stop-if-loss-above", po::value(&r.stop_if_loss_above)->value_name("x"),
      "end as diverged past this training loss");
  add("stop-if-not-falling", po::value(&r.stop_if_not_falling)->value_name("N"),
      "… when the mean loss of N steps is not below that of the N before");
  add("stop-if-after", po::value(&r.stop_if_after)->value_name("N"),
      "… but not in the first N steps");
}

void describe_lora(po::options_description& options, FinetuneOptions& o) {
  LoraSettings& lora = o.recipe.lora;
  auto add = options.add_options();
  add("lora-rank", po::value(&lora.rank)->value_name("N"),
      "train pairs of this rank beside frozen weights; 0: train all weights (0)");
  add("lora-alpha", po::value(&lora.alpha)->value_name("x"), "what they add counts x / rank (16)");
  add("lora-dropout", po::value(&lora.dropout)->value_name("p"),
      "share of their inputs left out (0)");
  add("lora-targets", po::value(&o.lora_targets)->value_name("a,b"),
      "matrices that get a pair (q,k,v,o,gate,up,down)");
}

po::options_description describe(FinetuneOptions& o) {
  RecipeSettings& r = o.recipe;
  po::options_description options("Options");
  auto add = options.add_options();
  add("model", po::value(&o.model)->value_name("DIR"), "Hugging Face checkpoint to start from");
  add("init", po::value(&r.init)->value_name("FILE"),
      "config.json to train from scratch; the tokenizer lies beside it");
  add("data", po::value(&o.data)->value_name("FILE"),
      "documents, or synthetic-wiki | synthetic-mix to build them");
  add("output", po::value(&o.output)->value_name("DIR"), "where the checkpoint goes");
  add("resume", po::bool_switch(&o.resume), "go on from the state saved in the output directory");
  add("save-every", po::value(&r.save_every)->value_name("N"),
      "steps between saved states (by the time they cost)");
  add_position_options(options, o.positions);
  po::options_description schedule("Schedule");
  describe_schedule(schedule, o);
  options.add(schedule);
  po::options_description lora("LoRA");
  describe_lora(lora, o);
  options.add(lora);
  po::options_description data("Data");
  auto add_data = data.add_options();
  add_data("validation", po::value(&r.validation)->value_name("FILE"), "held-out documents");
  add_data("validate-every", po::value(&r.validate_every)->value_name("N"),
           "steps between validations (at the end only)");
  add_data("validation-documents", po::value(&r.validation_documents)->value_name("N"),
           "held-out documents and chunks at most (64)");
  add_data("text-field", po::value(&r.text_field)->value_name("F"),
           "field of a JSON record that holds the text (text)");
  add_data("samples", po::value(&o.samples)->value_name("N"),
           "documents used (all of a file, 50 built)");
  add_data("packing", po::bool_switch(&r.packing), "join documents until a chunk is full");
  add_data("separate-documents", po::bool_switch(&r.separate_documents),
           "with --packing: a chunk's documents don't see each other");
  add_data("overlap", po::value(&r.overlap)->value_name("p"),
           "share of a chunk that the next one holds too (0)");
  add_data("minimum-characters", po::value(&r.minimum_characters)->value_name("N"),
           "documents with fewer are left out (0)");
  add_data("validation-share", po::value(&r.validation_share)->value_name("p"),
           "documents of --data held out, by the hash of their text, in place of --validation (0)");
  add_data(
      "conversations", po::value(&r.conversations)->value_name("T"),
      "records are conversations, in the template vicuna | alpaca | chat; answers are targets");
  add_data("skip-bad-records", po::bool_switch(&r.skip_bad_records),
           "count malformed records instead of stopping at one");
  add_data("append-eos", po::bool_switch(&r.append_eos), "EOS after each document");
  add_data("prepend-bos", po::bool_switch(&r.prepend_bos), "BOS before each document");
  options.add(data);
  add_engine_options(options, o.engine);
  return options;
}

void parse_betas(const std::string& text, RecipeSettings& recipe) {
  const size_t comma = text.find(',');
  try {
    size_t used1 = 0, used2 = 0;
    const std::string second = comma == std::string::npos ? "" : text.substr(comma + 1);
    recipe.beta1 = std::stod(text.substr(0, comma), &used1);
    recipe.beta2 = std::stod(second, &used2);
    const auto good = [](double beta) { return beta >= 0 && beta < 1; };
    if (used1 == comma && used2 == second.size() && good(recipe.beta1) && good(recipe.beta2))
      return;
  } catch (const std::exception&) {
    // the message below holds for all of them
  }
  throw_user_error("--betas {}: two numbers from 0 to below 1, as 0.9,0.95", text);
}

/// "q,v" in the order of kLoraTargets.
void parse_targets(const std::string& text, LoraSettings& lora) {
  if (text.empty()) return;
  std::vector<std::string> named;
  std::istringstream stream(text);
  for (std::string target; std::getline(stream, target, ',');) named.push_back(target);
  lora.targets = sorted_lora_targets(named, "--lora-targets " + text);
}

void check_lora(const FinetuneOptions& o) {
  const LoraSettings& lora = o.recipe.lora;
  if (lora.rank < 0) throw_user_error("--lora-rank {}: must be at least 0", lora.rank);
  if (!(lora.alpha > 0)) throw_user_error("--lora-alpha {}: must be above 0", lora.alpha);
  if (!(lora.dropout >= 0 && lora.dropout < 1)) {
    throw_user_error("--lora-dropout {}: must be from 0 to below 1", lora.dropout);
  }
  if (lora.rank > 0 && o.model.empty()) {
    throw_user_error("--lora-rank needs --model: LoRA adapts trained weights");
  }
  const bool changed = !o.lora_targets.empty() || lora.dropout > 0;
  if (lora.rank == 0 && changed)
    throw_user_error("--lora-dropout, --lora-targets need --lora-rank");
}

void check_options(const FinetuneOptions& o) {
  if (o.model.empty() == o.recipe.init.empty()) {
    throw_user_error("give either --model or --init; usage: {}", usage);
  }
  require_option(o.data, "--data", usage);
  require_option(o.output, "--output", usage);
  const auto need = [](bool given, const char* name) {
    if (!given) throw_user_error("{} is missing or not above 0; usage: {}", name, usage);
  };
  need(o.recipe.context_length > 0, "--context-length");
  need(o.recipe.steps > 0, "--steps");
  need(o.recipe.batch_tokens > 0, "--batch-tokens");
  need(o.recipe.learning_rate > 0, "--learning-rate");
  if (std::find(kSchedules.begin(), kSchedules.end(), o.recipe.schedule) == kSchedules.end()) {
    throw_user_error("--schedule {}: unknown; choose from {}", o.recipe.schedule,
                     fmt::join(kSchedules, ", "));
  }
  const std::string problem = data_problem(o.recipe);
  if (!problem.empty()) throw_user_error("{}; usage: {}", problem, usage);
  check_lora(o);
  if (!o.resume && fs::exists(o.output) && !fs::is_empty(o.output)) {
    throw_user_error("--output {}: not empty; --resume goes on from the state in it", o.output);
  }
}

/// A file, or the name of a set that the program builds.
DatasetSettings data_of(const FinetuneOptions& o, const std::string& data,
                        const std::string& option) {
  DatasetSettings settings;
  const auto& built = data::built_kinds();
  const bool is_built =
      data.starts_with("synthetic-") && std::find(built.begin(), built.end(), data) != built.end();
  settings.name = data;
  settings.kind = is_built ? data : "text";
  if (!is_built) settings.path = existing_path(data, option);
  settings.text_field = o.recipe.text_field;
  settings.skip_bad_records = o.recipe.skip_bad_records;
  settings.minimum_characters = is_built ? 0 : o.recipe.minimum_characters;
  settings.data_seed = o.engine.seed;
  return settings;
}

Task make_task(FinetuneOptions& o) {
  Task task;
  task.id = "finetune";
  task.kind = TaskKind::fine_tune;
  const std::string source =
      o.model.empty() ? existing_path(o.recipe.init, "--init") : existing_path(o.model, "--model");
  if (o.model.empty()) {
    o.recipe.init = source;
  } else {
    task.model = task.weights = task.weights_key = source;
  }
  const ResolvedPositions positions = resolve_positions(o.positions, source);
  task.scheme = positions.scheme;
  task.scale = positions.scale;
  task.workers.type = o.engine.type;
  task.training_data = data_of(o, o.data, "--data");
  task.training_data.samples = o.samples;
  if (!o.recipe.validation.empty()) {
    task.validation_data = data_of(o, o.recipe.validation, "--validation");
    task.validation_data.data_seed += 1;  // a built set is not the one that is trained on
  }
  o.recipe.name = "finetune";
  o.recipe.master_weights = !o.no_masters;
  task.fine_tune.recipe = o.recipe;
  task.fine_tune.seed = static_cast<int64_t>(o.engine.seed);
  task.seed = task.fine_tune.seed;
  task.output = fs::absolute(o.output).lexically_normal().string();
  return task;
}

}  // namespace

int finetune_command(const Arguments& arguments) {
  FinetuneOptions o;
  po::variables_map values;
  if (!parse_options(arguments, usage, describe(o), {}, values)) return 0;
  check_options(o);
  parse_betas(o.betas, o.recipe);
  parse_targets(o.lora_targets, o.recipe.lora);
  const Task task = make_task(o);
  const auto runner = make_runner(o.engine);
  const Outcome outcome = runner->run(task, make_context(o.engine));
  finish_engine(o.engine);
  const FineTuneOutcome& result = outcome.fine_tunes.front();
  const bool diverged = outcome.failure_kind == FailureKind::diverged;
  if (diverged) spdlog::warn("diverged at {}; no checkpoint is written", outcome.failure);
  nlohmann::ordered_json json;
  json["status"] = diverged ? "diverged" : "finished";
  json["checkpoint"] = diverged ? "" : task.output;
  json["steps"] = result.steps;
  json["tokens"] = result.tokens;
  json["training_loss"] = result.training_loss;
  json["validation_loss"] = result.validation_loss;
  json["seconds"] = outcome.seconds;
  json["device"] = outcome.device;
  json["type"] = outcome.type;
  json["scheme"] = task.scheme;
  json["scale"] = task.scale;
  std::cout << json.dump() << "\n";
  return 0;
}

}  // namespace ropesweep::commands
