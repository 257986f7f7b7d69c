// Data set files: the builder of a kind, record by record, written beside and renamed.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "worker/data/builders.h"
#include "worker/data/record_builder.h"

namespace ropesweep::data {
namespace {

using MakeBuilder = std::unique_ptr<RecordBuilder> (*)(const BuildOptions&,
                                                       const llama::Tokenizer&);

const std::map<std::string, MakeBuilder>& builders() {
  static const std::map<std::string, MakeBuilder> table = {{"lines", lines_builder},
                                                           {"passkey", passkey_builder},
                                                           {"wikiqa", wikiqa_builder},
                                                           {"synthetic-wiki", synthetic_builder},
                                                           {"synthetic-mix", synthetic_builder}};
  return table;
}

/// Makes what was written last, so that the name never stands for a part.
void sync(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced) throw_transient_error("{}: can't be synced", file.string());
}

}  // namespace

const std::vector<std::string>& built_kinds() {
  static const std::vector<std::string> kinds = {"lines", "passkey", "wikiqa", "synthetic-wiki",
                                                 "synthetic-mix"};
  return kinds;
}

std::unique_ptr<RecordBuilder> make_record_builder(const BuildOptions& options,
                                                   const llama::Tokenizer& tokenizer) {
  const auto found = builders().find(options.kind);
  if (found == builders().end()) {
    const std::string nearest = nearest_name(options.kind, built_kinds());
    throw_user_error("'{}' is no kind of built data{}", options.kind,
                     nearest.empty() ? "" : ": did you mean '" + nearest + "'?");
  }
  return found->second(options, tokenizer);
}

void write_dataset(const BuildOptions& options, const llama::Tokenizer& tokenizer,
                   const std::filesystem::path& file) {
  const auto builder = make_record_builder(options, tokenizer);
  if (options.samples < 1) throw_user_error("{}: samples must be positive", options.kind);
  const std::filesystem::path beside = file.string() + ".part";
  try {
    std::ofstream stream(beside, std::ios::binary | std::ios::trunc);
    for (int64_t index = 0; index < options.samples; ++index) {
      stream << builder->build(index).dump() << '\n';
    }
    stream.close();
    if (!stream) throw_transient_error("{}: can't be written (is there room?)", beside.string());
    sync(beside);
    std::filesystem::rename(beside, file);
  } catch (const std::filesystem::filesystem_error& error) {
    throw_transient_error("{}: {}", file.string(), error.code().message());
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw;
  }
}

}  // namespace ropesweep::data
