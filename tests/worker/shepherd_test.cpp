// A shepherd with a real child process that plays the runner: this very program, started again with
// a way to behave. It crashes, hangs, answers and saves as it is told.
#include "worker/shepherd.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/protocol/loopback_channel.h"
#include "coordinator/protocol/process_watch.h"
#include "experiments/output_file.h"
#include "worker/backend/collective.h"
#include "worker/runner.h"
#include "worker/tasks/thrift.h"

namespace ropesweep {
namespace {

constexpr const char* kBehaviour = "ROPESWEEP_TEST_RUNNER";

/// The task's scheme says what the fake does with it.
Outcome behave(const Task& task, const GroupPlace& place, const tasks::TaskContext& context) {
  const std::string& what = task.scheme;
  context.progress(0.5, "halfway");
  if (what == "crash") {
    std::abort();
  }
  if (what == "exit") {
    _exit(3);
  }
  if (what == "hang") {
    ::kill(::getpid(), SIGSTOP);
  }
  if (what == "memory") {
    throw std::bad_alloc();
  }
  if (what == "lost") {
    throw backend::LostMember(fmt::format("rank {} of {} lost another", place.rank, place.size));
  }
  if (what == "broken") {
    throw BrokenDevice("no CUDA device");
  }
  if (what == "odd") {
    throw std::runtime_error("cuda: a kernel: an illegal memory access was encountered");
  }
  if (what == "full once") {
    static int runs = 0;
    context.losses(std::vector<tasks::StepRecord>(1));
    if (++runs == 1) {
      throw_file_error("weights", "be written", ENOSPC);
    }
    Outcome outcome;
    outcome.device = fmt::format("run {}", runs);
    return outcome;
  }
  if (what == "full" || what == "forbidden") {
    throw_file_error("weights", "be written", what == "full" ? ENOSPC : EACCES);
  }
  if (what == "stuck") {
    std::this_thread::sleep_for(std::chrono::hours(1));
  }
  if (what == "thrift") {
    Outcome outcome;
    outcome.device = fmt::format("thrift {}", static_cast<int>(tasks::thrift()));
    return outcome;
  }
  if (what == "user") {
    throw_user_error("data.txt: empty");
  }
  if (what == "environment") {
    Outcome outcome;
    outcome.device =
        fmt::format("{}{}", std::getenv("OMPI_COMM_WORLD_RANK") == nullptr ? "clean" : "dirty",
                    std::getenv("OMP_NUM_THREADS"));
    return outcome;
  }
  if (what == "trains") {
    for (int64_t step = 1; step <= 3; ++step) {
      tasks::StepRecord record;
      record.step = step;
      record.training_loss = 4.0 - static_cast<double>(step);
      record.tokens = 10;
      context.losses(std::span(&record, 1));
    }
  }
  while (what == "long" || what == "trains") {
    if (*context.stop) {
      throw Error(FailureKind::time, "saved");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return {};
}

int play_runner(const std::map<std::string, std::string>& options) {
  die_with_parent(std::stoi(options.at("--parent")));
  RunnerOptions runner;
  runner.heartbeat_seconds = 0.05;
  return serve_tasks(OwnedDescriptor(std::stoi(options.at("--socket"))), behave, runner);
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The coordinator's end, and a shepherd that takes turns until something has been said.
class ShepherdTest : public testing::Test {
 protected:
  ShepherdTest() : network_(2) {
    ::setenv(kBehaviour, "1", 1);
    ::setenv("OMPI_COMM_WORLD_RANK", "1", 1);
    options_.runner_command = {"/proc/self/exe"};
    options_.device = "fake";
    options_.share = [](const std::string&) { return RunnerShare{3, 0}; };
    options_.heartbeat_seconds = 0.05;
    options_.runner_silence_seconds = 1;
    options_.coordinator_silence_seconds = 20;
    begin();
  }
  void begin() {
    shepherd_ = std::make_unique<Shepherd>(options_, network_.channel(1), seconds_now());
    say(CoordinatorAlive{"elsewhere", 1});
  }
  ~ShepherdTest() override { ::unsetenv("OMPI_COMM_WORLD_RANK"); }

  void say(const Message& message) { network_.channel(0).send(1, message); }
  void assign(const std::string& what, const GroupPlace& place = {}) {
    Assign order;
    order.attempt.task = "task";
    order.attempt.number = 1;
    order.place = place;
    order.task.id = "task";
    order.task.scheme = what;
    order.task.weights_key = "weights of " + what;
    order.thrift = 2;
    order.patience = 1;
    order.disk_patience = disk_patience_;
    say(order);
  }
  /// Turns until the shepherd says a message of this kind (and returns it), for at most 30 seconds.
  template <typename Kind>
  std::optional<Kind> next() {
    const double deadline = seconds_now() + 30;
    while (seconds_now() < deadline) {
      while (auto received = network_.channel(0).poll()) {
        if (const auto* wanted = std::get_if<Kind>(&received->second)) {
          return *wanted;
        }
      }
      if (shepherd_->over()) {
        return std::nullopt;
      }
      shepherd_->turn(seconds_now());
      shepherd_->wait(0.005);
    }
    return std::nullopt;
  }
  Outcome outcome_of(const std::string& what) {
    assign(what);
    const auto done = next<Done>();
    EXPECT_TRUE(done);
    EXPECT_EQ(done->attempt.number, 1);
    return done->outcome;
  }

  double disk_patience_ = 0;
  ShepherdOptions options_;
  LoopbackNetwork network_;
  std::unique_ptr<Shepherd> shepherd_;
};

TEST_F(ShepherdTest, IntroducesItselfAndAsksForWork) {
  EXPECT_EQ(next<Hello>()->pid, ::getpid());
  EXPECT_EQ(next<RequestWork>()->loaded_weights, "");
}

TEST_F(ShepherdTest, PassesTheAnswerOnAndSaysWhatIsLoaded) {
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
  EXPECT_EQ(next<RequestWork>()->loaded_weights, "weights of quick");
}

TEST_F(ShepherdTest, TheRunnerHasThreadsAndNothingOfMpi) {
  EXPECT_EQ(outcome_of("environment").device, "clean3");
}

TEST_F(ShepherdTest, ACrashTakesTheRunnerOnly) {
  const Outcome crashed = outcome_of("crash");
  EXPECT_EQ(crashed.failure_kind, FailureKind::transient);
  EXPECT_NE(crashed.failure.find("signal 6"), std::string::npos) << crashed.failure;
  EXPECT_EQ(next<RequestWork>()->loaded_weights, "");
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none) << "another runner works on";
}

TEST_F(ShepherdTest, AnExitIsAFailureWithItsCode) {
  const Outcome ended = outcome_of("exit");
  EXPECT_EQ(ended.failure_kind, FailureKind::transient);
  EXPECT_NE(ended.failure.find("exit code 3"), std::string::npos) << ended.failure;
}

TEST_F(ShepherdTest, ARunnerThatHangsIsKilled) {
  const Outcome hung = outcome_of("hang");
  EXPECT_EQ(hung.failure_kind, FailureKind::transient);
  EXPECT_NE(hung.failure.find("hung"), std::string::npos) << hung.failure;
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
}

TEST_F(ShepherdTest, AKilledRunnerIsReported) {
  assign("long");
  next<Heartbeat>();
  while (shepherd_->runner_pid() < 0) {
    next<Heartbeat>();
  }
  ::kill(shepherd_->runner_pid(), SIGKILL);
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_NE(done->outcome.failure.find("signal 9"), std::string::npos) << done->outcome.failure;
  EXPECT_NE(done->outcome.failure.find("out-of-memory"), std::string::npos);
}

TEST_F(ShepherdTest, ARunnerThatRanOutOfMemoryIsNotUsedAgain) {
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
  const pid_t first = shepherd_->runner_pid();
  EXPECT_EQ(outcome_of("memory").failure_kind, FailureKind::memory);
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
  EXPECT_NE(shepherd_->runner_pid(), first);
}

TEST_F(ShepherdTest, ErrorsKeepTheirKinds) {
  EXPECT_EQ(outcome_of("memory").failure_kind, FailureKind::memory);
  const Outcome user = outcome_of("user");
  EXPECT_EQ(user.failure_kind, FailureKind::user);
  EXPECT_EQ(user.failure, "data.txt: empty");
}

TEST_F(ShepherdTest, TheLossOfAnotherIsToldAsSuch) {
  assign("lost", {"group", 1, 2, ""});
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->lost_member);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::transient);
  EXPECT_EQ(done->outcome.failure, "rank 1 of 2 lost another");
}

TEST_F(ShepherdTest, HeartbeatsTellProgress) {
  assign("long");
  for (int i = 0; i < 1000; ++i) {
    const auto heartbeat = next<Heartbeat>();
    ASSERT_TRUE(heartbeat);
    if (heartbeat->what == "halfway") {
      EXPECT_EQ(heartbeat->fraction, 0.5);
      EXPECT_EQ(heartbeat->attempt.task, "task");
      return;
    }
  }
  FAIL() << "no progress was told";
}

TEST_F(ShepherdTest, LossesAreToldWhileAFineTuneRuns) {
  assign("trains");
  Curve curve;
  while (curve.step.size() < 3) {
    const auto losses = next<Losses>();
    ASSERT_TRUE(losses);
    EXPECT_EQ(losses->attempt.task, "task");
    EXPECT_EQ(losses->so_far.fine_tune, "task");
    EXPECT_EQ(losses->so_far.tokens, 10 * losses->so_far.steps);
    curve.step.insert(curve.step.end(), losses->so_far.curve.step.begin(),
                      losses->so_far.curve.step.end());
  }
  EXPECT_EQ(curve.step, (std::vector<int64_t>{1, 2, 3})) << "each once";
}

TEST_F(ShepherdTest, StopLetsTheRunnerSaveAndLeavesAfterTheAcknowledgement) {
  assign("long");
  while (next<Heartbeat>()->what != "halfway") {
  }
  say(Stop{true});
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::time);
  EXPECT_EQ(done->outcome.failure, "saved");
  EXPECT_FALSE(shepherd_->over()) << "the result isn't durable yet";
  say(Acknowledge{done->attempt});
  EXPECT_TRUE(next<Goodbye>());
  EXPECT_TRUE(shepherd_->over());
  EXPECT_TRUE(shepherd_->in_order());
}

TEST_F(ShepherdTest, AbandonEndsTheAttemptWithoutAnAnswer) {
  assign("long");
  next<Heartbeat>();
  say(Abandon{{"task", 1}});
  EXPECT_TRUE(next<RequestWork>());
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
}

TEST_F(ShepherdTest, AnotherAssignmentReplacesTheOneAtWork) {
  assign("long");
  while (next<Heartbeat>()->what != "halfway") {
  }
  Assign second;
  second.attempt = {"task", 2};
  second.task.id = "task";
  second.task.scheme = "quick";
  say(second);
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->attempt.number, 2);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::none) << done->outcome.failure;
}

