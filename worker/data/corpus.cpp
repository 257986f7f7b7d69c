// Where documents and samples come from: files of each layout, or the builders.
#include "worker/data/corpus.h"

#include <algorithm>

#include "experiments/error.h"
#include "worker/data/builders.h"
#include "worker/data/record_builder.h"
#include "worker/data/record_reader.h"
#include "worker/data/sample_record.h"
#include "worker/data/synthetic_text.h"

namespace ropesweep::data {
namespace {

constexpr int64_t default_samples = 50;  ///< of a built set
constexpr int64_t template_tokens = 64;  ///< left free for a chat template around a built prompt

/// A .txt file: one document.
class TextFile : public DocumentSource {
 public:
  explicit TextFile(std::filesystem::path file)
      : file_(std::move(file)), bytes_(open_bytes(file_)) {}

  bool next(Document& document) override {
    if (!bytes_) return false;
    document = {0, ""};
    for (auto block = bytes_->next(); !block.empty(); block = bytes_->next())
      document.text += block;
    bytes_.reset();
    if (document.text.empty()) throw_user_error("{}: is empty", file_.string());
    return true;
  }

 private:
  std::filesystem::path file_;
  std::unique_ptr<ByteStream> bytes_;
};

/// JSON lines with a text field.
class TextRecords : public DocumentSource {
 public:
  explicit TextRecords(const DatasetSettings& settings)
      : settings_(settings), reader_(settings.path, settings.skip_bad_records) {}

  bool next(Document& document) override {
    if (settings_.samples > 0 && given_ == settings_.samples) return false;
    const bool found = reader_.next([&](const Record& record, int64_t index) {
      document = {index, record.text(settings_.text_field)};
    });
    bad_records_ = reader_.bad_records();
    if (!found && given_ == 0) {
      throw_user_error("{}: holds no documents ({} malformed ones skipped)", settings_.path,
                       bad_records_);
    }
    given_ += found ? 1 : 0;
    return found;
  }

 private:
  DatasetSettings settings_;
  RecordReader reader_;
  int64_t given_ = 0;
};

class BuiltDocuments : public DocumentSource {
 public:
  BuiltDocuments(BuildOptions options, const llama::Tokenizer& tokenizer)
      : options_(std::move(options)), tokenizer_(tokenizer) {
    make_record_builder(options_, tokenizer_);  // checks the options
  }

  bool next(Document& document) override {
    if (index_ == options_.samples) return false;
    document = {index_, synthetic_document(options_, tokenizer_, index_).text};
    ++index_;
    return true;
  }

 private:
  BuildOptions options_;
  const llama::Tokenizer& tokenizer_;
  int64_t index_ = 0;
};

BuildOptions build_options(const DatasetSettings& settings, int64_t tokens) {
  BuildOptions options;
  options.kind = settings.kind;
  options.seed = settings.data_seed;
  options.samples = settings.samples > 0 ? settings.samples : default_samples;
  options.tokens = tokens;
  return options;
}

/// ".txt" of "pg19.txt.gz".
std::string layout_of(const std::filesystem::path& path) {
  const std::string last = path.extension().string();
  const bool compressed = last == ".gz" || last == ".zst";
  return compressed ? path.stem().extension().string() : last;
}

std::vector<Sample> read_samples(const DatasetSettings& settings) {
  std::vector<Sample> samples;
  RecordReader reader(settings.path, settings.skip_bad_records);
  const auto take = [&](const Record& record, int64_t index) {
    samples.push_back(sample_from_record(settings.kind, record, index));
  };
  const auto wanted = [&] {
    return settings.samples == 0 || static_cast<int64_t>(samples.size()) < settings.samples;
  };
  while (wanted() && reader.next(take)) {
  }
  if (samples.empty()) {
    throw_user_error("{}: holds no samples ({} malformed ones skipped)", settings.path,
                     reader.bad_records());
  }
  return samples;
}

}  // namespace

std::unique_ptr<DocumentSource> open_documents(const DatasetSettings& settings,
                                               const llama::Tokenizer& tokenizer,
                                               int64_t built_tokens) {
  if (settings.kind == "synthetic-wiki" || settings.kind == "synthetic-mix") {
    if (settings.path.empty()) {
      return std::make_unique<BuiltDocuments>(build_options(settings, built_tokens), tokenizer);
    }
  } else if (settings.kind != "text") {
    throw_user_error(
        "data set '{}': kind '{}' has no documents; expected text, synthetic-wiki or synthetic-mix",
        settings.name, settings.kind);
  }
  if (settings.path.empty())
    throw_user_error("data set '{}': kind text needs a path", settings.name);
  const std::string layout = layout_of(settings.path);
  if (layout == ".txt") return std::make_unique<TextFile>(settings.path);
  if (layout == ".jsonl" || layout == ".json" || layout == ".ndjson") {
    return std::make_unique<TextRecords>(settings);
  }
  throw_user_error(
      "{}: unknown layout '{}'; expected .txt, .jsonl or .json (JSON lines), each also .gz or .zst",
      settings.path, layout);
}

std::vector<Sample> load_samples(const DatasetSettings& settings, const llama::Tokenizer& tokenizer,
                                 int64_t context_length) {
  const int64_t new_tokens =
      settings.max_new_tokens > 0 ? settings.max_new_tokens : default_new_tokens(settings.kind);
  if (!settings.path.empty()) return read_samples(settings);
  const int64_t reserved = new_tokens + (settings.instruction_template ? template_tokens : 0);
  const BuildOptions options =
      build_options(settings, std::max<int64_t>(1, context_length - reserved));
  const auto builder = make_record_builder(options, tokenizer);
  std::vector<Sample> samples;
  for (int64_t index = 0; index < options.samples; ++index) {
    const Record record(builder->build(index), fmt::format("{} record {}", settings.kind, index));
    samples.push_back(sample_from_record(settings.kind, record, index));
  }
  return samples;
}

int64_t default_new_tokens(const std::string& kind) {
  if (kind == "lines") return 35;
  if (kind == "passkey") return 16;
  if (kind == "wikiqa") return 50;
  throw_user_error("kind '{}' has no samples; expected lines, passkey or wikiqa", kind);
}

}  // namespace ropesweep::data
