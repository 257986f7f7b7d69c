// A regular expression a form.
#include "commands/duration.h"

#include <regex>

#include "experiments/error.h"

namespace ropesweep::commands {
namespace {

constexpr double kMinute = 60, kHour = 3600, kDay = 86400;

double number(const std::ssub_match& text) { return text.matched ? std::stod(text.str()) : 0; }

}  // namespace

double parse_duration(const std::string& option, const std::string& text) {
  static const std::regex with_unit(R"((\d{1,9}(?:\.\d+)?)([smhd]?))");
  static const std::regex clock(R"((?:(\d{1,4})-)?(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}))");
  std::smatch match;
  double seconds = 0;
  if (std::regex_match(text, match, with_unit)) {
    const std::string unit = match[2].str();
    seconds = number(match[1]) * (unit == "m"   ? kMinute
                                  : unit == "h" ? kHour
                                  : unit == "d" ? kDay
                                                : 1);
  } else if (std::regex_match(text, match, clock) && !(match[1].matched && !match[2].matched)) {
    seconds = number(match[1]) * kDay + number(match[2]) * kHour + number(match[3]) * kMinute +
              number(match[4]);
  }
  if (seconds <= 0) {
    throw_user_error("{} {}: no time above zero; write it as 90s, 30m, 8h, 2d or D-HH:MM:SS",
                     option, text);
  }
  return seconds;
}

}  // namespace ropesweep::commands
