// The one exception type of ropesweep: a message for a person and a kind that says whether a retry
// makes sense. Messages name the object (file, line, field, tensor, cell) and the remedy.
#pragma once

#include <spdlog/fmt/fmt.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ropesweep {

/// Why a task failed; decides what happens next (docs/architecture.md, "Failure kinds").
enum class FailureKind {
  none,
  user,       ///< bad data, checkpoint or sweep: never retried, dependants are skipped
  transient,  ///< lost worker, kill, I/O: retried elsewhere, up to the crash limit
  memory,     ///< out of memory: retried smaller
  diverged,   ///< loss NaN or past its bound: a result, never retried
  time,       ///< the allocation ended: counts as no attempt
};

/// "none", "user", "transient", "memory", "diverged", "time".
std::string_view to_string(FailureKind kind);
/// The reverse; an unknown text is `transient`.
FailureKind failure_kind_from(std::string_view text);

class Error : public std::runtime_error {
 public:
  Error(FailureKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  FailureKind kind() const { return kind_; }

 private:
  FailureKind kind_;
};

/// The user's input is wrong: exit code 2.
template <typename... Args>
[[noreturn]] void throw_user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(FailureKind::user, fmt::format(format, std::forward<Args>(args)...));
}

/// The machine failed (I/O, a lost peer): exit code 1, a retry may help.
template <typename... Args>
[[noreturn]] void throw_transient_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(FailureKind::transient, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ropesweep
