// [recipes.*] of a sweep file: stages, what they inherit along `from`, and where their data is.
#include <algorithm>
#include <set>

#include "experiments/losses.h"
#include "experiments/schedule.h"
#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

/// A stage's `betas = [b1, b2]`.
void read_betas(SweepSection& section, RecipeSettings& recipe) {
  const TomlValue* betas = section.member("betas");
  if (betas == nullptr) return;
  if (betas->kind != TomlValue::Kind::array || betas->items.size() != 2) {
    section.fail(*betas, "betas must be a list of two numbers, [0.9, 0.999]");
  }
  const NumberRange range = {.least = 0, .most = 1, .below = true};
  recipe.beta1 = section.number(betas->items[0], "betas", range);
  recipe.beta2 = section.number(betas->items[1], "betas", range);
}

/// A stage's `lora.targets`, some of kLoraTargets.
void read_targets(SweepSection& section, LoraSettings& lora) {
  const TomlValue* targets = section.member("targets");
  if (targets == nullptr) return;
  if (targets->kind != TomlValue::Kind::array || targets->items.empty()) {
    section.fail(*targets, "targets must be a list of some of {}", fmt::join(kLoraTargets, ", "));
  }
  std::vector<std::string> named;
  for (const TomlValue& item : targets->items) {
    named.push_back(section.text(item, "targets"));
    if (std::find(kLoraTargets.begin(), kLoraTargets.end(), named.back()) == kLoraTargets.end()) {
      section.fail(item, "targets names the unknown matrix \"{}\"; {}", named.back(),
                   suggestion(named.back(), kLoraTargets));
    }
  }
  lora.targets = sorted_lora_targets(named, "targets");
}

void read_lora(SweepSection& section, RecipeSettings& recipe) {
  auto lora = section.subsection("lora");
  if (!lora) return;
  lora->read("rank", recipe.lora.rank, 0);
  lora->read("alpha", recipe.lora.alpha, {.least = 0, .open = true});
  lora->read("dropout", recipe.lora.dropout, {.least = 0, .most = 1, .below = true});
  read_targets(*lora, recipe.lora);
  lora->reject_unknown();
  if (recipe.lora.rank > 0 && !recipe.init.empty()) {
    lora->fail(lora->table(),
               "LoRA adapts trained weights: leave init out, or lora to train all weights");
  }
}

void read_stop(SweepSection& section, RecipeSettings& recipe) {
  auto stop = section.subsection("stop_if");
  if (!stop) return;
  stop->read("loss_above", recipe.stop_if_loss_above, {.least = 0, .open = true});
  stop->read("after", recipe.stop_if_after, 0);
  stop->read("not_falling", recipe.stop_if_not_falling, 1);
  stop->read("above_median_of", recipe.stop_if_above_median_of, 1);
  stop->reject_unknown();
  if (!can_stop_early(recipe)) {
    stop->fail(
        stop->table(),
        "needs loss_above, the loss past which training has diverged, or not_falling, steps, "
        "or above_median_of, siblings");
  }
}

/// The optimizer and its schedule.
void read_optimizer(SweepSection& section, RecipeSettings& recipe) {
  section.read("learning_rate", recipe.learning_rate, {.least = 0, .open = true, .most = 10});
  section.read_choice("schedule", recipe.schedule, kSchedules);
  section.read("warmup_steps", recipe.warmup_steps, 0);
  read_betas(section, recipe);
  section.read("epsilon", recipe.epsilon, {.least = 0, .open = true});
  section.read("weight_decay", recipe.weight_decay, {});
  section.read("clip", recipe.clip, {});
  section.read("master_weights", recipe.master_weights);
}

/// A path, or the name of a data set (kept as it is).
std::string resolved_data(const SweepSection& section, Sweep& sweep, const std::string& key,
                          const std::string& text, int64_t line) {
  if (find_dataset(sweep, text) != nullptr) return text;
  if (text.find_first_of("/.") == std::string::npos) {
    section.fail_at(line, fmt::format("{} \"{}\" is neither a data set nor a path; {}", key, text,
                                      suggestion(text, dataset_names(sweep))));
  }
  return section.absolute_path(text);
}

/// What is said of data is not inherited by a stage with data of its own.
void forget_data(RecipeSettings& recipe) {
  const RecipeSettings fresh;
  recipe.minimum_characters = fresh.minimum_characters;
  recipe.validation_share = fresh.validation_share;
  recipe.conversations = fresh.conversations;
  recipe.skip_bad_records = fresh.skip_bad_records;
}

