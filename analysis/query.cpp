// Columnar filter, order, select and pivot.
#include "analysis/query.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <unordered_map>

#include "analysis/expression.h"
#include "analysis/format.h"
#include "experiments/error.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

struct SortKey {
  const Column* column;
  bool descending;
};

SortKey sort_key(const Table& table, const std::string& text) {
  std::string name = text;
  bool descending = false;
  if (name.starts_with('-')) {
    descending = true;
    name.erase(0, 1);
  }
  const size_t space = name.find_first_of(" \t");
  if (space != std::string::npos) {
    const std::string direction = name.substr(name.find_first_not_of(" \t", space));
    if (direction != "asc" && direction != "desc") {
      throw_user_error("--order-by: \"{}\": after the column there may be asc or desc", text);
    }
    descending = direction == "desc";
    name.erase(space);
  }
  return {&find_column(table, name, "--order-by"), descending};
}

/// −1, 0 or 1; NaN is after all numbers in both directions.
int compare_rows(const SortKey& key, size_t a, size_t b) {
  int order = 0;
  if (key.column->is_text) {
    order = key.column->texts[a].compare(key.column->texts[b]);
  } else {
    const double x = key.column->numbers[a], y = key.column->numbers[b];
    if (std::isnan(x) || std::isnan(y)) return int{std::isnan(x)} - int{std::isnan(y)};
    order = x < y ? -1 : int{x > y};
  }
  return key.descending ? -order : order;
}

void sort_rows(const Table& table, const std::vector<std::string>& order_by,
               std::vector<size_t>& rows) {
  std::vector<SortKey> keys;
  for (const std::string& text : order_by) keys.push_back(sort_key(table, text));
  std::stable_sort(rows.begin(), rows.end(), [&keys](size_t a, size_t b) {
    for (const SortKey& key : keys) {
      const int order = compare_rows(key, a, b);
      if (order != 0) return order < 0;
    }
    return false;
  });
}

/// The distinct values of a column over some rows, as numbers of groups.
struct Groups {
  std::vector<size_t> of_row;     ///< by place in `rows`
  std::vector<size_t> first_row;  ///< a row of the table for each group
};

Groups group_rows(const Column& column, const std::vector<size_t>& rows) {
  Groups groups;
  std::unordered_map<std::string, size_t> known;
  for (const size_t row : rows) {
    const std::string value = cell_text(column, row);
    const auto [found, is_new] = known.try_emplace(value, known.size());
    if (is_new) groups.first_row.push_back(row);
    groups.of_row.push_back(found->second);
  }
  if (column.is_text) return groups;
  // Numbers ascend, whatever order the rows have.
  std::vector<size_t> order(groups.first_row.size()), rank(order.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return column.numbers[groups.first_row[a]] < column.numbers[groups.first_row[b]];
  });
  Groups sorted;
  for (size_t i = 0; i < order.size(); ++i) {
    rank[order[i]] = i;
    sorted.first_row.push_back(groups.first_row[order[i]]);
  }
  for (const size_t group : groups.of_row) sorted.of_row.push_back(rank[group]);
  return sorted;
}

/// The mean of numbers must not mix what can't be averaged.
void check_no_mixture(const Table& table, const std::vector<size_t>& rows,
                      const std::vector<size_t>& place_of_row) {
  for (const char* name : {"metric", "dataset"}) {
    const auto column = std::find_if(table.begin(), table.end(),
                                     [name](const Column& each) { return each.name == name; });
    if (column == table.end()) continue;
    std::unordered_map<size_t, const std::string*> seen;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string& value = column->texts[rows[i]];
      if (value.empty()) continue;
      const auto [found, is_new] = seen.try_emplace(place_of_row[i], &value);
      if (!is_new && *found->second != value) {
        throw_user_error(
            "--pivot: one place would average rows of {} \"{}\" and \"{}\"; choose one with "
            "--where "
            "\"{} = '{}'\"",
            name, *found->second, value, name, value);
      }
    }
  }
}

Table pivot(const Table& table, const std::vector<size_t>& rows,
            const std::vector<std::string>& names) {
  if (names.size() != 3) throw_user_error("--pivot: give three columns, ROWS,COLUMNS,VALUE");
  const Column& down = find_column(table, names[0], "--pivot");
  const Column& across = find_column(table, names[1], "--pivot");
  const Column& value = find_column(table, names[2], "--pivot");
  if (value.is_text) throw_user_error("--pivot: column {} holds text, no numbers", value.name);
  const Groups down_groups = group_rows(down, rows), across_groups = group_rows(across, rows);
  const size_t width = across_groups.first_row.size();
  std::vector<size_t> places(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    places[i] = down_groups.of_row[i] * width + across_groups.of_row[i];
  }
  check_no_mixture(table, rows, places);
  std::vector<double> sums(down_groups.first_row.size() * width, 0), counts(sums.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double number = value.numbers[rows[i]];
    if (std::isnan(number)) continue;
    sums[places[i]] += number;
    ++counts[places[i]];
  }
  Table result = take_rows({down}, down_groups.first_row);
  for (size_t j = 0; j < width; ++j) {
    Column column;
    column.name = cell_text(across, across_groups.first_row[j]);
    for (size_t i = 0; i < down_groups.first_row.size(); ++i) {
      const double count = counts[i * width + j];
      column.numbers.push_back(count > 0 ? sums[i * width + j] / count
                                         : std::numeric_limits<double>::quiet_NaN());
    }
    result.push_back(std::move(column));
  }
  return result;
}

}  // namespace

Table take_rows(const Table& table, const std::vector<size_t>& rows) {
  Table result;
  for (const Column& column : table) {
    Column taken{column.name, column.is_text, column.is_integer, {}, {}};
    if (column.is_text) {
      taken.texts.reserve(rows.size());
      for (const size_t row : rows) taken.texts.push_back(column.texts[row]);
    } else {
      taken.numbers.reserve(rows.size());
      for (const size_t row : rows) taken.numbers.push_back(column.numbers[row]);
    }
    result.push_back(std::move(taken));
  }
  return result;
}

Table run_query(const Table& table, const Query& query) {
  if (!query.pivot.empty() && !query.select.empty()) {
    throw_user_error("--pivot names its own columns: leave --select out");
  }
  const std::vector<uint8_t> holds = rows_where(table, query.where);
  std::vector<size_t> rows;
  for (size_t row = 0; row < holds.size(); ++row) {
    if (holds[row] != 0) rows.push_back(row);
  }
  if (!query.order_by.empty()) sort_rows(table, query.order_by, rows);
  if (!query.pivot.empty()) return pivot(table, rows, query.pivot);
  if (query.select.empty()) return take_rows(table, rows);
  Table selected;
  for (const std::string& name : query.select) {
    const Table one = take_rows({find_column(table, name, "--select")}, rows);
    selected.push_back(one.front());
  }
  return selected;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const size_t first = text.find_first_not_of(" \t", begin);
    if (first < end) {
      const size_t last = text.find_last_not_of(" \t", end - 1);
      parts.push_back(text.substr(first, last - first + 1));
    }
    begin = end + 1;
  }
  return parts;
}

}  // namespace ropesweep
