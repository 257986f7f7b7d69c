// `ropesweep data KIND`: builds a data set file.
#include <filesystem>
#include <memory>

#include "commands/engine.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "worker/data/builders.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;

const std::string usage =
    "ropesweep data lines|passkey|wikiqa|synthetic-wiki|synthetic-mix --output FILE [options]";

struct DataOptions {
  std::string model, output;
  data::BuildOptions build;
};

po::options_description describe(DataOptions& o) {
  data::BuildOptions& b = o.build;
  po::options_description options("Options");
  auto add = options.add_options();
  add("kind", po::value(&b.kind)->value_name("KIND"), "what to build");
  add("output", po::value(&o.output)->value_name("FILE"), "JSON lines are written here");
  add("model", po::value(&o.model)->value_name("DIR"),
      "directory with the tokenizer that counts tokens (bytes are counted without it)");
  add("samples", po::value(&b.samples)->default_value(b.samples)->value_name("N"), "records");
  add("tokens", po::value(&b.tokens)->default_value(b.tokens)->value_name("N"),
      "at most this many a prompt; at least this many a document");
  add("lines", po::value(&b.lines)->value_name("N"), "lines: exactly this many instead");
  add("seed", po::value(&b.seed)->default_value(0)->value_name("N"), "same seed, same bytes");
  add("lines-percent", po::value(&b.lines_percent)->default_value(b.lines_percent)->value_name("P"),
      "synthetic-mix: share of lines records");
  add("passkey-percent",
      po::value(&b.passkey_percent)->default_value(b.passkey_percent)->value_name("P"),
      "synthetic-mix: share of passkey records");
  add("wikiqa-percent",
      po::value(&b.wikiqa_percent)->default_value(b.wikiqa_percent)->value_name("P"),
      "synthetic-mix: share of question records");
  return options;
}

}  // namespace

int data_command(const Arguments& arguments) {
  DataOptions o;
  po::variables_map values;
  po::positional_options_description positional;
  positional.add("kind", 1);
  if (!parse_options(arguments, usage, describe(o), positional, values)) return 0;
  require_option(o.build.kind, "KIND", usage);
  require_option(o.output, "--output", usage);
  const auto tokenizer = o.model.empty() ? llama::byte_tokenizer()
                                         : llama::read_tokenizer(existing_path(o.model, "--model"));
  data::write_dataset(o.build, *tokenizer, o.output);
  return 0;
}

}  // namespace ropesweep::commands
