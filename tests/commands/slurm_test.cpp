// What is understood of scontrol's words, and what follows at the end of a job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "commands/child_output.h"
#include "commands/sbatch_script.h"
#include "commands/slurm_end.h"
#include "commands/slurm_job.h"

namespace ropesweep::commands {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

/// n[1-3], n2 and n[1,3] of these tests.
std::vector<std::string> expand(const std::string& text) {
  if (text == "n[1-3]") return {"n1", "n2", "n3"};
  if (text == "n[1,3]") return {"n1", "n3"};
  return {text};
}

// As Slurm 22.05 printed it, shortened.
constexpr const char* kJob =
    "JobId=17 JobName=a UserId=root(0) JobState=RUNNING Reason=None Requeue=1 Restarts=2 "
    "TimeLimit=00:01:00 EndTime=2026-11-22T00:39:21 Deadline=N/A ReqNodeList=(null) "
    "NodeList=n[1-3] BatchHost=n2 NumNodes=3 JOB_GRES=gpu:5   "
    "Nodes=n[1,3] CPU_IDs=0-2 Mem=0 GRES=gpu:a100:2(IDX:0,2) "
    "Nodes=n2 CPU_IDs=0 Mem=100M GRES=shard:3(0/4),gpu:h100:1(IDX:1) MinCPUsNode=3 \n";

TEST(SlurmJob, HasTheGpusOfEachNode) {
  const SlurmJob job = parse_slurm_job(kJob, expand);
  EXPECT_EQ(job.id, "17");
  EXPECT_EQ(job.state, "RUNNING");
  EXPECT_EQ(job.restarts, 2);
  EXPECT_THAT(job.nodes, ElementsAre("n2", "n1", "n3")) << "the batch script's node is first";
  EXPECT_THAT(job.gpus, ElementsAre(Pair("n1", 2), Pair("n2", 1), Pair("n3", 2)));
  ASSERT_TRUE(job.end_time);
  const auto end = static_cast<std::time_t>(*job.end_time);
  EXPECT_EQ(std::localtime(&end)->tm_min, 39);
  EXPECT_FALSE(parse_slurm_job("JobId=1 EndTime=Unknown", expand).end_time);
}

TEST(SlurmJob, GetsAWorkerAGpu) {
  SlurmJob job = parse_slurm_job(kJob, expand);
  const auto workers = [&job](const std::string& device, int per_node) {
    std::vector<int> counts;
    for (const HostWorkers& host : workers_of(job, device, per_node))
      counts.push_back(host.workers);
    return counts;
  };
  EXPECT_THAT(workers("cuda", 0), ElementsAre(1, 2, 2));
  EXPECT_THAT(workers("cpu", 0), ElementsAre(1, 1, 1));
  EXPECT_THAT(workers("auto", 4), ElementsAre(4, 4, 4));
  job.gpus = {{"n3", 2}};
  EXPECT_EQ(workers_of(job, "auto", 0), (std::vector<HostWorkers>{{"n2", 0}, {"n3", 2}}))
      << "the coordinator is on the first node";
  job.gpus.clear();
  EXPECT_THAT(workers("auto", 0), ElementsAre(1, 1, 1));
}

TEST(IdleStarts, CountsUntilSomethingIsDone) {
  const std::filesystem::path directory = testing::TempDir() + "ropesweep_idle.d";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const SweepProgress old{3, 10, 100};
  EXPECT_EQ(IdleStarts(directory, "7").count(old, old), 1);
  EXPECT_EQ(IdleStarts(directory, "7").count(old, {3, 9, 0}), 2) << "less is no progress";
  EXPECT_EQ(IdleStarts(directory, "8").count(old, old), 1) << "another job begins anew";
  EXPECT_EQ(IdleStarts(directory, "8").count(old, old), 2);
  EXPECT_EQ(IdleStarts(directory, "8").count(old, {3, 11, 0}), 0) << "a step more";
  EXPECT_EQ(IdleStarts(directory, "8").count(old, old), 1);
  EXPECT_EQ(IdleStarts(directory, "8").count(old, {3, 10, 101}), 0) << "a sample more";
  EXPECT_EQ(IdleStarts("/nowhere/at/all", "8").count(old, old), kMostIdleStarts)
      << "who can't count must not go round";
}

TEST(Advice, NamesWhatFailedAndTheCommands) {
  StoreContents contents;
  CellRecord record;
  record.status = "failed";
  record.failure = "data.jsonl:3: torn";
  for (size_t i = 0; i < 7; ++i) {
    record.cell.id = "cell-" + std::to_string(i);
    contents.cells.push_back(record);
  }
  record.status = "skipped";
  contents.cells.push_back(record);
  const std::string text = advice(3, contents, "/s/it's.h5", "/s/it's.sbatch");
  EXPECT_THAT(text, HasSubstr("7 cells failed, 1 were skipped"));
  EXPECT_THAT(text, HasSubstr("cell-4"));
  EXPECT_THAT(text, Not(HasSubstr("cell-5"))) << "five are enough to see what is wrong";
  EXPECT_THAT(text, HasSubstr("data.jsonl:3: torn"));
  EXPECT_THAT(text, HasSubstr(R"(ropesweep rerun '/s/it'\''s.h5' --failed)"));
  EXPECT_THAT(text, HasSubstr(R"(sbatch '/s/it'\''s.sbatch')"));
  for (int code : {1, 2, 75}) {
    EXPECT_THAT(advice(code, contents, "/s.h5", "/s.sbatch"), HasSubstr("sbatch '/s.sbatch'"));
  }
}

BatchJob small_job() {
  BatchJob job;
  job.name = "it's $(a) sweep";
  job.program = "/opt/rope sweep";
  job.sweep = "/data/$(touch x)'.toml";
  job.store = "/data/100%.h5";
  job.nodes = 2;
  job.gpus_per_node = 4;
  job.seconds = 8 * 3600;
  return job;
}

TEST(SbatchScript, QuotesWhatIsAUsers) {
  BatchJob job = small_job();
  job.options = {"--partition=main", "--comment=a, b $(x)", "--exclusive"};
  const std::string script = sbatch_script(job);
  for (const char* line :
       {"#SBATCH --job-name=it_s___a__sweep\n", "#SBATCH --nodes=2\n",
        "#SBATCH --ntasks-per-node=5\n", "#SBATCH --gpus-per-node=4\n",
        "#SBATCH --time=0-08:00:00\n", "#SBATCH --output=\"/data/100%%.slurm.log\"\n",
        "#SBATCH --partition=main\n", "#SBATCH --comment=\"a, b $(x)\"\n", "#SBATCH --exclusive\n",
        "#SBATCH --signal=B:USR1@180\n", "program='/opt/rope sweep'\n",
        R"(sweep='/data/$(touch x)'\''.toml')",
        "exec \"$program\" run \"$sweep\" --store \"$store\" --slurm\n"}) {
    EXPECT_THAT(script, HasSubstr(line));
  }
}

TEST(SbatchScript, MayAskForGpusInAll) {
  BatchJob job = small_job();
  job.gpus_per_node = 0;
  job.gpus = 6;
  job.device = "cuda";
  EXPECT_THAT(sbatch_script(job), HasSubstr("#SBATCH --gpus=6\n"));
  EXPECT_THAT(sbatch_script(job), HasSubstr("#SBATCH --ntasks=7\n"));
  EXPECT_THAT(sbatch_script(job), HasSubstr("--slurm --device 'cuda'\n"));
  job.gpus = 0;
  job.workers_per_node = 3;
  EXPECT_THAT(sbatch_script(job), HasSubstr("#SBATCH --ntasks-per-node=4\n"));
  EXPECT_THAT(sbatch_script(job), HasSubstr("--slurm --workers 3"));
}

TEST(SbatchScript, RefusesWhatCanNotBeQuoted) {
  for (const char* option : {"--mem=1\n#SBATCH --uid=0", "--comment=\"", "--x=\\", "mem=4", "-p",
                             "--=1", "--mem=", "--a b=1", "--comment='"}) {
    EXPECT_THROW(sbatch_line(option), Error) << option;
  }
  BatchJob job = small_job();
  job.store = "/data/a\nb.h5";
  EXPECT_THROW(sbatch_script(job), Error);
}

TEST(ChildOutput, IsWhatAProgramSaid) {
  const auto said = output_of({"sh", "-c", "echo to both >&2; echo \"$0\"; exit 5", "a  'b"});
  ASSERT_TRUE(said);
  EXPECT_EQ(said->text, "to both\na  'b\n") << "no shell is in between";
  EXPECT_EQ(said->exit_code, 5);
  EXPECT_FALSE(output_of({"no-such-program-anywhere"}));
}

}  // namespace
}  // namespace ropesweep::commands