TEST_F(ShepherdTest, ATaskThatHangsIsToldAndTheRunnerReplaced) {
  const Outcome stuck = outcome_of("stuck");
  EXPECT_EQ(stuck.failure_kind, FailureKind::transient);
  EXPECT_NE(stuck.failure.find("hangs"), std::string::npos) << stuck.failure;
  EXPECT_NE(stuck.failure.find("halfway"), std::string::npos) << stuck.failure;
  const Outcome quick = outcome_of("quick");
  EXPECT_EQ(quick.failure_kind, FailureKind::none) << quick.failure;
}

TEST_F(ShepherdTest, ADiskThatIsFullForAWhileIsWaitedFor) {
  disk_patience_ = 60;
  EXPECT_EQ(outcome_of("full once").device, "run 2") << "within the same attempt";
  EXPECT_NE(outcome_of("forbidden").failure.find("permissions"), std::string::npos)
      << "it would not pass";
  assign("full");
  std::string what;
  while (what.find("tries again in") == std::string::npos) {
    const auto heartbeat = next<Heartbeat>();
    ASSERT_TRUE(heartbeat);
    what = heartbeat->what;
  }
  EXPECT_NE(what.find("No space left"), std::string::npos) << what;
  say(Stop{true});
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::time) << "a stop costs no attempt";
}

