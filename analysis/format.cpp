// The three output formats of `query`.
#include "analysis/format.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/error.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

/// Columns on a terminal: UTF-8 bytes that begin a character.
size_t display_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// For people: six digits, one line.
std::string short_text(const Column& column, size_t row) {
  if (column.is_text) {
    std::string text = column.texts[row];
    for (char& c : text) {
      if (c == '\n' || c == '\t' || c == '\r') c = ' ';
    }
    return text;
  }
  const double number = column.numbers[row];
  if (std::isnan(number)) return "-";
  return column.is_integer ? cell_text(column, row) : fmt::format("{:.6g}", number);
}

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  char text[40];
  const auto [end, error] = std::to_chars(text, text + sizeof text, number);
  return {text, end};
}

std::string cell_text(const Column& column, size_t row) {
  if (column.is_text) return column.texts[row];
  const double number = column.numbers[row];
  if (!column.is_integer || std::isnan(number)) return number_text(number);
  return std::to_string(static_cast<int64_t>(number));
}

void print_table(std::ostream& out, const Table& table) {
  const size_t rows = row_count(table);
  std::vector<std::vector<std::string>> texts(table.size());
  std::vector<size_t> widths;
  for (size_t i = 0; i < table.size(); ++i) {
    size_t width = display_width(table[i].name);
    for (size_t row = 0; row < rows; ++row) {
      texts[i].push_back(short_text(table[i], row));
      width = std::max(width, display_width(texts[i].back()));
    }
    widths.push_back(width);
  }
  const auto put = [&](size_t i, const std::string& text) {
    const std::string padding(widths[i] - display_width(text), ' ');
    const bool last = i + 1 == table.size();
    if (!table[i].is_text) return padding + text + (last ? "" : "  ");
    return text + (last ? "" : padding + "  ");
  };
  std::string line;
  for (size_t i = 0; i < table.size(); ++i) line += put(i, table[i].name);
  out << line << '\n';
  for (size_t row = 0; row < rows; ++row) {
    line.clear();
    for (size_t i = 0; i < table.size(); ++i) line += put(i, texts[i][row]);
    out << line << '\n';
  }
}

void print_csv(std::ostream& out, const Table& table) {
  for (size_t i = 0; i < table.size(); ++i) {
    out << (i == 0 ? "" : ",") << csv_text(table[i].name);
  }
  out << '\n';
  std::string line;
  for (size_t row = 0; row < row_count(table); ++row) {
    line.clear();
    for (size_t i = 0; i < table.size(); ++i) {
      if (i > 0) line += ',';
      if (table[i].is_text) {
        line += csv_text(table[i].texts[row]);
      } else if (!std::isnan(table[i].numbers[row])) {
        line += cell_text(table[i], row);
      }
    }
    out << line << '\n';
  }
}

void print_json(std::ostream& out, const Table& table) {
  std::vector<std::string> names;
  for (const Column& column : table) names.push_back(json_text(column.name) + ": ");
  const size_t rows = row_count(table);
  std::string line;
  out << "[";
  for (size_t row = 0; row < rows; ++row) {
    line = row == 0 ? "\n  {" : ",\n  {";
    for (size_t i = 0; i < table.size(); ++i) {
      if (i > 0) line += ", ";
      line += names[i];
      if (table[i].is_text) {
        line += json_text(table[i].texts[row]);
      } else {
        line += std::isfinite(table[i].numbers[row]) ? cell_text(table[i], row) : "null";
      }
    }
    out << line << '}';
  }
  out << (rows > 0 ? "\n]\n" : "]\n");
}

void print_formatted(std::ostream& out, const Table& table, const std::string& format) {
  if (format == "table") return print_table(out, table);
  if (format == "csv") return print_csv(out, table);
  if (format == "json") return print_json(out, table);
  throw_user_error("--format {}: there are table, csv and json", format);
}

}  // namespace ropesweep
