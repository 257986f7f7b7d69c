// Expressions, ordering, pivots and the three formats.
#include "analysis/query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <sstream>

#include "analysis/expression.h"
#include "analysis/format.h"
#include "storage/tables.h"
#include "tests/user_error.h"

namespace ropesweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Column texts(const std::string& name, std::vector<std::string> values) {
  return {name, true, false, {}, std::move(values)};
}
Column reals(const std::string& name, std::vector<double> values) {
  return {name, false, false, std::move(values), {}};
}
Column integers(const std::string& name, std::vector<double> values) {
  return {name, false, true, std::move(values), {}};
}

Table sample() {
  return {texts("scheme", {"none", "yarn", "ntk", "it's", "yarn"}),
          integers("context_length", {4096, 4096, 8192, 16384, 512}),
          reals("value", {2.5, nan, 0.1, -3, 7}),
          texts("metric", {"ppl", "ppl", "ppl", "acc", "ppl"})};
}

std::vector<int> chosen(const std::string& where) {
  std::vector<int> rows;
  const std::vector<uint8_t> holds = rows_where(sample(), where);
  for (size_t i = 0; i < holds.size(); ++i) {
    if (holds[i] != 0) rows.push_back(static_cast<int>(i));
  }
  return rows;
}

TEST(Where, Compares) {
  EXPECT_THAT(chosen(""), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(chosen("scheme = 'yarn' and context_length >= 4096"), ElementsAre(1));
  EXPECT_THAT(chosen("scheme=\"yarn\""), ElementsAre(1, 4));
  EXPECT_THAT(chosen("context_length != 4096"), ElementsAre(2, 3, 4));
  EXPECT_THAT(chosen("context_length <> 4096"), ElementsAre(2, 3, 4));
  EXPECT_THAT(chosen("4096 < context_length"), ElementsAre(2, 3));
  EXPECT_THAT(chosen("value <= -3"), ElementsAre(3));
  EXPECT_THAT(chosen("value = 1e-1"), ElementsAre(2));
  EXPECT_THAT(chosen("scheme = 'it''s'"), ElementsAre(3));
  EXPECT_THAT(chosen("scheme > 'ntk'"), ElementsAre(1, 4));
  EXPECT_THAT(chosen("context_length > value"), ElementsAre(0, 2, 3, 4));
}

TEST(Where, JoinsWithTheUsualPrecedence) {
  EXPECT_THAT(chosen("scheme='none' or scheme='yarn' and context_length=512"), ElementsAre(0, 4));
  EXPECT_THAT(chosen("(scheme='none' or scheme='yarn') and context_length=512"), ElementsAre(4));
  EXPECT_THAT(chosen("not scheme='none' AND NOT scheme='yarn'"), ElementsAre(2, 3));
  EXPECT_THAT(chosen("not (scheme='none' or context_length=512)"), ElementsAre(1, 2, 3));
  EXPECT_THAT(chosen("not not scheme='none'"), ElementsAre(0));
}

TEST(Where, KnowsLists) {
  EXPECT_THAT(chosen("scheme in ('none', 'ntk')"), ElementsAre(0, 2));
  EXPECT_THAT(chosen("context_length not in (4096,512)"), ElementsAre(2, 3));
}

TEST(Where, NanEqualsNothing) {
  EXPECT_THAT(chosen("value = value"), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(chosen("value < 0 or value >= 0"), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(chosen("value != 2.5"), ElementsAre(1, 2, 3, 4));
}

TEST(Where, ErrorsNameThePlaceAndTheNearestColumn) {
  const auto error = [](const std::string& where) {
    return user_error_of([&] { rows_where(sample(), where); });
  };
  EXPECT_THAT(error("schem = 'yarn'"), HasSubstr("did you mean scheme?"));
  EXPECT_THAT(error("scheme = 'yarn' and contxt_length = 3"), HasSubstr("at character 21"));
  EXPECT_THAT(error("scheme = 'yarn' and contxt_length = 3"), HasSubstr("context_length"));
  EXPECT_THAT(error("scheme = yarn"), HasSubstr("texts need quotes"));
  EXPECT_THAT(error("scheme = 3"), HasSubstr("column scheme holds text"));
  EXPECT_THAT(error("context_length = '3'"), HasSubstr("column context_length holds numbers"));
  EXPECT_THAT(error("scheme = 'yarn"), HasSubstr("closing quote"));
  EXPECT_THAT(error("scheme"), HasSubstr("expected a comparison"));
  EXPECT_THAT(error("(scheme = 'a'"), HasSubstr("expected )"));
  EXPECT_THAT(error("scheme = 'a')"), HasSubstr("at character 13"));
  EXPECT_THAT(error("scheme in ()"), HasSubstr("expected a number or a quoted text"));
  EXPECT_THAT(error("scheme in (metric)"), HasSubstr("expected a number or a quoted text"));
  EXPECT_THAT(error("value = 3x"), HasSubstr("not a number"));
  EXPECT_THAT(error("value ~ 3"), HasSubstr("unexpected character"));
  EXPECT_THAT(error("and"), HasSubstr("expected a column"));
  EXPECT_THAT(error(std::string(100000, '(')), HasSubstr("nested too deeply"));
}

TEST(Query, OrdersStablyAndNanComesLast) {
  Query query;
  query.select = {"value"};
  query.order_by = {"value"};
  const auto numbers = [&query] {
    std::string all;
    const Table table = run_query(sample(), query);
    for (size_t row = 0; row < row_count(table); ++row) all += cell_text(table[0], row) + " ";
    return all;
  };
  EXPECT_EQ(numbers(), "-3 0.1 2.5 7 nan ");
  query.order_by = {"-value"};
  EXPECT_EQ(numbers(), "7 2.5 0.1 -3 nan ");
  query.order_by = {"scheme desc", "context_length"};
  EXPECT_EQ(numbers(), "7 nan 0.1 2.5 -3 ");
  query.order_by = {"value sideways"};
  EXPECT_THAT(user_error_of([&] { run_query(sample(), query); }), HasSubstr("asc or desc"));
  query.order_by = {"valu"};
  EXPECT_THAT(user_error_of([&] { run_query(sample(), query); }), HasSubstr("did you mean value?"));
}

TEST(Query, PivotsAndRefusesToMixMetrics) {
  Query query;
  query.pivot = {"scheme", "context_length", "value"};
  query.where = "metric = 'ppl'";
  const Table table = run_query(sample(), query);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_THAT(table[0].texts, ElementsAre("none", "yarn", "ntk"));
  EXPECT_EQ(table[1].name, "512");
  EXPECT_EQ(table[2].name, "4096");
  EXPECT_EQ(table[3].name, "8192");
  EXPECT_EQ(table[1].numbers[1], 7);
  EXPECT_EQ(table[2].numbers[0], 2.5);
  EXPECT_TRUE(std::isnan(table[2].numbers[1]));
  EXPECT_EQ(table[3].numbers[2], 0.1);

  Table mixed = {texts("scheme", {"a", "a"}), texts("metric", {"ppl", "acc"}),
                 integers("context_length", {1, 1}), reals("value", {4, 8})};
  query.where = "";
  EXPECT_THAT(user_error_of([&] { run_query(mixed, query); }), HasSubstr("--where"));
  mixed[1].texts[1] = "ppl";
  EXPECT_EQ(run_query(mixed, query)[1].numbers[0], 6) << "seeds are averaged";
  query.pivot = {"scheme", "metric", "metric"};
  EXPECT_THAT(user_error_of([&] { run_query(mixed, query); }), HasSubstr("holds text"));
  query.pivot = {"scheme"};
  EXPECT_THAT(user_error_of([&] { run_query(mixed, query); }), HasSubstr("three columns"));
}

std::string formatted(const Table& table, const std::string& format) {
  std::ostringstream out;
  print_formatted(out, table, format);
  return out.str();
}

TEST(Format, KeepsAllDigitsAndAbsentNumbers) {
  const Table table = {texts("a,b", {"x \"y\", z", "é\n"}), reals("v", {0.1 + 0.2, nan}),
                       integers("n", {9007199254740991, 3})};
  EXPECT_EQ(formatted(table, "csv"),
            "\"a,b\",v,n\n\"x \"\"y\"\", z\",0.30000000000000004,9007199254740991\n\"é\n\",,3\n");
  EXPECT_EQ(
      formatted(table, "json"),
      "[\n  {\"a,b\": \"x \\\"y\\\", z\", \"v\": 0.30000000000000004, \"n\": 9007199254740991},"
      "\n  {\"a,b\": \"é\\n\", \"v\": null, \"n\": 3}\n]\n");
  EXPECT_EQ(formatted(table, "table"),
            "a,b         v                 n\nx \"y\", z  0.3  9007199254740991\n"
            "é           -                 3\n");
  EXPECT_THAT(user_error_of([&] { formatted(table, "xml"); }), HasSubstr("json"));
  EXPECT_EQ(formatted({reals("v", {})}, "json"), "[]\n");
}

TEST(Format, NumbersReadBackTheSame) {
  for (const double number : {1e300, 5e-324, 1.0 / 3, -0.0, 123456789012345680.0, 2.0}) {
    EXPECT_EQ(std::strtod(number_text(number).c_str(), nullptr), number) << number_text(number);
  }
}

TEST(Format, SplitsLists) {
  EXPECT_THAT(split_list(" a, b ,,c desc"), ElementsAre("a", "b", "c desc"));
  EXPECT_THAT(split_list(""), ElementsAre());
}

}  // namespace
}  // namespace ropesweep