TEST_F(ShepherdTest, ADiskThatStaysFullEndsTheAttemptAndSoDoesAnyInAGroup) {
  disk_patience_ = 1.5;
  const Outcome outcome = outcome_of("full");
  EXPECT_EQ(outcome.failure_kind, FailureKind::transient);
  EXPECT_NE(outcome.failure.find("free some space"), std::string::npos) << outcome.failure;
  disk_patience_ = 1e6;
  assign("full", {"group", 0, 2, "/nowhere"});
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::transient);
}

TEST_F(ShepherdTest, ABrokenDeviceIsToldAsSuchAndTheNextRunnerTriesAgain) {
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
  const pid_t first = shepherd_->runner_pid();
  assign("broken");
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->device_broken);
  EXPECT_EQ(done->outcome.failure, "no CUDA device");
  while (shepherd_->runner_pid() == first || shepherd_->runner_pid() < 0) {
    ASSERT_TRUE(next<Heartbeat>());
  }
  assign("quick");
  const auto works = next<Done>();
  ASSERT_TRUE(works);
  EXPECT_FALSE(works->device_broken);
}

TEST_F(ShepherdTest, ARunnerThatFailedOddlyIsNotUsedAgain) {
  EXPECT_EQ(outcome_of("quick").failure_kind, FailureKind::none);
  const pid_t first = shepherd_->runner_pid();
  EXPECT_EQ(outcome_of("odd").failure_kind, FailureKind::transient);
  EXPECT_EQ(outcome_of("user").failure_kind, FailureKind::user)
      << "whatever the next task meets, it is on another runner";
  EXPECT_NE(shepherd_->runner_pid(), first);
}

