// Rows out of lines: a line break within quotes goes on with the next line.
#include "worker/data/csv_reader.h"

namespace ropesweep::data {

bool CsvReader::next(std::vector<std::string>& fields, bool& closed) {
  std::string line;
  do {
    if (!lines_.next(line)) return false;
  } while (line.empty());
  number_ = lines_.number();
  fields.assign(1, "");
  bool quoted = false;
  for (;;) {
    for (size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[++i];
      } else if (c == '"' && (quoted || fields.back().empty())) {
        quoted = !quoted;
      } else if (c == ',' && !quoted) {
        fields.emplace_back();
      } else {
        fields.back() += c;
      }
    }
    closed = !quoted;
    if (!quoted) return true;
    fields.back() += '\n';
    lines_.check_length(fields.back().size());
    if (!lines_.next(line)) return true;
  }
}

}  // namespace ropesweep::data
