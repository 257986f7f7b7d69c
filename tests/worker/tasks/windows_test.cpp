// Window plans against the definition, token by token.
#include "worker/tasks/windows.h"

#include <gtest/gtest.h>

#include <optional>

#include "experiments/error.h"

namespace ropesweep::tasks {
namespace {

/// The definition: which window scores token `i`, searching the windows from the first one on.
std::optional<int64_t> first_window_that_holds(int64_t i, int64_t tokens, const WindowRule& rule) {
  const int64_t capacity = rule.context_length - (rule.bos ? 1 : 0);
  for (int64_t start = 0; start < tokens; start += rule.stride) {
    if (i >= start && i < start + capacity) {
      if (i == start && !rule.bos) return std::nullopt;  // nothing stands before it
      return start;
    }
  }
  return std::nullopt;
}

TEST(Windows, SlidingScoresEachTokenOnceInTheFirstWindowThatHoldsIt) {
  for (const bool bos : {false, true}) {
    for (int64_t n = 2; n <= 9; ++n) {
      for (int64_t stride = 1; stride <= n; ++stride) {
        for (int64_t tokens = 0; tokens <= 30; ++tokens) {
          const WindowRule rule{true, n, stride, 0, bos};
          std::vector<std::optional<int64_t>> scored(static_cast<size_t>(tokens));
          for (const Window& window : plan_windows(tokens, rule)) {
            ASSERT_LE(window.tokens + (bos ? 1 : 0), n);
            ASSERT_EQ(window.first % stride, 0);
            ASSERT_GE(window.score_from, window.first + (bos ? 0 : 1));
            for (int64_t i = window.score_from; i < window.end(); ++i) {
              ASSERT_FALSE(scored[static_cast<size_t>(i)].has_value()) << "scored twice";
              scored[static_cast<size_t>(i)] = window.first;
            }
          }
          for (int64_t i = 0; i < tokens; ++i) {
            ASSERT_EQ(scored[static_cast<size_t>(i)], first_window_that_holds(i, tokens, rule))
                << "token " << i << " of " << tokens << ", N " << n << ", S " << stride << ", bos "
                << bos;
          }
        }
      }
    }
  }
}

TEST(Windows, AShortDocumentIsOneWindowOfItsOwnLength) {
  EXPECT_EQ(plan_windows(5, {true, 16, 4, 0, true}), (std::vector<Window>{{0, 5, 0}}));
  EXPECT_EQ(plan_windows(5, {true, 16, 4, 0, false}), (std::vector<Window>{{0, 5, 1}}));
  EXPECT_TRUE(plan_windows(0, {true, 16, 4, 0, true}).empty());
  EXPECT_TRUE(plan_windows(1, {true, 16, 4, 0, false}).empty());
}

TEST(Windows, TruncatedIsOneWindow) {
  EXPECT_EQ(plan_windows(100, {false, 16, 4, 0, true}), (std::vector<Window>{{0, 15, 0}}));
  EXPECT_EQ(plan_windows(100, {false, 16, 4, 0, false}), (std::vector<Window>{{0, 16, 1}}));
  EXPECT_EQ(plan_windows(7, {false, 16, 4, 0, false}), (std::vector<Window>{{0, 7, 1}}));
}

TEST(Windows, LastTokensScoresTheEndOnly) {
  EXPECT_EQ(plan_windows(100, {false, 16, 4, 3, true}), (std::vector<Window>{{0, 15, 12}}));
  EXPECT_EQ(plan_windows(2, {false, 16, 4, 3, false}), (std::vector<Window>{{0, 2, 1}}));
}

TEST(Windows, BadSettingsAreUserErrors) {
  const auto refused = [](const DatasetSettings& settings, int64_t length, bool has_bos) {
    try {
      window_rule(settings, length, has_bos);
    } catch (const Error& error) {
      return error.kind() == FailureKind::user;
    }
    return false;
  };
  DatasetSettings settings;
  EXPECT_FALSE(refused(settings, 16, false));
  EXPECT_TRUE(refused(settings, 1, false));
  settings.bos = "yes";
  EXPECT_TRUE(refused(settings, 16, false));
  EXPECT_TRUE(window_rule(settings, 16, true).bos);
  settings.bos = "no";
  EXPECT_FALSE(window_rule(settings, 16, true).bos);
  settings.bos = "maybe";
  EXPECT_TRUE(refused(settings, 16, true));
  settings.bos = "auto";
  settings.window = "slide";
  EXPECT_TRUE(refused(settings, 16, true));
  settings.window = "sliding";
  settings.stride = 0;
  EXPECT_TRUE(refused(settings, 16, true));
}

}  // namespace
}  // namespace ropesweep::tasks
