// Records of a store keep every field while they lie packed.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

TEST(PackedRecords, KeepEveryFieldOfACell) {
  CellRecord record;
  record.cell = testing::make_cell("c0", "yarn", 256, "f0");
  record.status = "failed";
  record.failure_kind = FailureKind::memory;
  record.failure = "out of memory, twice";
  record.attempts = 3;
  record.outcome = testing::make_cell_outcome("c0");
  record.outcome.samples = {{7, "said", "42", true, "0.35", true, 9, 1.5, 2, 2.5, 0.25},
                            {8, "", "", false, "", false, 0, 0, 0, 0, 0}};
  record.outcome.seconds = 0.125;
  record.device = "cpu";
  record.type = "f32";
  record.finished_at = 1.7e9;
  CellRecord answer_of_another = record;
  answer_of_another.outcome.cell = "other";
  const PackedVector<CellRecord> packed = {record, answer_of_another, CellRecord{}};
  EXPECT_EQ(nlohmann::json(packed[0]), nlohmann::json(record));
  EXPECT_EQ(nlohmann::json(packed[1]), nlohmann::json(answer_of_another));
  EXPECT_EQ(nlohmann::json(packed[2]), nlohmann::json(CellRecord{}));
}

TEST(PackedRecords, KeepEveryFieldOfAnAttempt) {
  AttemptRecord record = testing::make_attempt("e0", "evaluation", 4, {"c0", "c1"});
  record.device = "cuda (NVIDIA H200)";
  record.status = "lost";
  record.failure_kind = FailureKind::transient;
  record.failure = "silent";
  record.started_at = 1.7e9 + 0.125;
  record.seconds = 12.75;
  const PackedVector<AttemptRecord> packed = {record, AttemptRecord{}};
  EXPECT_EQ(nlohmann::json(packed[0]), nlohmann::json(record));
  EXPECT_EQ(nlohmann::json(packed[1]), nlohmann::json(AttemptRecord{}));
}

}  // namespace
}  // namespace ropesweep
