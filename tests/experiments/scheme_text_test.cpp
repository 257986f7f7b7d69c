// Schemes as text: calls, canonical forms, and what is said about wrong ones.
#include "experiments/scheme_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "experiments/position_encoding.h"
#include "experiments/schemes/scheme.h"

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
      {"power(0.5, scaled=true)", "power(0.5, scaled=true)"},
      {"power(0.5, scaled=false)", "power(0.5)"},
      {"base", "base(1e+06)"},
      {"base(b=500000)", "base(5e+05)"},
      {"ntk-by-parts(1, 32)", "ntk-by-parts"},
      {"llama3(1, 8)", "llama3(high_freq_factor=8)"},
      {"resonance", "resonance"},
      {"resonance(none)", "resonance"},
      {"resonance( yarn( beta_fast = 16.0, beta_slow=1) )", "resonance(yarn(beta_fast=16))"},
      {"resonance(map=yarn(32))", "resonance(yarn)"},
      {"p-rope", "p-rope(0.75)"},
      {"p-rope(map=ntk, p=5e-1)", "p-rope(0.5, ntk)"},
      {"p-rope(0)", "nope"},
      {"p-rope(0, yarn)", "p-rope(0, yarn)"},
      {"p-rope(1, linear)", "linear"},
      {"partial(0.5, resonance(p-rope(0)))", "partial(0.5, resonance(nope))"},
      {"partial(1)", "none"},
      {"file(/tmp/a/../b.json)", "file(/tmp/b.json)"},
      {"longrope(file=/tmp/b.json)", "longrope(file=/tmp/b.json)"},
      {"longrope(attention_factor=1.10)", "longrope(attention_factor=1.1)"},
      {"dynamic-yarn(truncate=true)", "dynamic-yarn"},
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
  for (const char* scheme :
       {"linear", "ntk", "dynamic-ntk", "yarn", "yarn(beta_fast=16)", "power(0.5, scaled=true)",
        "llama3", "longrope", "resonance(yarn)", "partial(0.5, p-rope(0.5, linear))"}) {
    EXPECT_TRUE(scheme_takes_scale(scheme)) << scheme;
  }
  for (const char* scheme :
       {"none", "power(0.5)", "truncated", "dynamic-ntk(factor=2)", "base(20000)", "resonance",
        "nope", "partial(0.5, truncated)", "dynamic-linear", "dynamic-yarn"}) {
    EXPECT_FALSE(scheme_takes_scale(scheme)) << scheme;
  }
  EXPECT_TRUE(scheme_is_static("yarn"));
  EXPECT_FALSE(scheme_is_static("dynamic-ntk(factor=2)"));
  EXPECT_FALSE(scheme_is_static("resonance(partial(0.5, dynamic-yarn))"));
  EXPECT_FALSE(scheme_is_static("longrope"));
}

TEST(SchemeText, AtScaleOne) {
  const Canonical cases[] = {{"yarn(beta_fast=16)", "none"},
                             {"resonance(yarn)", "resonance"},
                             {"p-rope(0.5, ntk)", "p-rope(0.5)"},
                             {"partial(0.5, resonance(linear))", "partial(0.5, resonance)"},
                             {"power(0.7, scaled=true)", "power(0.7)"},
                             {"power(0.7)", "power(0.7)"},
                             {"longrope", "longrope"},
                             {"dynamic-ntk", "dynamic-ntk"},
                             {"base(20000)", "base(20000)"}};
  for (const Canonical& item : cases) EXPECT_EQ(scheme_at_scale_one(item.text), item.canonical);
}

TEST(SchemeText, PathsByARule) {
  const auto name_only = [](const std::string& path) {
    return path.substr(path.find_last_of('/') + 1);
  };
  EXPECT_EQ(canonical_scheme("resonance(file(/a/b.json))", name_only), "resonance(file(b.json))");
  EXPECT_EQ(canonical_scheme("p-rope(1, file(/a/b.json))", name_only), "file(b.json)");
  EXPECT_EQ(scheme_files("partial(0.5, longrope(file=/a/b.json))"),
            (std::vector<std::string>{"/a/b.json"}));
  EXPECT_TRUE(scheme_files("yarn").empty());
  EXPECT_EQ(canonical_scheme("file(here.txt)").front(), 'f');
  EXPECT_EQ(canonical_scheme("file(here.txt)").substr(0, 6), "file(/");
}

/// Random texts of any scheme, with random options in random order and spacing.
class RandomSchemes {
 public:
  explicit RandomSchemes(uint64_t seed) : engine_(seed) {}

  std::string text(int depth = 0) {
    const auto& all = schemes::definitions();
    size_t drawn = below(all.size());
    while (depth > 0 && !all[drawn]->is_map()) drawn = below(all.size());  // modifiers take maps
    const schemes::SchemeDefinition& scheme = *all[drawn];
    std::vector<std::string> arguments;
    for (const schemes::SchemeOption& option : scheme.options) {
      if (!option.required && below(2) == 0) continue;
      if (option.kind == schemes::OptionKind::scheme && depth > 2) continue;
      arguments.push_back(space() + option.name + space() + "=" + space() + value(option, depth));
    }
    std::shuffle(arguments.begin(), arguments.end(), engine_);
    if (arguments.empty()) return scheme.name + (below(2) == 0 ? "" : "()");
    return fmt::format("{}({})", scheme.name, fmt::join(arguments, ","));
  }

