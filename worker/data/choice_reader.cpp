// Questions out of files: lines, an array, or MMLU's tables; one layout or another.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>

#include "experiments/error.h"
#include "experiments/json_text.h"
#include "worker/data/choice_question.h"
#include "worker/data/csv_reader.h"
#include "worker/data/python_text.h"
#include "worker/data/record_splitter.h"

namespace ropesweep::data {
namespace {

namespace fs = std::filesystem;

Record parsed(const std::string& text, const std::string& place) {
  nlohmann::json value;
  if (!json_nests_too_deep(text)) value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) throw_user_error("{}: expected a JSON object", place);
  return {std::move(value), place};
}

bool ends_with_csv(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".csv") || name.ends_with(".csv.gz") || name.ends_with(".csv.zst");
}

/// "high_school_biology_test.csv" is about high_school_biology.
std::string subject_of(const fs::path& file) {
  std::string name = file.filename().string();
  name = name.substr(0, name.find(".csv"));
  for (const std::string split : {"_test", "_dev", "_val"}) {
    if (name.ends_with(split)) return name.substr(0, name.size() - split.size());
  }
  return name;
}

/// A row of MMLU: question, four options, the answer's letter; no header.
Record record_of(const std::vector<std::string>& fields, bool closed, const std::string& subject,
                 const std::string& place) {
  if (!closed) throw_user_error("{}: the file ends within quotes", place);
  if (fields.size() != 6) {
    throw_user_error("{}: expected 6 columns (question, A, B, C, D, answer), not {}", place,
                     fields.size());
  }
  return {{{"question", fields[0]},
           {"subject", subject},
           {"choices", {fields[1], fields[2], fields[3], fields[4]}},
           {"answer", fields[5]}},
          place};
}

/// What reads questions of one set, file by file.
class QuestionReader {
 public:
  QuestionReader(ChoiceQuestions& into, bool skip_bad, int64_t most)
      : into_(into), skip_bad_(skip_bad), most_(most) {}

  void read(const fs::path& file) {
    if (ends_with_csv(file)) {
      read_csv(file);
    } else {
      RecordSplitter records(file);
      std::string text;
      while (!enough() && records.next(text)) {
        const std::string place = records.place();
        take([&] { return parsed(text, place); });
      }
    }
  }

 private:
  bool enough() const { return most_ > 0 && static_cast<int64_t>(into_.questions.size()) >= most_; }

  void read_csv(const fs::path& file) {
    CsvReader rows(file);
    std::vector<std::string> fields;
    bool closed = true;
    const std::string subject = subject_of(file);
    while (!enough() && rows.next(fields, closed)) {
      const std::string place = fmt::format("{}:{}", file.string(), rows.number());
      take([&] { return record_of(fields, closed, subject, place); });
    }
  }

  void take(const std::function<Record()>& make) {
    const int64_t index = index_++;
    try {
      const Record record = make();
      if (into_.layout.empty()) into_.layout = layout_of(record);
      ChoiceQuestion question = question_of(record);
      question.index = index;
      into_.questions.push_back(std::move(question));
    } catch (const Error& error) {
      if (!skip_bad_ || error.kind() != FailureKind::user) throw;
      ++into_.bad_records;
    }
  }

  static std::string layout_of(const Record& record) {
    const nlohmann::json& fields = record.value();
    if (fields.contains("mc1_targets")) return "truthfulqa";
    if (fields.contains("endings")) return "hellaswag";
    if (fields.contains("answerKey")) return "arc";
    if (fields.contains("choices") && fields.contains("subject")) return "mmlu";
    record.fail("endings, answerKey, subject or mc1_targets",
                "is missing: of no known layout (arc, hellaswag, mmlu, truthfulqa)");
  }

  ChoiceQuestion question_of(const Record& record) const {
    if (into_.layout == "arc") return arc_question(record);
    if (into_.layout == "hellaswag") return hellaswag_question(record);
    if (into_.layout == "mmlu") return mmlu_question(record);
    if (into_.layout == "truthfulqa") return truthfulqa_question(record);
    throw_user_error("layout '{}' is unknown; choose arc, hellaswag, mmlu or truthfulqa",
                     into_.layout);
  }

  ChoiceQuestions& into_;
  bool skip_bad_;
  int64_t most_, index_ = 0;
};

/// The file itself, or the tables in a directory in the order of their names.
std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file() && ends_with_csv(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) throw_user_error("{}: no .csv files in this directory", path.string());
  return files;
}

}  // namespace

ChoiceQuestions read_questions(const std::string& path, const std::string& layout,
                               bool skip_bad_records, int64_t most) {
  ChoiceQuestions read;
  read.layout = layout;
  QuestionReader reader(read, skip_bad_records, most);
  for (const fs::path& file : files_of(path)) reader.read(file);
  if (read.bad_records > 0)
    spdlog::warn("{}: {} malformed records skipped", path, read.bad_records);
  if (read.questions.empty()) {
    throw_user_error("{}: holds no questions ({} malformed ones skipped)", path, read.bad_records);
  }
  return read;
}

std::string choice_description(const std::string& layout, const std::string& subject) {
  if (layout != "mmlu") return "";
  return "The following are multiple choice questions (with answers) about " +
         replaced(subject, "_", " ") + ".\n\n";
}

int64_t leaderboard_shots(const std::string& layout) {
  if (layout == "arc") return 25;
  if (layout == "hellaswag") return 10;
  return layout == "mmlu" ? 5 : 0;
}

}  // namespace ropesweep::data
