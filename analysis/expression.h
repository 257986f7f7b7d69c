// The language of --where: comparisons of columns joined by and, or, not, parentheses, in (…).
//
//   expression := conjunction { "or" conjunction }
//   conjunction := negation { "and" negation }
//   negation := "not" negation | "(" expression ")" | comparison
//   comparison := operand ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) operand
//              | operand [ "not" ] "in" "(" literal { "," literal } ")"
//   operand := column | literal        literal := number | 'text' | "text" (a doubled quote is one)
//
// Keywords are read in any case. NaN, which stands for an absent number, equals nothing and is
// neither less nor greater than anything; `!=` holds for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/store.h"

namespace ropesweep {

/// For each row of the table whether the expression holds (1) or not (0). An empty expression holds
/// always. Evaluated column by column: a comparison of a million rows takes milliseconds. Errors:
/// user error with the place in the text, and the nearest column's name for an unknown one.
std::vector<uint8_t> rows_where(const Table& table, const std::string& expression);

/// The column of that name. Errors: user error naming the nearest one; `where` opens the message.
const Column& find_column(const Table& table, const std::string& name, const std::string& where);

}  // namespace ropesweep
