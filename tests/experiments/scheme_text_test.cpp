// Schemes as text: calls, canonical forms, and what is said about wrong ones.
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "experiments/position_encoding.h"

namespace ropesweep {
namespace {

TEST(SchemeText, ParsesCalls) {
  const SchemeCall plain = parse_scheme_call(" yarn ");
  EXPECT_EQ(plain.name, "yarn");
  EXPECT_TRUE(plain.positional.empty());
  const SchemeCall call = parse_scheme_call("yarn( 32 , beta_slow = 1,truncate=false)");
  EXPECT_EQ(call.positional, (std::vector<std::string>{"32"}));
  EXPECT_EQ(call.named.at("beta_slow"), "1");
  EXPECT_EQ(call.named.at("truncate"), "false");
  const SchemeCall nested = parse_scheme_call("resonance(yarn(beta_fast=16, beta_slow=2), 3)");
  EXPECT_EQ(nested.positional, (std::vector<std::string>{"yarn(beta_fast=16, beta_slow=2)", "3"}));
  EXPECT_TRUE(parse_scheme_call("linear()").positional.empty());
}

struct Canonical {
  const char* text;
  const char* canonical;
};

TEST(SchemeText, CanonicalTexts) {
  const Canonical cases[] = {
      {"none", "none"},
      {" linear( ) ", "linear"},
      {"yarn(beta_fast=32, beta_slow=1)", "yarn"},
      {"yarn(32)", "yarn"},
      {"yarn(truncate=true)", "yarn"},
      {"yarn(beta_slow=2.0, beta_fast=16)", "yarn(beta_fast=16, beta_slow=2)"},
      {"yarn(16, 2)", "yarn(beta_fast=16, beta_slow=2)"},
      {"yarn(truncate=false,attention_factor=1.50)", "yarn(attention_factor=1.5, truncate=false)"},
      {"power", "power(0.5)"},
      {"power(k=0.50)", "power(0.5)"},
      {"power(5e-1)", "power(0.5)"},
      {"power(0.1)", "power(0.1)"},
      {"truncated", "truncated"},
      {"truncated( 2048.0 )", "truncated(2048)"},
      {"truncated(length=2048)", "truncated(2048)"},
      {"dynamic-ntk", "dynamic-ntk"},
      {"rerope(512)", "rerope"},
      {"rerope(w=256)", "rerope(256)"},
      {"self-extend(4, 1024)", "self-extend(G=4)"},
      {"xpos(layout=rotate-half)", "xpos"},
      {"xpos(layout=interleaved, B=512)", "xpos(layout=interleaved)"},
      {"dynamic-ntk(2)", "dynamic-ntk(factor=2)"},
  };
  for (const Canonical& item : cases) {
    EXPECT_EQ(canonical_scheme(item.text), item.canonical) << item.text;
    EXPECT_EQ(canonical_scheme(item.canonical), item.canonical) << "a fixed point";
  }
}

TEST(SchemeText, ScaleAndLength) {
  for (const char* scheme : {"linear", "ntk", "dynamic-ntk", "yarn", "yarn(beta_fast=16)"}) {
    EXPECT_TRUE(scheme_takes_scale(scheme)) << scheme;
  }
  for (const char* scheme : {"none", "power(0.5)", "truncated", "dynamic-ntk(factor=2)"}) {
    EXPECT_FALSE(scheme_takes_scale(scheme)) << scheme;
  }
  EXPECT_TRUE(scheme_is_static("yarn"));
  EXPECT_FALSE(scheme_is_static("dynamic-ntk(factor=2)"));
}

TEST(SchemeText, ListNamesEveryScheme) {
  for (const SchemeInfo& scheme : all_schemes()) {
    EXPECT_EQ(parse_scheme_call(canonical_scheme(scheme.name)).name, scheme.name);
    EXPECT_EQ(scheme_takes_scale(scheme.name), scheme.takes_scale);
    EXPECT_FALSE(scheme.summary.empty());
  }
  EXPECT_EQ(all_schemes().size(), 20U);
}

std::string failure(const char* text) {
  try {
    return "no error: " + canonical_scheme(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
}

TEST(SchemeText, ErrorsNameThePlaceAndTheRemedy) {
  EXPECT_EQ(failure(""),
            "scheme \"\": expected a scheme's name at character 1, found the end of the text");
  EXPECT_EQ(failure("yarn(beta_fast=32"),
            "scheme \"yarn(beta_fast=32\": expected ',' or ')' at character 18, found the end of "
            "the text");
  EXPECT_EQ(failure("yarn)"), "scheme \"yarn)\": expected nothing more at character 5, found ')'");
  EXPECT_EQ(failure("power(,1)"),
            "scheme \"power(,1)\": expected a value at character 7, found ','");
  EXPECT_EQ(failure("yarn(beta_fast=1, beta_fast=2)"),
            "scheme \"yarn(beta_fast=1, beta_fast=2)\": option beta_fast is given twice");
  EXPECT_EQ(failure("yarn(1, beta_fast=2)"), "scheme yarn: option beta_fast is given twice");
  EXPECT_EQ(failure("yarn(beta_fast=1, 2)"),
            "scheme \"yarn(beta_fast=1, 2)\": expected an option with its name, since named ones "
            "came before it at character 19, found '2'");
  EXPECT_EQ(failure("yran"), "unknown scheme \"yran\"; did you mean \"yarn\"?");
  EXPECT_EQ(failure("zzzzzz"),
            "unknown scheme \"zzzzzz\"; known: none, linear, ntk, dynamic-ntk, yarn, power, "
            "truncated, xpos, alibi, t5, rerope, leaky-rerope, self-extend, dca, lm-infinite, "
            "streaming, sinusoidal, learned, random, pose");
  EXPECT_EQ(failure("yarn(beta_fats=3)"),
            "scheme yarn has no option \"beta_fats\"; did you mean \"beta_fast\"?");
  EXPECT_EQ(failure("linear(factor=2)"), "scheme linear takes no options, \"factor\" was given");
  EXPECT_EQ(failure("power(0.5, 2)"), "scheme power takes at most 1 options, 2 were given");
  EXPECT_EQ(failure("power(half)"), "scheme power: option k must be a number, not \"half\"");
  EXPECT_EQ(failure("power(-1)"), "scheme power: option k must be at least 0, not -1");
  EXPECT_EQ(failure("truncated(0)"),
            "scheme truncated: option length must be greater than 0, not 0");
  EXPECT_EQ(failure("dynamic-ntk(factor=0.5)"),
            "scheme dynamic-ntk: option factor must be at least 1, not 0.5");
  EXPECT_EQ(failure("xpos(layout=meta)"),
            "scheme xpos: option layout must be rotate-half or interleaved, not \"meta\"");
  EXPECT_EQ(failure("yarn(truncate=no)"),
            "scheme yarn: option truncate must be true or false, not \"no\"");
}

TEST(NearestName, FindsTypingErrorsOnly) {
  const std::vector<std::string> known = {"learning_rate", "steps", "clip"};
  EXPECT_EQ(nearest_name("lerning_rate", known), "learning_rate");
  EXPECT_EQ(nearest_name("step", known), "steps");
  EXPECT_EQ(nearest_name("clpi", known), "clip");
  EXPECT_EQ(nearest_name("banana", known), "");
  EXPECT_EQ(nearest_name("x", {"a", "b"}), "");
  EXPECT_EQ(nearest_name("anything", {}), "");
}

}  // namespace
}  // namespace ropesweep
