// What a user is told of bad input.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "experiments/error.h"

namespace ropesweep {

/// The message of the user error that `action` must throw.
inline std::string user_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace ropesweep
