// The house's manners of options: help, nearest names, values.
#include "commands/options.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "experiments/error.h"

namespace ropesweep::commands {
namespace {

namespace po = boost::program_options;

struct Parsed {
  bool go_on = false;
  std::string stride, file, output;
};

Parsed parse(const Arguments& arguments) {
  Parsed parsed;
  po::options_description options("Options");
  options.add_options()("stride", po::value(&parsed.stride), "tokens between windows")(
      "file", po::value(&parsed.file), "input");
  EngineOptions engine;
  add_engine_options(options, engine);
  po::positional_options_description positional;
  positional.add("file", 1);
  po::variables_map values;
  testing::internal::CaptureStdout();
  try {
    parsed.go_on = parse_options(arguments, "ropesweep test [FILE]", options, positional, values);
  } catch (...) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  parsed.output = testing::internal::GetCapturedStdout();
  return parsed;
}

std::string refusal_of(const Arguments& arguments) {
  try {
    parse(arguments);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
  return "";
}

TEST(Options, ValuesAndPositions) {
  const Parsed parsed = parse({"--stride", "7", "in.txt"});
  EXPECT_TRUE(parsed.go_on);
  EXPECT_EQ(parsed.stride, "7");
  EXPECT_EQ(parsed.file, "in.txt");
  EXPECT_EQ(parsed.output, "");
}

TEST(Options, HelpGoesToStandardOutputAndEndsIt) {
  const Parsed parsed = parse({"--help"});
  EXPECT_FALSE(parsed.go_on);
  for (const char* part : {"usage: ropesweep test", "--stride", "--threads", "--log-file"}) {
    EXPECT_NE(parsed.output.find(part), std::string::npos) << part;
  }
}

TEST(Options, UnknownOnesNameTheNearest) {
  EXPECT_NE(refusal_of({"--strid", "7"}).find("did you mean --stride?"), std::string::npos);
  EXPECT_NE(refusal_of({"--xyzzyplugh"}).find("--help"), std::string::npos);
}

TEST(Options, BadValuesAndTooManyArgumentsAreRefused) {
  EXPECT_NE(refusal_of({"--threads", "many"}), "");
  EXPECT_NE(refusal_of({"--stride"}), "");
  EXPECT_NE(refusal_of({"a", "b"}).find("too many"), std::string::npos);
  EXPECT_NE(refusal_of({"--log-file", "/dev/null/at.log"}).find("/dev/null"), std::string::npos);
}

}  // namespace
}  // namespace ropesweep::commands
