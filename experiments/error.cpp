// Failure kinds and their names, as the store and the messages write them.
#include "experiments/error.h"

#include <array>

namespace ropesweep {
namespace {

struct NamedKind {
  FailureKind kind;
  std::string_view name;
};

constexpr std::array<NamedKind, 6> kinds = {{{FailureKind::none, "none"},
                                             {FailureKind::user, "user"},
                                             {FailureKind::transient, "transient"},
                                             {FailureKind::memory, "memory"},
                                             {FailureKind::diverged, "diverged"},
                                             {FailureKind::time, "time"}}};

}  // namespace

std::string_view to_string(FailureKind kind) {
  for (const NamedKind& named : kinds) {
    if (named.kind == kind) return named.name;
  }
  return "transient";
}

FailureKind failure_kind_from(std::string_view text) {
  for (const NamedKind& named : kinds) {
    if (named.name == text) return named.kind;
  }
  return FailureKind::transient;
}

}  // namespace ropesweep
