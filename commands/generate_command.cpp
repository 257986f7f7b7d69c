// `ropesweep generate`: the greedy continuation of one prompt.
#include <fstream>
#include <iostream>
#include <iterator>

#include "commands/engine.h"
#include "experiments/error.h"
#include "worker/llama/config.h"
#include "worker/tasks/device.h"
#include "worker/tasks/generation.h"
#include "worker/tasks/model_cache.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;

const std::string usage =
    "ropesweep generate --model DIR --prompt TEXT|--prompt-file F [--max-new-tokens N] [options]";

struct GenerateOptions {
  std::string model, base, prompt, prompt_file, format;
  int64_t max_new_tokens = 64;
  DatasetSettings how;
  PositionOptions positions;
  EngineOptions engine;
};

po::options_description describe(GenerateOptions& o) {
  po::options_description options("Options");
  auto add = options.add_options();
  add("model", po::value(&o.model)->value_name("DIR"),
      "Hugging Face checkpoint, or a PEFT adapter");
  add_base_option(options, o.base);
  add("prompt", po::value(&o.prompt)->value_name("TEXT"), "text to continue");
  add("prompt-file", po::value(&o.prompt_file)->value_name("F"),
      "file that holds it; - for standard input");
  add("max-new-tokens", po::value(&o.max_new_tokens)->default_value(64)->value_name("N"),
      "tokens generated at most");
  add("bos", po::value(&o.how.bos)->default_value("auto")->value_name("B"),
      "auto (as the tokenizer's post-processor) | yes | no");
  add("instruction-template", po::bool_switch(&o.how.instruction_template),
      "the prompt goes through the checkpoint's chat template");
  add("format", po::value(&o.format)->default_value("text")->value_name("F"), "text | json");
  add_position_options(options, o.positions);
  add_engine_options(options, o.engine);
  return options;
}

std::string read_prompt(const GenerateOptions& o) {
  if (o.prompt_file.empty()) return o.prompt;
  if (o.prompt_file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream stream(existing_path(o.prompt_file, "--prompt-file"), std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) throw_user_error("--prompt-file {}: cannot be read", o.prompt_file);
  return text;
}

void check_options(const GenerateOptions& o, const po::variables_map& values) {
  require_option(o.model, "--model", usage);
  if ((values.count("prompt") != 0) == (values.count("prompt-file") != 0)) {
    throw_user_error("give either --prompt or --prompt-file; usage: {}", usage);
  }
  if (o.max_new_tokens < 1)
    throw_user_error("--max-new-tokens {}: must be at least 1", o.max_new_tokens);
  if (o.format != "text" && o.format != "json") {
    throw_user_error("--format {}: unknown; choose text or json", o.format);
  }
  if (o.how.bos != "auto" && o.how.bos != "yes" && o.how.bos != "no") {
    throw_user_error("--bos {}: unknown; choose auto, yes or no", o.how.bos);
  }
}

}  // namespace

int generate_command(const Arguments& arguments) {
  GenerateOptions o;
  po::variables_map values;
  if (!parse_options(arguments, usage, describe(o), {}, values)) return 0;
  check_options(o, values);
  const std::string model_path = existing_path(o.model, "--model");
  const std::string shape = shape_of(model_path, o.base);
  const ResolvedPositions positions = resolve_positions(o.positions, shape);
  const auto backend = tasks::make_backend(o.engine.device, checked_threads(o.engine));
  const tasks::LoadedModel loaded =
      tasks::load_model(*backend, {shape, model_path, shape, o.engine.type, 0, o.base});
  loaded.model->use_positions(make_position_encoding(
      positions.scheme, positions.scale, loaded.model->config().rotary, arithmetic_of(o.engine)));

  const tasks::TaskContext context = make_context(o.engine);
  const auto prompt = tasks::encode_prompt(*loaded.tokenizer, o.how, read_prompt(o));
  const tasks::Generated generated =
      tasks::generate(*loaded.model, *loaded.tokenizer, prompt, o.max_new_tokens, {}, context);
  finish_engine(o.engine);
  if (o.format == "text") {
    std::cout << generated.text << "\n";
    return 0;
  }
  nlohmann::ordered_json json;
  json["text"] = generated.text;
  json["ids"] = generated.ids;
  json["prompt_ids"] = prompt;
  json["scheme"] = positions.scheme;
  json["scale"] = positions.scale;
  std::cout << json.dump() << "\n";
  return 0;
}

}  // namespace ropesweep::commands
