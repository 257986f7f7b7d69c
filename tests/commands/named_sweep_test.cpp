// Sweeps of the program by their bare names: plan and submit from any directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "commands/command.h"
#include "commands/sweep_inputs.h"
#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::commands {
namespace {

using testing::HasSubstr;

/// In a directory of its own.
class NamedSweep : public testing::Test {
 protected:
  NamedSweep() : before_(std::filesystem::current_path()), here_(folder_ / "") {
    std::filesystem::current_path(here_);
  }
  ~NamedSweep() override { std::filesystem::current_path(before_); }

  static std::string output_of(int (*command)(const Arguments&), Arguments arguments) {
    arguments.insert(arguments.end(), {"--quiet"});
    testing::internal::CaptureStdout();
    EXPECT_EQ(command(arguments), 0);
    return testing::internal::GetCapturedStdout();
  }

  TemporaryFolder folder_;
  std::filesystem::path before_, here_;
};

TEST_F(NamedSweep, PlansAsItsFileDoes) {
  const auto file =
      std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments/sweeps/demo-short.toml";
  const std::string named = output_of(plan_command, {"demo-short", "--format", "json"});
  EXPECT_EQ(named, output_of(plan_command, {file.string(), "--format", "json"}));
  EXPECT_GT(nlohmann::json::parse(named)["cells"]["to_do"], 0);
}

TEST_F(NamedSweep, ItsStoreIsInTheCurrentDirectory) {
  EXPECT_EQ(default_store(find_sweep("demo-short")),
            std::filesystem::current_path() / "demo-short.h5");
  const std::string script =
      output_of(submit_command,
                {"yarn-mini", "--nodes", "1", "--gpus-per-node", "0", "--time", "1h", "--dry-run"});
  EXPECT_THAT(script, HasSubstr("sweep='yarn-mini'"));
  EXPECT_THAT(script,
              HasSubstr("store='" + (std::filesystem::current_path() / "yarn-mini.h5").string()));
}

TEST_F(NamedSweep, AFileOfThatNameComesFirst) {
  tasks::write_file(here_ / "demo-short", "name = \"mine\"\n[axes]\n");
  try {
    find_sweep("demo-short");
    FAIL() << "the file has no model";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("demo-short:1: no model"));
  }
}

TEST_F(NamedSweep, WhatIsNeitherIsRefused) {
  try {
    plan_command({"girafe-mini"});
    FAIL() << "planned";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    EXPECT_THAT(error.what(), HasSubstr("did you mean giraffe-mini?; those are demo, "));
  }
}

}  // namespace
}  // namespace ropesweep::commands
