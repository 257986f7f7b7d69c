// Lines, and elements by their brackets: strings are passed over, what stands between is the
// parser's business.
#include "worker/data/record_splitter.h"

#include "experiments/error.h"

namespace ropesweep::data {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

RecordSplitter::RecordSplitter(const std::filesystem::path& file)
    : file_(file), bytes_(open_bytes(file)) {
  block_ = bytes_->next();
  if (block_.starts_with(byte_order_mark)) block_.remove_prefix(byte_order_mark.size());
  char c = 0;
  if (skip_spaces(c) && c == '[') {
    is_array_ = true;
    take();
  }
}

void RecordSplitter::fail(const char* what) const {
  throw_user_error("{}:{}: the array of records {}", file_.string(), line_, what);
}

std::string RecordSplitter::place() const {
  if (!is_array_) return fmt::format("{}:{}", file_.string(), record_line_);
  return fmt::format("{}:{} (element {})", file_.string(), record_line_, element_);
}

/// The next byte, which stays; false at the end.
bool RecordSplitter::peek(char& c) {
  if (block_.empty()) block_ = bytes_->next();
  if (block_.empty()) return false;
  c = block_.front();
  return true;
}

void RecordSplitter::take() {
  if (block_.front() == '\n') ++line_;
  block_.remove_prefix(1);
}

bool RecordSplitter::skip_spaces(char& c) {
  while (peek(c)) {
    if (!is_space(c)) return true;
    take();
  }
  return false;
}

bool RecordSplitter::next(std::string& text) {
  return is_array_ ? next_element(text) : next_line(text);
}

bool RecordSplitter::next_line(std::string& text) {
  text.clear();
  char c = 0;
  if (!skip_spaces(c)) return false;
  record_line_ = line_;
  while (peek(c)) {
    const size_t end = block_.find('\n');
    text.append(block_.substr(0, end));
    check_record_length(text.size(), file_, record_line_);
    block_.remove_prefix(end == std::string_view::npos ? block_.size() : end);
    if (end == std::string_view::npos) continue;
    take();
    break;
  }
  return true;
}

bool RecordSplitter::next_element(std::string& text) {
  if (ended_) return false;
  char c = 0;
  if (!skip_spaces(c)) fail("has no end: is the file cut short?");
  const bool is_first = element_ < 0;
  if (c == ',' && !is_first) {
    take();
    if (!skip_spaces(c)) fail("has no end: is the file cut short?");
    if (c == ']' || c == ',') fail("has a comma with no record after it");
  } else if (c == ']') {
    take();
    ended_ = true;
    if (skip_spaces(c)) fail("has ended, and something follows");
    return false;
  } else if (!is_first) {
    fail("lacks a comma between two records");
  }
  ++element_;
  record_line_ = line_;
  read_element(text);
  return true;
}

/// From its first character to its last: an object or array by its brackets, anything else up to
/// what ends it.
void RecordSplitter::read_element(std::string& text) {
  text.clear();
  int64_t depth = 0;
  bool in_string = false, escaped = false;
  for (char c = 0; peek(c);) {
    if (!in_string && depth == 0 && !text.empty() && (c == ',' || c == ']' || is_space(c))) return;
    text += c;
    check_record_length(text.size(), file_, record_line_);
    take();
    if (in_string) {
      if (escaped) {
        escaped = false;
      } else if (c == '\\') {
        escaped = true;
      } else {
        in_string = c != '"';
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    }
    if (depth == 0 && !in_string && (c == '}' || c == ']' || c == '"')) return;
  }
  fail("has no end: is the file cut short?");
}

}  // namespace ropesweep::data
