// ropesweep query: rows of a store's tables, filtered, ordered, selected or pivoted.
#include <algorithm>
#include <iostream>

#include "analysis/derived_tables.h"
#include "analysis/format.h"
#include "analysis/query.h"
#include "commands/options.h"
#include "experiments/error.h"
#include "storage/schema.h"

namespace ropesweep::commands {

namespace po = boost::program_options;

int query_command(const Arguments& arguments) {
  std::string store, table = "cells", format = "table", select, order_by, pivot;
  Query query;
  DerivedOptions derived;
  po::options_description options("Options of query");
  auto add = options.add_options();
  add("store", po::value(&store)->value_name("STORE"), "NAME.h5, the first argument");
  add("table", po::value(&table)->value_name("TABLE"),
      "cells (the default) | fine_tunes | attempts | curves | samples, or formed of the cells: "
      "pairs (differences over the same samples) | contexts (the longest that reach --threshold)");
  add("threshold", po::value(&derived.threshold)->value_name("X"),
      "contexts: the accuracy to reach (0.8)");
  add("where", po::value(&query.where)->value_name("EXPR"),
      "rows for which it holds: \"scheme = 'yarn' and context_length >= 4096\"");
  add("select", po::value(&select)->value_name("A,B"), "these columns only");
  add("order-by", po::value(&order_by)->value_name("A,B"),
      "sorted by these columns; \"-A\" or \"A desc\" descends");
  add("pivot", po::value(&pivot)->value_name("ROWS,COLUMNS,VALUE"),
      "one row a value of ROWS, one column a value of COLUMNS; means of VALUE");
  add("format", po::value(&format)->value_name("F"), "table (the default) | csv | json");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep query STORE [options]", options, positional, values)) {
    return 0;
  }
  if (store.empty()) throw_user_error("query: name a store: ropesweep query STORE");
  query.select = split_list(select);
  query.order_by = split_list(order_by);
  query.pivot = split_list(pivot);
  const std::vector<std::string>& stored = table_names();
  const bool is_stored = std::find(stored.begin(), stored.end(), table) != stored.end();
  // What is formed of the cells asks for more of them than the tables show.
  const Table rows =
      is_stored ? read_table(store, table) : make_any_table(read_store(store), table, derived);
  const Table result = run_query(rows, query);
  print_formatted(std::cout, result, format);
  return 0;
}

}  // namespace ropesweep::commands
