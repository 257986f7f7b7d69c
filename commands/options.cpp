// Parsing with the house's manners: strict names, the nearest known name in errors, help on
// standard output, and the log's settings (--quiet, --verbose, --log-file, NO_COLOR) applied in one
// place.
#include "commands/options.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <vector>

#include "experiments/error.h"
#include "experiments/nearest_name.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;

po::options_description common_options() {
  po::options_description common("Common options");
  auto add = common.add_options();
  add("help,h", "print this help and leave");
  add("quiet,q", po::bool_switch(), "only warnings and errors on standard error");
  add("verbose,v", po::bool_switch(), "details on standard error");
  add("log-file", po::value<std::string>()->value_name("FILE"),
      "append the log, in detail, to FILE");
  return common;
}

std::vector<std::string> long_names(const po::options_description& options) {
  std::vector<std::string> names;
  for (const auto& option : options.options()) names.push_back("--" + option->long_name());
  return names;
}

bool no_color() {
  const char* value = std::getenv("NO_COLOR");
  return value != nullptr && *value != '\0';
}

/// The log goes to standard error (results have standard output to themselves), and to a file if
/// asked.
void apply_log_settings(const po::variables_map& values) {
  const auto color = no_color() ? spdlog::color_mode::never : spdlog::color_mode::automatic;
  auto terminal = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(color);
  terminal->set_pattern("%^%v%$");
  terminal->set_level(values["quiet"].as<bool>()     ? spdlog::level::warn
                      : values["verbose"].as<bool>() ? spdlog::level::debug
                                                     : spdlog::level::info);
  std::vector<spdlog::sink_ptr> sinks = {terminal};
  if (values.count("log-file") != 0) {
    const auto& path = values["log-file"].as<std::string>();
    try {
      auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
      file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %P %l %v");
      file->set_level(spdlog::level::debug);
      sinks.push_back(file);
    } catch (const spdlog::spdlog_ex& error) {
      throw_user_error("--log-file {}: cannot be opened ({}); name a file that can be written",
                       path, error.what());
    }
  }
  auto logger = std::make_shared<spdlog::logger>("ropesweep", sinks.begin(), sinks.end());
  logger->set_level(spdlog::level::debug);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

}  // namespace

bool parse_options(const Arguments& arguments, const std::string& usage,
                   const po::options_description& options,
                   const po::positional_options_description& positional,
                   po::variables_map& values) {
  po::options_description all;
  all.add(options).add(common_options());
  // No guessing: an abbreviation that works today may be ambiguous tomorrow.
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    po::variables_map parsed;
    po::store(
        po::command_line_parser(arguments).options(all).positional(positional).style(style).run(),
        parsed);
    if (parsed.count("help") != 0) {
      std::cout << "usage: " << usage << "\n" << all << std::flush;
      return false;
    }
    po::notify(parsed);
    values.swap(parsed);
  } catch (const po::unknown_option& error) {
    const std::string nearest = nearest_name(error.get_option_name(), long_names(all));
    throw_user_error("unknown option {}{}", error.get_option_name(),
                     nearest.empty() ? "; --help lists all" : "; did you mean " + nearest + "?");
  } catch (const po::too_many_positional_options_error&) {
    throw_user_error("too many arguments; usage: {}", usage);
  } catch (const po::error& error) {
    throw_user_error("{}; usage: {}", error.what(), usage);
  }
  apply_log_settings(values);
  return true;
}

void add_engine_options(po::options_description& options, EngineOptions& engine) {
  po::options_description group("Engine options");
  auto add = group.add_options();
  add("device", po::value(&engine.device)->default_value(engine.device)->value_name("D"),
      "cpu | cuda | cuda:N | auto");
  add("type", po::value(&engine.type)->value_name("T"), "f32 | bf16 (the checkpoint's)");
  add("threads", po::value(&engine.threads)->default_value(0)->value_name("N"),
      "threads (0: all cores)");
  add("seed", po::value(&engine.seed)->default_value(0)->value_name("N"),
      "seed of all that is random");
  add("hf-bits", po::bool_switch(&engine.hf_bits),
      "position tables with float32 arithmetic in transformers' order");
  add("profile", po::bool_switch(&engine.profile),
      "time by op with FLOP/s on standard error at the end");
  options.add(group);
}

}  // namespace ropesweep::commands
