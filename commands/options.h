// Boost.Program_options with the house's manners: --help, errors that name the nearest known
// option, and the options that all engine commands share.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <string>

#include "commands/command.h"

namespace ropesweep::commands {

/// --quiet, --verbose, --log-file, NO_COLOR: every command has them; parse_options applies them.
/// Parses `arguments`; prints help to standard output and returns false when --help was asked.
/// `usage`: one line, e.g. "ropesweep eval --model DIR --task perplexity --data FILE [options]".
/// Errors: user error naming the option (and the nearest known one).
bool parse_options(const Arguments& arguments, const std::string& usage,
                   const boost::program_options::options_description& options,
                   const boost::program_options::positional_options_description& positional,
                   boost::program_options::variables_map& values);

/// --device, --type, --threads, --seed, --hf-bits, --profile.
struct EngineOptions {
  std::string device = "auto", type;  ///< type empty: the checkpoint's
  int64_t threads = 0;
  uint64_t seed = 0;
  bool hf_bits = false;
  bool profile = false;  ///< print time by op with FLOP/s to standard error at the end
};
void add_engine_options(boost::program_options::options_description& options,
                        EngineOptions& engine);

}  // namespace ropesweep::commands