TEST_F(ShepherdTest, ARunnerThatCannotBeStartedIsTheHostsFault) {
  ShepherdOptions options;
  options.runner_command = {"/nonexistent/ropesweep"};
  shepherd_ = std::make_unique<Shepherd>(options, network_.channel(1), seconds_now());
  say(CoordinatorAlive{"elsewhere", 1});
  ASSERT_TRUE(next<RequestWork>()) << "it asks, so that the coordinator learns of it";
  assign("quick");
  const auto done = next<Done>();
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->device_broken);
  EXPECT_NE(done->outcome.failure.find("/nonexistent/ropesweep"), std::string::npos);
}

TEST_F(ShepherdTest, ThriftReachesTheTask) { EXPECT_EQ(outcome_of("thrift").device, "thrift 2"); }

TEST_F(ShepherdTest, AfterItsSilenceTheCoordinatorFindsItsWorkerReady) {
  options_.runner_silence_seconds = 1e6;  // the time below is not the runner's
  begin();
  assign("long");
  while (next<Heartbeat>()->what != "halfway") {
  }
  const ProcessWatch runner(shepherd_->runner_pid());
  double now = seconds_now();
  for (int i = 0; i < 30; ++i) {
    shepherd_->turn(now += 1);
  }
  EXPECT_FALSE(shepherd_->over());
  EXPECT_TRUE(runner.gone()) << "another may have the task";
  std::optional<Done> done;
  while (auto received = network_.channel(0).poll()) {
    if (const auto* word = std::get_if<Done>(&received->second)) done = *word;
  }
  ASSERT_TRUE(done);
  EXPECT_EQ(done->outcome.failure_kind, FailureKind::time) << "nobody is to blame";
  say(CoordinatorAlive{"elsewhere", 1});
  for (int i = 0; i < 5; ++i) {
    shepherd_->turn(now += 0.1);
  }
  bool asks = false;
  while (auto received = network_.channel(0).poll()) {
    asks = asks || std::holds_alternative<RequestWork>(received->second);
  }
  EXPECT_TRUE(asks);
}

TEST_F(ShepherdTest, ASilentCoordinatorEndsItAndItsRunner) {
  assign("long");
  while (next<Heartbeat>()->what != "halfway") {
  }
  const ProcessWatch runner(shepherd_->runner_pid());
  double now = seconds_now();
  for (int i = 0; i < 100 && !shepherd_->over(); ++i) {
    shepherd_->turn(now += 1);
  }
  EXPECT_TRUE(shepherd_->over());
  EXPECT_FALSE(shepherd_->in_order());
  EXPECT_TRUE(runner.gone());
}

TEST(RunnerThreads, AreAShareOfTheCores) {
  EXPECT_EQ(runner_threads(5, 2), 5);
  EXPECT_GE(runner_threads(0, 1), 1);
  EXPECT_EQ(runner_threads(0, 100000), 1);
}

}  // namespace
}  // namespace ropesweep

int main(int count, char** values) {
  if (std::getenv("ROPESWEEP_TEST_RUNNER") != nullptr && count > 1 &&
      std::string(values[1]).starts_with("--threads")) {
    std::map<std::string, std::string> options;
    for (int i = 1; i + 1 < count; i += 2) {
      options[values[i]] = values[i + 1];
    }
    return ropesweep::play_runner(options);
  }
  testing::InitGoogleTest(&count, values);
  return RUN_ALL_TESTS();
}
