// eval, finetune, generate, tokenize and data by their outputs, on a tiny model.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "commands/command.h"
#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::commands {
namespace {

using tasks::make_init_directory;
using tasks::make_model_directory;
using tasks::read_file;
using tasks::words;
using tasks::write_documents;
using tasks::write_file;

class EngineCommands : public testing::Test {
 protected:
  EngineCommands()
      : model_(make_model_directory(folder_ / "model").string()),
        documents_(write_documents(folder_ / "documents.jsonl", {40, 7, 90}).string()) {}

  static std::string output_of(int (*command)(const Arguments&), Arguments arguments) {
    arguments.insert(arguments.end(), {"--quiet"});
    testing::internal::CaptureStdout();
    try {
      EXPECT_EQ(command(arguments), 0);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    return testing::internal::GetCapturedStdout();
  }

  static nlohmann::json json_of(int (*command)(const Arguments&), const Arguments& arguments) {
    return nlohmann::json::parse(output_of(command, arguments));
  }

  static std::string refusal_of(int (*command)(const Arguments&), const Arguments& arguments) {
    try {
      output_of(command, arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user) << error.what();
      return error.what();
    }
    return "";
  }

  Arguments perplexity(const Arguments& more) const {
    Arguments arguments = {"--model", model_,     "--task",    "perplexity",
                           "--data",  documents_, "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  TemporaryFolder folder_;
  std::string model_, documents_;
};

TEST_F(EngineCommands, EvalPrintsWhatTheContractSays) {
  const auto json = json_of(
      eval_command, perplexity({"--context-length", "16", "--scheme", "yarn", "--scale", "2"}));
  EXPECT_EQ(json["task"], "perplexity");
  EXPECT_GT(json["metrics"]["ppl_token"]["value"].get<double>(), 1);
  EXPECT_GT(json["metrics"]["ppl_token"]["standard_error"].get<double>(), 0);
  EXPECT_GT(json["metrics"]["ppl_window"]["value"].get<double>(), 1);
  EXPECT_EQ(json["counts"]["documents"], 3);
  EXPECT_EQ(json["scheme"], "yarn");
  EXPECT_EQ(json["scale"], 2);
  EXPECT_EQ(json["type"], "f32");
  EXPECT_GT(json["seconds"].get<double>(), 0);
  EXPECT_GT(json["tokens_per_second"].get<double>(), 0);
  EXPECT_NE(json["device"].get<std::string>().find("cpu"), std::string::npos);
}

TEST_F(EngineCommands, PerTokenSumsToTheNll) {
  const std::string file = (folder_ / "tokens.csv").string();
  const auto json = json_of(
      eval_command, perplexity({"--context-length", "16", "--stride", "6", "--per-token", file}));
  std::istringstream lines(read_file(file));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "document,position,id,nll");
  double sum = 0;
  int64_t count = 0;
  for (; std::getline(lines, line); ++count) sum += std::stod(line.substr(line.rfind(',') + 1));
  EXPECT_EQ(json["counts"]["tokens"], count);
  const double nll = json["counts"]["sum_nll"].get<double>();
  EXPECT_NEAR(sum, nll, 1e-9 * nll);
  EXPECT_NEAR(json["metrics"]["ppl_token"]["value"].get<double>(),
              std::exp(nll / static_cast<double>(count)), 1e-9);
}

TEST_F(EngineCommands, ByPositionAddsTheCurveInsideTheWindow) {
  const Arguments how = {"--context-length", "16", "--window", "truncated", "--print-samples"};
  const auto plain = json_of(eval_command, perplexity(how));
  Arguments more = how;
  more.insert(more.end(), {"--by-position", "powers"});
  const auto json = json_of(eval_command, perplexity(more));
  EXPECT_EQ(json["metrics"]["ppl_token"], plain["metrics"]["ppl_token"]);
  EXPECT_EQ(json["counts"], plain["counts"]);
  EXPECT_EQ(json["metrics"].size(), 2u + 4u);
  EXPECT_GT(json["metrics"]["loss@8-15"]["value"].get<double>(), 0);
  EXPECT_FALSE(json.contains("samples")) << "documents have no text to print";
}

TEST_F(EngineCommands, SeveralLengthsInOnePassEqualSeparateRuns) {
  const auto together =
      json_of(eval_command, perplexity({"--window", "truncated", "--context-lengths", "8,24,64"}));
  ASSERT_EQ(together.size(), 3u);
  for (const auto& one : together) {
    const std::string length = std::to_string(one["context_length"].get<int64_t>());
    const auto alone =
        json_of(eval_command, perplexity({"--window", "truncated", "--context-length", length}));
    EXPECT_EQ(alone["metrics"], one["metrics"]);
    EXPECT_EQ(alone["counts"], one["counts"]);
  }
}

TEST_F(EngineCommands, EvalBuildsSamples) {
  const auto json =
      json_of(eval_command, {"--model", model_, "--task", "passkey", "--context-length", "400",
                             "--samples", "2", "--print-samples", "--threads", "1"});
  EXPECT_EQ(json["counts"]["samples"], 2);
  EXPECT_EQ(json["samples"].size(), 2u);
  EXPECT_TRUE(json["metrics"].contains("accuracy"));
}

TEST_F(EngineCommands, EvalRefusesBadInput) {
  EXPECT_NE(refusal_of(eval_command, {"--task", "perplexity"}).find("--model"), std::string::npos);
  EXPECT_NE(refusal_of(eval_command, {"--model", model_, "--task", "perplexty"}).find("perplexity"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, {"--model", model_, "--task", "perplexity"}).find("--data"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, {"--model", "/nowhere", "--task", "lines"}).find("/nowhere"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--scheme", "yarm"})).find("yarn"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--scale", "2"})).find("--scheme"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--scheme", "yarn", "--scale", "0.5"}))
                .find("at least 1"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--context-lengths", "8,x"})).find("'x'"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--device", "cuda"})).find("CUDA"),
            std::string::npos);
  EXPECT_NE(refusal_of(eval_command, perplexity({"--type", "f64"})).find("f64"), std::string::npos);
  write_file(folder_ / "empty.jsonl", "");
  EXPECT_NE(refusal_of(eval_command, perplexity({"--data", (folder_ / "empty.jsonl").string()})),
            "");
}