void read_data(SweepSection& section, Sweep& sweep, RecipeSettings& recipe) {
  if (section.member("data") != nullptr) forget_data(recipe);
  if (section.member("validation") != nullptr) recipe.validation_share = 0;
  if (section.member("validation_share") != nullptr) recipe.validation.clear();
  for (const auto& [key, setting] :
       {std::pair{"data", &recipe.data}, std::pair{"validation", &recipe.validation}}) {
    std::string text;
    if (!section.read(key, text)) continue;
    *setting = resolved_data(section, sweep, key, text, section.member(key)->line);
  }
  if (section.member("validation") != nullptr && section.member("validation_share") != nullptr) {
    section.fail(*section.member("validation_share"),
                 "validation and validation_share exclude each other");
  }
  section.read("text_field", recipe.text_field);
  section.read("validation_documents", recipe.validation_documents, 1);
  section.read("validate_every", recipe.validate_every, 0);
  section.read("append_eos", recipe.append_eos);
  section.read("prepend_bos", recipe.prepend_bos);
  section.read("packing", recipe.packing);
  section.read("separate_documents", recipe.separate_documents);
  section.read("overlap", recipe.overlap, {.least = 0, .most = 1, .below = true});
  section.read("minimum_characters", recipe.minimum_characters, 0);
  section.read("validation_share", recipe.validation_share, {.least = 0, .most = 1, .below = true});
  section.read_choice("conversations", recipe.conversations, kConversationTemplates);
  section.read("skip_bad_records", recipe.skip_bad_records);
  section.read("data_seed", recipe.data_seed);
  const std::string problem = data_problem(recipe);
  if (!problem.empty()) section.fail(section.table(), "{}", problem);
}

/// `steps`, or `tokens` in whole batches.
void read_steps(SweepSection& section, RecipeSettings& recipe) {
  const bool has_steps = section.read("steps", recipe.steps, 1);
  int64_t tokens = 0;
  if (!section.read("tokens", tokens, 1)) return;
  if (has_steps) section.fail(*section.member("tokens"), "steps and tokens exclude each other");
  if (recipe.batch_tokens > 0) {
    recipe.steps = (tokens + recipe.batch_tokens - 1) / recipe.batch_tokens;
  }
}

void check_complete(const SweepSection& section, const RecipeSettings& recipe) {
  const auto need = [&](bool given, const char* what) {
    if (!given) section.fail(section.table(), "needs {}", what);
  };
  need(!recipe.data.empty(), "data, a path or the name of a data set");
  need(recipe.context_length > 0, "context_length, tokens a chunk");
  need(recipe.batch_tokens > 0, "batch_tokens, tokens a step");
  need(recipe.steps > 0, "steps or tokens, how long to train");
  need(recipe.learning_rate > 0, "learning_rate");
  if (recipe.batch_tokens % recipe.context_length != 0) {
    section.fail(section.table(), "batch_tokens ({}) must be a multiple of context_length ({})",
                 recipe.batch_tokens, recipe.context_length);
  }
  if (recipe.warmup_steps > recipe.steps) {
    section.fail(section.table(), "warmup_steps ({}) must be at most steps ({})",
                 recipe.warmup_steps, recipe.steps);
  }
}

/// Reads stages so that a parent is read before its children, which start as copies of it.
class RecipeReader {
 public:
  RecipeReader(SweepSection& section, Sweep& sweep) : section_(section), sweep_(sweep) {}

  void read(const std::string& name) {
    if (sweep_.recipes.contains(name)) return;
    SweepSection stage = *section_.subsection(name);
    if (!in_progress_.insert(name).second) {
      stage.fail(stage.table(), "from makes a circle: a stage can't build on itself");
    }
    RecipeSettings recipe = inherited(stage, name);
    recipe.name = name;
    std::string init;
    if (stage.read("init", init)) recipe.init = stage.absolute_path(init);
    if (!recipe.init.empty() && !recipe.from.empty()) {
      stage.fail(*stage.member("init"), "init and from exclude each other");
    }
    read_data(stage, sweep_, recipe);
    stage.read("context_length", recipe.context_length, 2);
    stage.read("batch_tokens", recipe.batch_tokens, 1);
    read_steps(stage, recipe);
    read_optimizer(stage, recipe);
    read_lora(stage, recipe);
    read_stop(stage, recipe);
    double scale = 1;
    if (stage.read("train_scale", scale, {.least = 1})) recipe.train_scale = scale;
    stage.read("save_every", recipe.save_every, 0);
    stage.reject_unknown();
    check_complete(stage, recipe);
    sweep_.recipes[name] = recipe;
  }

 private:
  /// The parent's settings, less those that are the parent's own.
  RecipeSettings inherited(SweepSection& stage, const std::string& name) {
    std::string from;
    if (!stage.read("from", from)) return {};
    if (section_.table().find(from) == nullptr) {
      std::vector<std::string> known;
      for (const auto& [other, value] : section_.table().members) {
        if (other != name) known.push_back(other);
      }
      stage.fail(*stage.member("from"), "from names the unknown recipe \"{}\"; {}", from,
                 suggestion(from, known));
    }
    read(from);
    RecipeSettings recipe = sweep_.recipes.at(from);
    recipe.from = from;
    recipe.init.clear();
    recipe.lora = {};
    recipe.train_scale.reset();
    return recipe;
  }

  SweepSection& section_;
  Sweep& sweep_;
  std::set<std::string> in_progress_;
};

}  // namespace

void read_recipes(SweepSection& section, Sweep& sweep) {
  RecipeReader reader(section, sweep);
  for (const auto& [name, value] : section.table().members) {
    if (name == zero_shot) {
      section.fail(value, "{} trains nothing and needs no table: choose another name", zero_shot);
    }
    reader.read(name);
  }
}

std::vector<std::string> recipe_names(const Sweep& sweep) {
  std::vector<std::string> names = {zero_shot};
  for (const auto& [name, recipe] : sweep.recipes) names.push_back(name);
  return names;
}

}  // namespace ropesweep
