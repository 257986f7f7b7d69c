// The functions that templates may call by name.
#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {
namespace {

constexpr int64_t kLongestRange = 1'000'000;

Value range(const Given& values, int line) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = values.positional.size();
  if (count < 1 || count > 3) fail(line, "range takes one to three numbers");
  for (size_t i = 0; i < count; ++i) {
    const int64_t* number = values.positional[i].integer();
    if (number == nullptr || *number > kLongestRange || *number < -kLongestRange) {
      fail(line, "range takes whole numbers up to {}", kLongestRange);
    }
    bounds[count == 1 ? 1 : i] = *number;
  }
  if (bounds[2] == 0) fail(line, "range has step 0");
  List numbers;
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1]; i += bounds[2]) {
    numbers.emplace_back(i);
  }
  return numbers;
}

}  // namespace

Value call_function(const std::string& name, const Given& values, int line) {
  if (name == "raise_exception") {
    fail(line, "the template refuses this: {}",
         values.positional.empty() ? "" : values.positional[0].str());
  }
  if (name == "namespace" || name == "dict") {
    Map members;
    for (const auto& [key, value] : values.named) members.emplace_back(key, value);
    return name == "dict" ? Value(std::move(members)) : Value::space(std::move(members));
  }
  if (name == "range") return range(values, line);
  if (name == "strftime_now") {
    fail(line, "the template wants today's date: prompts would differ from day to day");
  }
  fail(line, "the function {}() isn't known", name.empty() ? "?" : name);
}

}  // namespace ropesweep::data::jinja
