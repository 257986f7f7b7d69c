// A sequence under a rule of attention, split over the ranks of a group.
#include <gtest/gtest.h>

#include "tests/worker/llama/group_fixtures.h"
#include "tests/worker/llama/scheme_cases.h"

namespace ropesweep::llama {
namespace {

class RuleInAGroup : public testing::TestWithParam<SchemeCase> {};

TEST_P(RuleInAGroup, ASequenceOverThreeRanksTrainsAsOneRankDoes) {
  const int64_t length = std::min<int64_t>(GetParam().tokens, 101);
  const std::vector<int32_t> ids = token_ids(length, 26), targets = next_tokens(ids, length);
  const auto gradients_of = [&](Member& member) {
    member.model.use_positions(make_position_encoding(GetParam().scheme, 1, member.config.rotary));
    member.model.accumulate_gradients(ids, targets, 1, 0.01, member.optimizer.gradients(),
                                      Recompute::all_but_attention);
    return all_values(member.model, member.optimizer.gradients());
  };
  const auto whole = backend::make_cpu_backend(1);
  Member alone(*whole, nullptr, "grouped_tied");
  const std::vector<float> want = gradients_of(alone);
  const std::vector<float> losses = alone.model.token_losses(ids, targets, 1);
  backend::as_group(3, [&](backend::Backend& backend, backend::Collective& group) {
    Member member(backend, &group, "grouped_tied");
    member.model.split_sequences(&group);
    EXPECT_LE(relative_difference(gradients_of(member), want), as_double(length) * kRounding);
    EXPECT_LE(relative_difference(member.model.token_losses(ids, targets, 1), losses),
              as_double(length) * kRounding);
  });
}

INSTANTIATE_TEST_SUITE_P(Schemes, RuleInAGroup, testing::ValuesIn(scheme_cases()),
                         [](const auto& test) { return name_of_case(test.param); });

}  // namespace
}  // namespace ropesweep::llama