TEST_F(EngineCommands, GenerateContinuesAPrompt) {
  const Arguments arguments = {"--model",          model_, "--prompt",  words(9, 3),
                               "--max-new-tokens", "5",    "--threads", "1"};
  Arguments as_json = arguments;
  as_json.insert(as_json.end(), {"--format", "json"});
  const auto json = json_of(generate_command, as_json);
  EXPECT_LE(json["ids"].size(), 5u);
  EXPECT_EQ(output_of(generate_command, arguments), json["text"].get<std::string>() + "\n");
  write_file(folder_ / "prompt.txt", words(9, 3));
  EXPECT_EQ(json_of(generate_command,
                    {"--model", model_, "--prompt-file", (folder_ / "prompt.txt").string(),
                     "--max-new-tokens", "5", "--threads", "1", "--format", "json"}),
            json);
  EXPECT_NE(refusal_of(generate_command, {"--model", model_}), "");
}

TEST_F(EngineCommands, TokenizeReadsSentencePiecesModels) {
  const std::string model =
      std::string(ROPESWEEP_SOURCE_DIR) + "/tests/reference/tokenizer/sentencepiece";
  write_file(folder_ / "text.txt", "the</s>the rotary\n");
  const std::string text = (folder_ / "text.txt").string();
  const std::string ids = output_of(tokenize_command, {"--model", model, text});
  EXPECT_EQ(ids, "[1,284,2,602,473]\n");
  write_file(folder_ / "ids.txt", ids);
  EXPECT_EQ(output_of(tokenize_command, {"--model", model, "--decode", "--keep-special-tokens",
                                         (folder_ / "ids.txt").string()}),
            "<s> the</s>the rotary\n");
}

TEST_F(EngineCommands, TokenizeGoesBothWays) {
  const std::string text = "the river\n\n 1987\tgreen\r\nlast";
  write_file(folder_ / "text.txt", text);
  const std::string ids =
      output_of(tokenize_command, {"--model", model_, (folder_ / "text.txt").string()});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), '\n'), 4);
  EXPECT_EQ(ids.substr(0, 3), "[0,");  // BOS
  write_file(folder_ / "ids.txt", ids);
  EXPECT_EQ(
      output_of(tokenize_command, {"--model", model_, "--decode", (folder_ / "ids.txt").string()}),
      text + "\n");
  const std::string bare = output_of(tokenize_command, {"--model", model_, "--no-special-tokens",
                                                        (folder_ / "text.txt").string()});
  EXPECT_NE(bare.substr(0, 3), "[0,");
  write_file(folder_ / "bad.txt", "[1]\n[99999]\n");
  EXPECT_NE(
      refusal_of(tokenize_command, {"--model", model_, "--decode", (folder_ / "bad.txt").string()})
          .find("bad.txt:2"),
      std::string::npos);
}

