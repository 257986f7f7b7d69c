// What makes two trainings or two measurements the same: canonical JSON texts and their hashes.
// Names (of models, recipes, data sets), threads, devices and the number of workers are no part of
// it; contents (digests of files) are. Internal to experiments/.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "experiments/grid.h"

namespace ropesweep {

/// A scheme and scale as the model sees it: at 1, what a static scheme is there (mostly `none`).
struct EffectiveScheme {
  std::string scheme;
  double scale = 1;
};
EffectiveScheme effective_scheme(const std::string& scheme, double scale);

/// A canonical scheme with the digests of its files in place of their paths: the same path with
/// other content is another scheme.
std::string scheme_identity(const std::string& scheme, const Digests& digests);

/// The data that a stage trains on and is validated on: the named data set, or a text file.
/// `validation_data` has an empty kind when there is none.
DatasetSettings training_data(const Sweep& sweep, const RecipeSettings& recipe);
DatasetSettings validation_data(const Sweep& sweep, const RecipeSettings& recipe);

/// True for kinds measured by perplexity (text, synthetic-wiki, synthetic-mix), false for generated
/// answers.
bool is_perplexity_kind(const std::string& kind);

/// What the data are: kind, the file's digest or the builder's seed, which records.
nlohmann::json data_identity(const DatasetSettings& dataset, const Digests& digests);
/// What the data are and how they are measured, without settings that the kind ignores.
nlohmann::json measurement_identity(const DatasetSettings& dataset, const Digests& digests);
/// A stage's settings as far as they change its result; its data are added by content.
nlohmann::json stage_identity(const Sweep& sweep, const RecipeSettings& recipe,
                              const Digests& digests);
/// What training from scratch starts from: config and tokenizer, by content.
nlohmann::json init_identity(const std::string& init, const Digests& digests);
/// The tokenizer beside an init config: tokenizer.json, tokenizer.model where that lies alone.
std::string init_tokenizer(const std::string& init);

/// The digest of a path. Errors: transient error when the caller supplied none.
const std::string& digest_of(const Digests& digests, const std::string& path);

/// 20 hex digits of a text's SHA-256.
std::string short_id(std::string_view canonical);

}  // namespace ropesweep
