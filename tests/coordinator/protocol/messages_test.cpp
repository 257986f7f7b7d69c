// Messages survive the wire, and nothing else passes for one.
#include "coordinator/protocol/messages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace ropesweep {
namespace {

Task sample_task() {
  Task task;
  task.id = "0123456789abcdef0123";
  task.kind = TaskKind::evaluation;
  task.model = "/models/llama — ünïcode";
  task.weights_key = "digest";
  task.needs = {"a", "b"};
  task.scheme = "yarn(beta_fast=32, beta_slow=1)";
  task.scale = 4.5;
  Cell cell;
  cell.id = "cell";
  cell.context_length = 16384;
  task.cells = {cell, cell};
  task.flops = 1e15 / 3;
  return task;
}

Outcome sample_outcome() {
  Outcome outcome;
  CellOutcome cell;
  cell.cell = "cell";
  Measure measure;
  measure.metric = "ppl_token";
  measure.count = 3;
  measure.sum_nll = 0.1 + 0.2;
  measure.tokens = 1234567890123;
  cell.measures = {measure, measure};
  cell.samples = {{1, "text \x01 with \"quotes\"", "reference", true, "0.35"}};
  outcome.cells = {cell};
  FineTuneOutcome fine_tune;
  fine_tune.fine_tune = "f";
  fine_tune.curve.step = {1, 2};
  fine_tune.curve.training_loss = {3.25, 1.0 / 3};
  fine_tune.curve.validation_loss = {std::nan(""), 2};
  fine_tune.curve.learning_rate = {1e-5, 2e-5};
  fine_tune.curve.gradient_norm = {0.5, 0.25};
  outcome.fine_tunes = {fine_tune};
  outcome.seconds = 12.5;
  outcome.device = "cpu";
  return outcome;
}

Done sample_done() {
  Done done;
  done.attempt.task = "task";
  done.attempt.number = 2;
  done.outcome = sample_outcome();
  done.lost_member = true;
  done.device_broken = done.runner_ends = true;
  return done;
}

Assign sample_assign() {
  Assign assign;
  assign.attempt.task = "task";
  assign.attempt.number = 1;
  assign.task = sample_task();
  assign.place = {"task-1", 1, 4, "/store.d/groups/task-1"};
  assign.thrift = 2;
  assign.patience = 900;
  assign.disk_patience = 1800;
  return assign;
}

std::vector<Message> samples() {
  std::vector<Message> all;
  all.emplace_back(Hello{"host", "cpu", 4711, 3});
  all.emplace_back(RequestWork{"weights", 7});
  all.emplace_back(Heartbeat{{"task", 7}, 0.25, "step 3 of 12"});
  all.emplace_back(sample_done());
  all.emplace_back(Goodbye{"told to stop"});
  all.emplace_back(sample_assign());
  all.emplace_back(Wait{2.5});
  all.emplace_back(Acknowledge{{"task", 1}});
  all.emplace_back(CoordinatorAlive{"host", 12});
  all.emplace_back(Abandon{{"task", 1}});
  all.emplace_back(Stop{false});
  all.emplace_back(Losses{{"task", 2}, sample_outcome().fine_tunes[0]});
  return all;
}

TEST(Messages, EveryKindComesBackAsItWas) {
  const std::vector<Message> all = samples();
  ASSERT_EQ(all.size(), std::variant_size_v<Message>);
  for (const Message& message : all) {
    const std::vector<uint8_t> bytes = encode(message);
    const Message back = decode(bytes);
    EXPECT_EQ(back.index(), message.index());
    EXPECT_EQ(encode(back), bytes);
  }
}

TEST(Messages, NumbersComeBackToTheBit) {
  const Message back = decode(encode(sample_done()));
  const auto& done = std::get<Done>(back);
  EXPECT_EQ(done.attempt, (AttemptId{"task", 2}));
  EXPECT_EQ(done.outcome.cells.at(0).measures.at(1).sum_nll, 0.1 + 0.2);
  EXPECT_EQ(done.outcome.cells.at(0).measures.at(0).tokens, 1234567890123);
  EXPECT_EQ(done.outcome.fine_tunes.at(0).curve.training_loss.at(1), 1.0 / 3);
  EXPECT_TRUE(std::isnan(done.outcome.fine_tunes.at(0).curve.validation_loss.at(0)));
  EXPECT_EQ(done.outcome.cells.at(0).samples.at(0).location, "0.35");
}

TEST(Messages, EveryTruncationIsRefused) {
  for (const Message& message : samples()) {
    const std::vector<uint8_t> bytes = encode(message);
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_THROW(decode(std::span(bytes).first(length)), Error) << length;
    }
  }
}

TEST(Messages, TrailingBytesAreRefused) {
  std::vector<uint8_t> bytes = encode(Stop{true});
  bytes.push_back(0);
  EXPECT_THROW(decode(bytes), Error);
}

TEST(Messages, DamageIsRefusedOrHarmless) {
  std::mt19937 random(7);
  for (const Message& message : samples()) {
    const std::vector<uint8_t> bytes = encode(message);
    for (int trial = 0; trial < 300; ++trial) {
      std::vector<uint8_t> damaged = bytes;
      damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 + random() % 255);
      try {
        encode(decode(damaged));  // A changed text or number is still a message.
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), FailureKind::transient);
      }
    }
  }
}

TEST(Messages, RandomBytesAreRefused) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<uint8_t> bytes(random() % 64);
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    EXPECT_THROW(decode(bytes), Error);
  }
}

TEST(Messages, NestingWithoutEndIsRefusedBeforeTheStackEnds) {
  const std::vector<uint8_t> arrays(size_t{1} << 20, 0x81);  // An array of one array of one array …
  EXPECT_THROW(decode(arrays), Error);
}

TEST(Messages, AMissingOrMistypedFieldIsNamed) {
  const std::vector<uint8_t> missing =
      nlohmann::json::to_cbor(nlohmann::json::array({"acknowledge", nlohmann::json::object()}));
  try {
    decode(missing);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("attempt"), std::string::npos) << error.what();
  }
  EXPECT_THROW(decode(nlohmann::json::to_cbor(nlohmann::json::array({"stop", {{"save", 3.5}}}))),
               Error);
  EXPECT_THROW(decode(nlohmann::json::to_cbor(nlohmann::json::array({"dance", {}}))), Error);
}

TEST(Messages, AWholeNumberIsNoFractionAndFitsItsType) {
  const auto numbered = [](const nlohmann::json& number) {
    return nlohmann::json::to_cbor(
        nlohmann::json::array({"acknowledge", {{"attempt", {{"task", "t"}, {"number", number}}}}}));
  };
  EXPECT_EQ(std::get<Acknowledge>(decode(numbered(3))).attempt.number, 3);
  for (const nlohmann::json& number :
       {nlohmann::json(2.5), nlohmann::json(1e300), nlohmann::json(UINT64_MAX),
        nlohmann::json(true), nlohmann::json(nullptr)}) {
    EXPECT_THROW(decode(numbered(number)), Error) << number;
  }
}

}  // namespace
}  // namespace ropesweep