TEST_F(EngineCommands, FinetuneTrainsEvaluatesAndResumes) {
  const std::string output = (folder_ / "tuned").string();
  const Arguments arguments = {
      "--model",  model_,     "--data",         documents_, "--output",         output,
      "--scheme", "linear",   "--scale",        "2",        "--context-length", "24",
      "--steps",  "4",        "--batch-tokens", "48",       "--learning-rate",  "0.003",
      "--betas",  "0.9,0.95", "--threads",      "1",        "--validation",     documents_};
  const auto json = json_of(finetune_command, arguments);
  EXPECT_EQ(json["status"], "finished");
  EXPECT_EQ(json["steps"], 4);
  EXPECT_TRUE(json["validation_loss"].is_number());
  std::istringstream losses(read_file(folder_ / "tuned" / "losses.jsonl"));
  std::string line;
  for (int step = 1; step <= 4; ++step) {
    ASSERT_TRUE(std::getline(losses, line));
    const auto record = nlohmann::json::parse(line);
    EXPECT_EQ(record["step"], step);
    for (const char* field :
         {"training_loss", "learning_rate", "gradient_norm", "tokens", "seconds"}) {
      EXPECT_TRUE(record.contains(field)) << field;
    }
    EXPECT_EQ(record.contains("validation_loss"), step == 4);
  }
  EXPECT_NE(refusal_of(finetune_command, arguments).find("--resume"), std::string::npos);
  Arguments again = arguments;
  again.push_back("--resume");
  EXPECT_EQ(json_of(finetune_command, again)["training_loss"], json["training_loss"]);

  const auto tuned =
      json_of(eval_command, {"--model", output, "--task", "perplexity", "--data", documents_,
                             "--context-length", "24", "--threads", "1"});
  EXPECT_EQ(tuned["scheme"], "linear");  // the checkpoint's own positions
  EXPECT_EQ(tuned["scale"], 2);
  const auto before = json_of(eval_command, perplexity({"--context-length", "24"}));
  EXPECT_LT(tuned["metrics"]["ppl_token"]["value"], before["metrics"]["ppl_token"]["value"]);
}

TEST_F(EngineCommands, FinetuneRefusesBadInput) {
  const auto with = [&](const Arguments& more) {
    Arguments arguments = {
        "--data",           documents_, "--output",        (folder_ / "x").string(),
        "--context-length", "24",       "--steps",         "2",
        "--batch-tokens",   "48",       "--learning-rate", "0.003"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return refusal_of(finetune_command, arguments);
  };
  EXPECT_NE(with({}).find("--init"), std::string::npos);
  EXPECT_NE(with({"--model", model_, "--init", model_}).find("--init"), std::string::npos);
  EXPECT_NE(with({"--model", model_, "--betas", "0.9"}).find("--betas"), std::string::npos);
  EXPECT_NE(with({"--model", model_, "--schedule", "line"}).find("linear"), std::string::npos);
  EXPECT_NE(refusal_of(finetune_command, {"--model", model_}).find("--data"), std::string::npos);
}

TEST_F(EngineCommands, DataBuildsTheSameBytesAgain) {
  const auto build = [&](const std::string& name) {
    output_of(data_command, {"passkey", "--output", (folder_ / name).string(), "--model", model_,
                             "--samples", "3", "--tokens", "300", "--seed", "4"});
    return read_file(folder_ / name);
  };
  const std::string bytes = build("a.jsonl");
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), '\n'), 3);
  EXPECT_EQ(build("b.jsonl"), bytes);
  EXPECT_NE(
      refusal_of(data_command, {"passkeys", "--output", (folder_ / "c").string()}).find("passkey"),
      std::string::npos);
  const auto json = json_of(eval_command, {"--model", model_, "--task", "passkey", "--data",
                                           (folder_ / "a.jsonl").string(), "--threads", "1"});
  EXPECT_EQ(json["counts"]["samples"], 3);
}

TEST_F(EngineCommands, ExportRefusesWhatIsNoStore) {
  write_file(folder_ / "no.h5", "text");
  EXPECT_NE(
      refusal_of(export_command, {(folder_ / "no.h5").string(), "abc", (folder_ / "out").string()}),
      "");
  EXPECT_NE(
      refusal_of(export_command, {(folder_ / "none.h5").string(), "abc", "out"}).find("none.h5"),
      std::string::npos);
  EXPECT_NE(refusal_of(export_command, {}).find("STORE"), std::string::npos);
}

}  // namespace
}  // namespace ropesweep::commands