 private:
  size_t below(size_t count) { return engine_() % count; }
  std::string space() { return std::string(below(3), ' '); }

  std::string value(const schemes::SchemeOption& option, int depth) {
    switch (option.kind) {
      case schemes::OptionKind::boolean:
        return below(2) == 0 ? "true" : "false";
      case schemes::OptionKind::choice:
        return option.choices[below(option.choices.size())];
      case schemes::OptionKind::path:
        return below(2) == 0 ? "/data/./factors.json" : "some file.txt";
      case schemes::OptionKind::scheme:
        return text(depth + 1);
      default:
        break;
    }
    if (option.default_value && below(4) == 0) return *option.default_value;
    const double share = static_cast<double>(1 + below(1000)) / 1000;
    const double span = option.most - option.least < 100 ? option.most - option.least : 100;
    return fmt::format("{}", option.least + share * span);
  }

  std::mt19937_64 engine_;
};

TEST(SchemeText, RandomTextsHaveOneCanonicalText) {
  RandomSchemes random(7);
  std::set<std::string> seen;
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random.text();
    const std::string canonical = canonical_scheme(text);
    ASSERT_EQ(canonical_scheme(canonical), canonical) << text;
    ASSERT_EQ(scheme_takes_scale(canonical), scheme_takes_scale(text)) << text;
    ASSERT_EQ(scheme_is_static(canonical), scheme_is_static(text)) << text;
    ASSERT_EQ(scheme_files(canonical), scheme_files(text)) << text;
    const std::string at_one = scheme_at_scale_one(text);
    ASSERT_EQ(scheme_at_scale_one(at_one), at_one) << text;
    seen.insert(canonical);
  }
  EXPECT_GE(seen.size(), 1500U);
}

TEST(SchemeText, BrokenTextsAreErrorsAndNothingElse) {
  RandomSchemes random(8);
  std::mt19937_64 engine(9);
  const std::string characters = "(),= .-_0aZ9\"";
  size_t refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string text = random.text();
    const size_t place = engine() % text.size();
    if (engine() % 2 == 0) {
      text.erase(place, 1 + engine() % 3);
    } else {
      text.insert(place, 1, characters[engine() % characters.size()]);
    }
    try {
      const std::string canonical = canonical_scheme(text);
      EXPECT_EQ(canonical_scheme(canonical), canonical) << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user) << text;
      ++refused;
    }
  }
  EXPECT_GE(refused, 1000U);
}

TEST(SchemeText, ListNamesEveryScheme) {
  for (const SchemeInfo& scheme : all_schemes()) {
    if (scheme.name == "file") continue;  // means nothing without a path
    EXPECT_EQ(parse_scheme_call(canonical_scheme(scheme.name)).name, scheme.name);
    EXPECT_EQ(scheme_takes_scale(scheme.name), scheme.takes_scale);
    EXPECT_FALSE(scheme.summary.empty());
  }
  EXPECT_EQ(all_schemes().size(), schemes::definitions().size());
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
  EXPECT_EQ(
      failure("zzzzzz"),
      "unknown scheme \"zzzzzz\"; known: none, linear, dynamic-linear, base, ntk, dynamic-ntk, "
      "ntk-by-parts, yarn, dynamic-yarn, llama3, longrope, power, truncated, file, "
      "resonance, p-rope, nope, partial, xpos, alibi, t5, rerope, leaky-rerope, "
      "self-extend, dca, lm-infinite, streaming, sinusoidal, learned, random, pose");
  EXPECT_EQ(failure("resonance(yran)"), "unknown scheme \"yran\"; did you mean \"yarn\"?");
  EXPECT_EQ(failure("resonance(yarn(beta_fats=3))"),
            "scheme yarn has no option \"beta_fats\"; did you mean \"beta_fast\"?");
  EXPECT_EQ(failure("p-rope(1.5)"), "scheme p-rope: option p must be at most 1, not 1.5");
  EXPECT_EQ(failure("resonance(alibi)"),
            "scheme resonance: alibi is more than a map of frequencies, and can't be changed");
  EXPECT_EQ(failure("partial(0)"), "scheme partial: option p must be greater than 0, not 0");
  EXPECT_EQ(failure("file"),
            "scheme file needs path: the file, e.g. file(frequencies.json); its content counts");
  EXPECT_EQ(failure("file(/a(b)/c)"),
            "scheme file: option path: commas, parentheses and quotes can't be in a path, as in "
            "\"/a(b)/c\"; rename the file or its directory");
  EXPECT_EQ(failure("yarn(beta_fats=3)"),
            "scheme yarn has no option \"beta_fats\"; did you mean \"beta_fast\"?");
  EXPECT_EQ(failure("linear(factor=2)"), "scheme linear takes no options, \"factor\" was given");
  EXPECT_EQ(failure("power(0.5, true, 2)"), "scheme power takes at most 2 options, 3 were given");
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

TEST(SchemeText, NestingWithoutEndIsRefused) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "resonance(";
  EXPECT_THROW(understand_scheme(text), Error);
}

}  // namespace
}  // namespace ropesweep
