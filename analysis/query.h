// What `query` does with a table: filter, order, select, pivot.
#pragma once

#include <string>
#include <vector>

#include "storage/store.h"

namespace ropesweep {

struct Query {
  std::string where;                  ///< expression.h; empty: all rows
  std::vector<std::string> order_by;  ///< "a", "-a" or "a desc"; NaN comes last
  std::vector<std::string> select;    ///< columns in their order; empty: all
  std::vector<std::string> pivot;     ///< rows, columns, value; or empty
};

/// Applies where, order-by, and select or pivot. A pivot has one row for each value of the first
/// column, one column for each value of the second, both in the order of their first appearance
/// after sorting texts as they come and numbers ascending; several rows that fall on one place give
/// their mean. Errors: user error naming the option, and the nearest column; a pivot that would mix
/// metrics or data sets in one place; a pivot of both select and pivot.
Table run_query(const Table& table, const Query& query);

/// The rows, in this order.
Table take_rows(const Table& table, const std::vector<size_t>& rows);

/// "a,b , c" → a, b, c. Empty parts are left out.
std::vector<std::string> split_list(const std::string& text);

}  // namespace ropesweep
