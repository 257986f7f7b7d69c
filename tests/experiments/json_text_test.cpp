// JSON and CBOR that nest without end are refused before anything recurses over them.
#include "experiments/json_text.h"

#include <gtest/gtest.h>

namespace ropesweep {
namespace {

std::string nested(int levels) {
  const auto count = static_cast<size_t>(levels);
  return std::string(count, '[') + std::string(count, ']');
}

TEST(JsonText, ReadsUpToTheDeepestLevelAndNoFurther) {
  EXPECT_NO_THROW(parse_json(nested(kDeepestJson)));
  EXPECT_THROW(parse_json(nested(kDeepestJson + 1)), nlohmann::json::parse_error);
  EXPECT_THROW(parse_json(nested(1'000'000)), nlohmann::json::parse_error);
  std::istringstream stream("{\"a\": [1]}");
  EXPECT_EQ(parse_json(stream)["a"][0], 1);
}

TEST(JsonText, BracketsInTextsAreNoLevels) {
  const std::string text = "\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"";
  EXPECT_EQ(parse_json(text).get<std::string>().size(), 2001U);
  std::string many = "[";
  for (int i = 0; i < 1000; ++i) many += "[],";
  EXPECT_EQ(parse_json(many + "[]]").size(), 1001U);
}

}  // namespace
}  // namespace ropesweep
