// A store from elsewhere whose names would lead out of its directory is refused when it is read,
// and what waits for a slow disk is called meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "experiments/error.h"
#include "storage/patient_io.h"
#include "storage/state.h"

namespace ropesweep {
namespace {

nlohmann::json planned(const std::string& cell, const std::string& fine_tune) {
  Cell one;
  one.id = cell;
  FineTune two;
  two.id = fine_tune;
  return {{"event", "planned"}, {"cells", {one}}, {"fine_tunes", {two}}};
}

TEST(HostileNames, IdsThatAreNoNamesOfFilesAreRefused) {
  const std::vector<std::string> hostile = {"",
                                            ".",
                                            "..",
                                            "../../etc",
                                            "/etc/passwd",
                                            "a/b",
                                            std::string("a\0b", 3),
                                            std::string(300, 'a')};
  for (const std::string& name : hostile) {
    EXPECT_THROW(StoreState().apply(planned(name, "tune")), Error) << name;
    EXPECT_THROW(StoreState().apply(planned("cell", name)), Error) << name;
  }
  StoreState state;
  state.apply(planned("cell", "0123456789abcdef0123"));
  EXPECT_TRUE(state.cell("cell"));
}

TEST(HostileNames, CheckpointsLieBelowTheStore) {
  for (const std::string place : {"../other", "/etc", "checkpoints/../../x"}) {
    StoreContents contents;
    contents.fine_tunes.emplace_back();
    contents.fine_tunes.back().fine_tune.id = "tune";
    contents.fine_tunes.back().outcome.checkpoint = place;
    EXPECT_THROW(StoreState{contents}, Error) << place;
  }
  StoreContents contents;
  contents.fine_tunes.emplace_back();
  contents.fine_tunes.back().fine_tune.id = "tune";
  contents.fine_tunes.back().outcome.checkpoint = "checkpoints/tune";
  EXPECT_NE(StoreState(contents).fine_tune("tune"), nullptr);
}

TEST(PatientIo, SaysThatItLivesWhileAJobLasts) {
  PatientIo io;
  std::atomic<int> signs = 0;
  const auto caller = std::this_thread::get_id();
  io.set_meanwhile([&] {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    ++signs;
  });
  for (int job = 1; job <= 3; ++job) {
    bool done = false;
    // The job ends once there was a sign: whatever the machine's speed.
    io.run([&] {
      EXPECT_NE(std::this_thread::get_id(), caller);
      while (signs < job) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      done = true;
    });
    EXPECT_TRUE(done);
  }
}

TEST(PatientIo, WhatAJobThrowsComesOut) {
  PatientIo io;
  const auto fail = [] { throw_transient_error("full"); };
  EXPECT_THROW(io.run(fail), Error);
  io.set_meanwhile([] {});
  EXPECT_THROW(io.run(fail), Error);
  int runs = 0;
  io.run([&] { ++runs; });
  EXPECT_EQ(runs, 1);
}

TEST(PatientIo, WhatIsThrownMeanwhileWaitsForTheJob) {
  PatientIo io;
  std::atomic<bool> thrown = false;
  io.set_meanwhile([&] {
    thrown = true;
    throw_transient_error("the channel is gone");
  });
  bool done = false;
  EXPECT_THROW(io.run([&] {
    while (!thrown) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    done = true;
  }),
               Error);
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace ropesweep
