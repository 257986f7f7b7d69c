// The expressions of `query --where` over a small table: they mean the same in parentheses, and
// twice denied.
#include <cmath>

#include "analysis/expression.h"
#include "analysis/query.h"
#include "fuzz.h"

using namespace ropesweep;

namespace {

Table small_table() {
  Table table(4);
  table[0] = {"scheme", true, false, {}, {"yarn", "ntk", "none", "it's"}};
  table[1] = {"value", false, false, {1.5, std::nan(""), -2, 1e300}, {}};
  table[2] = {"context_length", false, true, {1024, 2048, 4096, 8192}, {}};
  table[3] = {"status", true, false, {}, {"finished", "failed", "", "finished"}};
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Table table = small_table();
  const std::string expression(fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const std::vector<uint8_t> rows = rows_where(table, expression);
    fuzz::require(rows.size() == 4, "every row has an answer");
    const bool blank = expression.find_first_not_of(" \t\n") == std::string::npos;
    if (blank) return;
    fuzz::accepted([&] {  // nesting may be too deep by now
      fuzz::require(rows_where(table, "(" + expression + ")") == rows,
                    "parentheses change nothing");
      fuzz::require(rows_where(table, "not not (" + expression + ")") == rows,
                    "what is denied twice holds");
    });
  });
  fuzz::accepted([&] {
    Query query;
    query.order_by = split_list(expression);
    static_cast<void>(run_query(table, query));
  });
  fuzz::accepted([&] {
    Query query;
    query.pivot = split_list(expression);
    static_cast<void>(run_query(table, query));
  });
  return 0;
}
