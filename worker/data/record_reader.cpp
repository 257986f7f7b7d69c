// Fields of JSON-lines records, checked one by one.
#include "worker/data/record_reader.h"

#include <charconv>

#include "experiments/error.h"
#include "experiments/json_text.h"

namespace ropesweep::data {
namespace {

Record parse_record(const std::string& text, std::string place) {
  try {
    Record record(parse_json(text), place);
    if (!record.value().is_object()) {
      throw_user_error("{}: expected an object (records are objects, one a line or in one array)",
                       place);
    }
    return record;
  } catch (const nlohmann::json::exception&) {
    throw_user_error("{}: not JSON (records are one a line or in one array, in UTF-8)", place);
  }
}

}  // namespace

void Record::fail(const std::string& field, const char* what) const {
  throw_user_error("{}: {}: {}", place_, field, what);
}

const nlohmann::json& Record::at(const std::string& field) const {
  const nlohmann::json* value = &value_;
  for (size_t start = 0; start <= field.size();) {
    const size_t dot = std::min(field.find('.', start), field.size());
    const std::string key = field.substr(start, dot - start);
    const bool is_index = !key.empty() && key.find_first_not_of("0123456789") == std::string::npos;
    if (value->is_object() && value->contains(key)) {
      value = &value->at(key);
    } else if (value->is_array() && is_index && key.size() < 9 && std::stoul(key) < value->size()) {
      value = &value->at(std::stoul(key));
    } else {
      fail(field, "is missing");
    }
    start = dot + 1;
  }
  return *value;
}

const std::string& Record::text(const std::string& field) const {
  const nlohmann::json& value = at(field);
  if (!value.is_string()) fail(field, "expected a text");
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty()) fail(field, "is empty");
  return text;
}

std::string Record::text_or_integer(const std::string& field) const {
  const nlohmann::json& value = at(field);
  return value.is_number_integer() ? value.dump() : text(field);
}

int64_t Record::integer(const std::string& field) const {
  const nlohmann::json& value = at(field);
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_string()) fail(field, "expected an integer");
  const auto& text = value.get_ref<const std::string&>();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) fail(field, "expected an integer");
  return number;
}

double Record::fraction(const std::string& field) const {
  const nlohmann::json& value = at(field);
  if (!value.is_number()) fail(field, "expected a number from 0 to 1");
  const auto number = value.get<double>();
  if (!(number >= 0 && number <= 1)) fail(field, "expected a number from 0 to 1");
  return number;
}

RecordReader::RecordReader(const std::filesystem::path& file, bool skip_bad)
    : records_(file), skip_bad_(skip_bad) {}

bool RecordReader::next(const std::function<void(const Record&, int64_t)>& take) {
  std::string text;
  while (records_.next(text)) {
    const int64_t index = index_++;
    try {
      take(parse_record(text, records_.place()), index);
      return true;
    } catch (const Error& error) {
      if (!skip_bad_ || error.kind() != FailureKind::user) throw;
      ++bad_records_;
    }
  }
  return false;
}

}  // namespace ropesweep::data
