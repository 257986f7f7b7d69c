// The program from outside: exit codes, one line on standard error, help and version.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep {
namespace {

struct Ended {
  int code = -1;
  std::string output, errors;
};

Ended run(const std::string& arguments) {
  const TemporaryFolder folder;
  const std::string errors = (folder / "errors").string();
  const std::string line =
      "( " + std::string(ROPESWEEP_BINARY) + " " + arguments + " ) 2>" + errors;
  FILE* pipe = popen(line.c_str(), "r");
  Ended ended;
  std::array<char, 4096> block = {};
  for (size_t got = 0; (got = fread(block.data(), 1, block.size(), pipe)) > 0;) {
    ended.output.append(block.data(), got);
  }
  ended.code = WEXITSTATUS(pclose(pipe));
  ended.errors = tasks::read_file(errors);
  return ended;
}

bool is_one_line(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') == 1 && text.starts_with("ropesweep: ");
}

TEST(FrontDoor, HelpListsEveryCommandButTheHiddenOne) {
  const Ended ended = run("--help");
  EXPECT_EQ(ended.code, 0);
  for (const char* name :
       {"plan", "run", "submit", "status", "query", "rerun", "report", "check", "export", "eval",
        "finetune", "generate", "tokenize", "encoding", "data"}) {
    EXPECT_NE(ended.output.find("  " + std::string(name) + " "), std::string::npos) << name;
  }
  EXPECT_EQ(ended.output.find("runner"), std::string::npos);
}

TEST(FrontDoor, Version) {
  const Ended ended = run("--version");
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, std::string("ropesweep ") + ROPESWEEP_VERSION + "\n");
}

TEST(FrontDoor, EveryCommandHasHelp) {
  for (const char* name :
       {"plan", "run", "submit", "status", "query", "rerun", "report", "check", "export", "eval",
        "finetune", "generate", "tokenize", "encoding", "data"}) {
    const Ended ended = run(std::string(name) + " --help");
    EXPECT_EQ(ended.code, 0) << name;
    EXPECT_NE(ended.output.find("--log-file"), std::string::npos) << name;
    EXPECT_EQ(ended.errors, "") << name;
  }
}

TEST(FrontDoor, MistakesAreTwoAndOneLine) {
  for (const char* arguments :
       {"", "evla", "eval --modle x", "eval", "tokenize --model /nowhere", "run /nowhere.toml",
        "check /nowhere.h5", "eval --model / --task perplexity"}) {
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.code, 2) << arguments;
    EXPECT_TRUE(is_one_line(ended.errors)) << arguments << ": " << ended.errors;
    EXPECT_EQ(ended.output, "") << arguments;
  }
  EXPECT_NE(run("evla").errors.find("'eval'"), std::string::npos);
  EXPECT_NE(run("eval --modle x").errors.find("--model"), std::string::npos);
}

TEST(FrontDoor, AClosedStandardOutputIsAFailure) { EXPECT_EQ(run("--help >/dev/full").code, 1); }

TEST(FrontDoor, ASignalSavesAndAsksToBeRunAgain) {
  const TemporaryFolder folder;
  const auto model = tasks::make_model_directory(folder / "model").string();
  const auto documents = tasks::write_documents(folder / "documents.jsonl", {40, 90}).string();
  const auto output = (folder / "tuned").string();
  const std::string line =
      "finetune --threads 1 --data " + documents + " --model " + model + " --output " + output +
      " --context-length 24 --batch-tokens 48 --learning-rate 0.001 --steps 1000000";
  // The signal comes when the first losses are there, however long that takes.
  const std::string wait =
      "while [ ! -s " + output +
      "/losses.jsonl ] && kill -0 $pid; do sleep 0.05; done; kill -TERM $pid; wait $pid";
  const Ended ended = run(line + " & pid=$!; " + wait);
  EXPECT_EQ(ended.code, 75) << ended.errors;
  bool saved = false;
  for (const auto& entry : std::filesystem::directory_iterator(output + "/state")) {
    saved = saved || entry.path().filename().string().starts_with("step-");
  }
  EXPECT_TRUE(saved);
}

}  // namespace
}  // namespace ropesweep
