// What a sweep file (or the options of `eval` and `finetune`) may set: data sets, recipe stages,
// workers, limits. Plain structs with their defaults, and their JSON for messages and canonical
// texts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace ropesweep {

inline constexpr int64_t kMostPositionBins = 64;

/// A data set and how it is measured: one value of the axis `dataset`.
struct DatasetSettings {
  std::string name;
  /// text: perplexity over documents of a file. synthetic-wiki, synthetic-mix: over generated
  /// documents. lines, passkey: retrieval (read from `path`, or built for each context length from
  /// `data_seed`). wikiqa: questions by presence accuracy (read from `path`, or built on
  /// synthetic-wiki documents). multiple-choice: options by their likelihood (read from `path`).
  std::string kind;
  std::string path;  ///< absolute; empty: built in memory
  std::string text_field = "text";
  int64_t samples = 0;     ///< documents or samples used; 0: all of a file, 50 of a built set
  uint64_t data_seed = 0;  ///< seed of a built set
  bool skip_bad_records = false;
  int64_t minimum_characters = 0;  ///< documents of a file with fewer are left out, unread
  // perplexity
  std::string window = "sliding";  ///< sliding | truncated
  int64_t stride = 256;            ///< tokens, sliding
  int64_t minimum_length = 0;      ///< documents with fewer tokens are left out
  int64_t last_tokens = 0;         ///< truncated: score only the last n tokens of a window; 0: all
  std::string bos = "auto";        ///< auto | yes | no
  /// The loss by position in the window: "", a number of equal bins (up to kMostPositionBins), or
  /// "powers": bins that begin at 1, 2, 4, 8, ….
  std::string by_position;
  // generation
  int64_t max_new_tokens = 0;         ///< 0: the task's default (wikiqa 50, lines 35, passkey 16)
  std::string which = "first";        ///< lines: first | last integer of the output
  bool instruction_template = false;  ///< prompts go through the checkpoint's chat template
  bool keep_samples = false;          ///< per-sample records go into the store
  // multiple choice
  std::string layout;  ///< arc | hellaswag | mmlu | truthfulqa; empty: as the first record looks
  int64_t shots = -1;  ///< solved questions before each; -1: the Open LLM leaderboard's number
  std::string shots_path;  ///< absolute; the questions that are solved
};

/// The matrices of a layer that LoRA can adapt.
inline const std::vector<std::string> kLoraTargets = {"q", "k", "v", "o", "gate", "up", "down"};

/// Low-rank adaptation (Hu et al. 2021): W x + alpha / rank · B A x, of which A and B are trained.
struct LoraSettings {
  int64_t rank = 0;  ///< 0: full fine-tuning
  double alpha = 16;
  double dropout = 0;                               ///< of A's inputs, in training
  std::vector<std::string> targets = kLoraTargets;  ///< some of them, in their order

  bool has(const std::string& target) const {
    return std::find(targets.begin(), targets.end(), target) != targets.end();
  }
};

/// The targets in kLoraTargets' order, each once. Errors: user error "PLACE: …" naming one that is
/// unknown, or when there are none.
std::vector<std::string> sorted_lora_targets(const std::vector<std::string>& targets,
                                             const std::string& place);

/// How conversations are written for training (worker/data/conversations.h).
inline const std::vector<std::string> kConversationTemplates = {"vicuna", "alpaca", "chat"};

/// One stage of a recipe: what `ropesweep finetune` does once.
struct RecipeSettings {
  std::string name;
  std::string from;  ///< the stage this one builds on; empty: the base model
  std::string init;  ///< absolute path of a config.json: train from scratch
  std::string data;  ///< absolute path, or a data set's name in the sweep's [datasets]
  std::string text_field = "text";
  std::string validation;  ///< path or data set name; empty: none
  int64_t validation_documents = 64;
  int64_t context_length = 0;
  int64_t steps = 0;  ///< resolved: from `tokens` when that was given
  int64_t batch_tokens = 0;
  double learning_rate = 0;
  std::string schedule = "constant";  ///< one of kSchedules (schedule.h)
  int64_t warmup_steps = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;
  double clip = 1.0;  ///< global gradient norm; 0: none
  /// bf16 weights have f32 masters, or else are rounded up or down by chance; f32 weights are their
  /// own masters either way.
  bool master_weights = true;
  LoraSettings lora;
  std::optional<double> train_scale;  ///< fixes the scale of this stage whatever the axis says
  int64_t validate_every = 0;         ///< steps; 0: at the end only, when there is validation data
  int64_t save_every = 0;             ///< steps; 0: the program chooses
  double stop_if_loss_above =
      0;  ///< diverged when the loss passes this after stop_if_after steps; 0: no bound
  int64_t stop_if_after = 0;
  int64_t stop_if_not_falling = 0;      ///< steps of a block (experiments/losses.h); 0: no rule
  int64_t stop_if_above_median_of = 0;  ///< siblings of the median rule; 0: no rule
  bool append_eos = false, prepend_bos = false;
  bool packing = false;             ///< documents joined until a chunk is full
  bool separate_documents = false;  ///< with packing: documents of a chunk don't see each other
  double overlap = 0;               ///< share of a chunk that the next one holds too, below 1
  int64_t minimum_characters = 0;   ///< documents of a file with fewer are left out
  /// Held out of `data` by the hash of a document's text, in place of `validation`; 0: none.
  double validation_share = 0;
  /// Records are conversations, written in this template, and only the answers are targets: vicuna,
  /// alpaca, chat (the checkpoint's own); empty: records are texts.
  std::string conversations;
  bool skip_bad_records = false;  ///< of data given by its path
  uint64_t data_seed = 0;         ///< for built data
};

/// What is wrong with a recipe's settings of data together; empty: nothing.
std::string data_problem(const RecipeSettings& recipe);

struct WorkerSettings {
  std::string device = "auto";  ///< auto | cpu | cuda
  std::string type = "f32";     ///< f32 | bf16
  int64_t threads = 0;          ///< 0: cores divided by the host's workers
  int64_t gpus_per_task = 1;
};

struct LimitSettings {
  int64_t crash_limit = 3;  ///< attempts that may die before a task fails
  double time_seconds = 0;  ///< 0: none
  double memory_bytes = 0;  ///< 0: what the device has
};

// JSON with every field by its name; absent fields keep their defaults.
void to_json(nlohmann::json& json, const DatasetSettings& settings);
void from_json(const nlohmann::json& json, DatasetSettings& settings);
void to_json(nlohmann::json& json, const LoraSettings& settings);
void from_json(const nlohmann::json& json, LoraSettings& settings);
void to_json(nlohmann::json& json, const RecipeSettings& settings);
void from_json(const nlohmann::json& json, RecipeSettings& settings);
void to_json(nlohmann::json& json, const WorkerSettings& settings);
void from_json(const nlohmann::json& json, WorkerSettings& settings);
void to_json(nlohmann::json& json, const LimitSettings& settings);
void from_json(const nlohmann::json& json, LimitSettings& settings);

}  // namespace ropesweep
