// Tables as text: for people, for spreadsheets, for programs.
#pragma once

#include <ostream>
#include <string>

#include "storage/store.h"

namespace ropesweep {

/// The shortest text that reads back to the same double; integers without a point; "nan", "inf".
std::string number_text(double number);
/// A table's cell as text: number_text, or the text itself. Integer columns have no point.
std::string cell_text(const Column& column, size_t row);

/// Aligned columns with a header; numbers at six digits, absent ones as "-".
void print_table(std::ostream& out, const Table& table);
/// RFC 4180 with a header line; numbers with all digits, absent ones empty.
void print_csv(std::ostream& out, const Table& table);
/// An array of objects; numbers with all digits, absent ones null.
void print_json(std::ostream& out, const Table& table);

/// `format` table | csv | json. Errors: user error for another.
void print_formatted(std::ostream& out, const Table& table, const std::string& format);

}  // namespace ropesweep
