// What the commands that run a model themselves have in common: model and positions from options,
// progress on standard error, stopping by signal, the profile at the end.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "commands/options.h"
#include "experiments/position_encoding.h"
#include "experiments/task.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::commands {

/// --scheme and --scale. No scheme: the checkpoint's own positions.
struct PositionOptions {
  std::string scheme;
  double scale = 0;  ///< 0: not given
};
void add_position_options(boost::program_options::options_description& options,
                          PositionOptions& positions);

/// Scheme and scale as they will hold: canonical text, defaults filled in from `config` (a model
/// directory or a config.json). Errors: user error for an unknown scheme, or a scale without a
/// scheme.
struct ResolvedPositions {
  std::string scheme;
  double scale = 1;
};
ResolvedPositions resolve_positions(const PositionOptions& positions, const std::string& config);

/// The text of an option that must be given. Errors: user error "NAME is missing; usage: …".
void require_option(const std::string& value, const std::string& name, const std::string& usage);

/// An absolute path of a file or directory that must exist. Errors: user error naming option and
/// path.
std::string existing_path(const std::string& path, const std::string& option);

/// Errors: user error for a number of threads that can't be.
int checked_threads(const EngineOptions& engine);
/// --base: what an adapter named as --model belongs over when its own base is not there.
void add_base_option(boost::program_options::options_description& options, std::string& base);
/// The directory that gives shape, tokenizer and, without --scheme, positions: `model`, or `base`
/// (not empty) where that is an adapter without a config.json. Errors: user error when `base` is
/// not there.
std::string shape_of(const std::string& model, const std::string& base);

/// As --hf-bits asks.
TableArithmetic arithmetic_of(const EngineOptions& engine);

/// A device ready for tasks, with what the engine options ask for.
std::unique_ptr<tasks::TaskRunner> make_runner(const EngineOptions& engine);

/// Progress to standard error (a line that is rewritten on a terminal, a line a minute elsewhere,
/// nothing with
/// --quiet), and a stop at SIGINT, SIGTERM or SIGUSR1. The profile is switched on here, if asked
/// for.
tasks::TaskContext make_context(const EngineOptions& engine);

/// Ends the progress line and prints the profile, if it was asked for.
void finish_engine(const EngineOptions& engine);

/// {"value", "standard_error"} of a measure; a figure that is not finite is null.
nlohmann::ordered_json to_figure(const Measure& measure);

}  // namespace ropesweep::commands
