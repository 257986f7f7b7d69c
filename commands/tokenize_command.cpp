// `ropesweep tokenize`: lines of text to JSON arrays of ids, and back.
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "commands/engine.h"
#include "experiments/error.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;

const std::string usage = "ropesweep tokenize --model DIR [--decode] [FILE]";

struct TokenizeOptions {
  std::string model, file;
  bool decode = false, no_special_tokens = false, keep_special_tokens = false;
};

po::options_description describe(TokenizeOptions& o) {
  po::options_description options("Options");
  auto add = options.add_options();
  add("model", po::value(&o.model)->value_name("DIR"),
      "directory with tokenizer.json or tokenizer.model");
  add("file", po::value(&o.file)->value_name("FILE"), "input; standard input without it");
  add("decode", po::bool_switch(&o.decode), "one JSON array of ids a line, to text");
  add("no-special-tokens", po::bool_switch(&o.no_special_tokens),
      "leave out what the post-processor adds");
  add("keep-special-tokens", po::bool_switch(&o.keep_special_tokens),
      "with --decode: special tokens stay in the text");
  return options;
}

std::string to_line(const std::vector<int32_t>& ids) {
  std::string line = "[";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) line += ',';
    line += std::to_string(ids[i]);
  }
  return line + "]\n";
}

std::vector<int32_t> parse_ids(const std::string& line, const std::string& file, int64_t number) {
  try {
    return nlohmann::json::parse(line).get<std::vector<int32_t>>();
  } catch (const nlohmann::json::exception&) {
    throw_user_error("{}:{}: no JSON array of ids", file, number);
  }
}

/// `\n` alone separates lines; a last one without it is a line, too.
void convert(std::istream& input, const TokenizeOptions& o, const llama::Tokenizer& tokenizer) {
  const std::string name = o.file.empty() ? "standard input" : o.file;
  std::string line;
  for (int64_t number = 1; std::getline(input, line); ++number) {
    if (o.decode) {
      const auto ids = parse_ids(line, name, number);
      for (const int32_t id : ids) {
        if (id < 0 || id >= tokenizer.vocabulary()) {
          throw_user_error("{}:{}: id {} is outside the vocabulary of {}", name, number, id,
                           tokenizer.vocabulary());
        }
      }
      std::cout << tokenizer.decode(ids, !o.keep_special_tokens) << "\n";
    } else {
      std::cout << to_line(tokenizer.encode(line, !o.no_special_tokens));
    }
  }
  if (input.bad()) throw_transient_error("{}: cannot be read", name);
}

}  // namespace

int tokenize_command(const Arguments& arguments) {
  TokenizeOptions o;
  po::variables_map values;
  po::positional_options_description positional;
  positional.add("file", 1);
  if (!parse_options(arguments, usage, describe(o), positional, values)) return 0;
  require_option(o.model, "--model", usage);
  const auto tokenizer = llama::read_tokenizer(existing_path(o.model, "--model"));
  if (o.file.empty()) {
    convert(std::cin, o, *tokenizer);
  } else {
    std::ifstream stream(existing_path(o.file, "FILE"), std::ios::binary);
    if (!stream) throw_user_error("{}: cannot be read", o.file);
    convert(stream, o, *tokenizer);
  }
  return 0;
}

}  // namespace ropesweep::commands
