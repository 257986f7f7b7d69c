// What one rendering of a chat template may take: a template that never ends, or that makes its
// values longer and longer, is stopped within seconds whatever it does.
#pragma once

#include <algorithm>

#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {

/// Units of work, each some hundred nanoseconds: an expression, a statement, a few bytes made or
/// gone over.
class Effort {
 public:
  /// `bytes`: of what the template is given; long conversations take more work.
  explicit Effort(size_t bytes) : left_(10'000 + 16 * static_cast<int64_t>(bytes)) {}

  /// Errors: `fail` where the work of a rendering is used up.
  void spend(size_t units, int line) {
    left_ -= static_cast<int64_t>(std::min(units, size_t{1} << 40));
    if (left_ < 0) fail(line, "does not end, or makes far more of the messages than a text");
  }
  /// For going over a text or a list itself, whatever its items hold.
  void spend_on(const Value& value, int line) {
    if (value.text() != nullptr) spend(value.text()->size() / 16, line);
    if (value.list() != nullptr) spend(value.list()->size(), line);
    if (value.map() != nullptr) spend(value.map()->size(), line);
  }
  /// For going over all that a value holds.
  void spend_on_all(const Value& value, int line) { spend(value.extent().bytes / 16, line); }

 private:
  int64_t left_;
};

}  // namespace ropesweep::data::jinja
