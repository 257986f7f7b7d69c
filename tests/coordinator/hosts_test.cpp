// Hosts of a hostfile, and what mpirun is told of them.
#include "coordinator/hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "coordinator/launcher.h"
#include "experiments/error.h"

namespace ropesweep {
namespace {

using testing::HasSubstr;

class Hostfile : public testing::Test {
 protected:
  std::vector<HostWorkers> read(const std::string& text) {
    std::ofstream(file_) << text;
    return read_hostfile(file_);
  }
  std::string failure(const std::string& text) {
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  }
  std::string file_ = testing::TempDir() + "ropesweep_hostfile";
};

TEST_F(Hostfile, HasANameAndSlotsALine) {
  const std::vector<HostWorkers> expected = {{"n1", 4}, {"gpu-2.site", 2}, {"n3", 1}};
  EXPECT_EQ(read("# our hosts\n n1 slots=2 max_slots=8\n\ngpu-2.site slots=2 # small\nn3\r\n"
                 "n1 slots=2\nnone slots=0\n"),
            expected);
  EXPECT_EQ(total_workers(expected), 7);
}

TEST_F(Hostfile, NamesThePlaceOfAMistake) {
  EXPECT_THAT(failure("n1 slots=2\nn2:4\n"), HasSubstr("hostfile:2: 'n2:4'"));
  EXPECT_THAT(failure("n1 slots=many\n"), HasSubstr("'slots=many'"));
  EXPECT_THAT(failure("n1,n2\n"), HasSubstr("no name of a host"));
  EXPECT_THAT(failure("--mca\n"), HasSubstr("no name of a host"));
  EXPECT_THAT(failure("# nothing\n"), HasSubstr("names no host"));
  EXPECT_THROW(read_hostfile("/nowhere/hosts"), Error);
}

TEST(LauncherOnHosts, GivesTheCoordinatorAPlaceOnTheFirst) {
  LaunchOptions options;
  options.command = {"/bin/ropesweep", "run", "s.toml"};
  options.hosts = {{"n1", 2}, {"n2", 3}};
  std::vector<std::string> command = mpirun_command(options, "/scratch");
  const auto value_of = [&](const std::string& name) {
    const auto found = std::find(command.begin(), command.end(), name);
    return found == command.end() ? "" : *std::next(found);
  };
  EXPECT_EQ(value_of("-n"), "6");
  EXPECT_EQ(value_of("--host"), "n1:3,n2:3");
  EXPECT_EQ(value_of("--map-by"), "slot") << "ranks of a host are neighbours, its GPUs 0, 1, …";
  EXPECT_EQ(value_of("plm"), "") << "what is for one host alone";
  options.slurm = true;
  command = mpirun_command(options, "/scratch");
  EXPECT_EQ(value_of("plm_rsh_agent"), "/bin/sh /scratch/agent");
}

}  // namespace
}  // namespace ropesweep
