// Losses of several continuations of one prompt, in one pass: a question and its options.
//
// The pass's rows are the prompt's new tokens, then those of each branch. Products and norms see
// rows alone. Attention goes branch by branch: its keys and values are copied behind the prompt's
// into the cache, where they lie as those of one sequence, and its queries see these; the next
// branch overwrites them. Every row so has the bits that it has in a pass over its own sequence.
//
// Letters: R rows · T tokens of a branch · H heads · G key-value heads · K head dimension
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "worker/llama/activations.h"

namespace ropesweep::llama {

using backend::Tensor;

Model::Pass Model::make_branched_pass(KvCache& cache, std::span<const int32_t> prompt,
                                      std::span<const Branch> branches) {
  std::vector<int32_t> ids(prompt.begin(), prompt.end()), positions(prompt.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cache.length));
  Pass pass;
  pass.branches.emplace_back(0, static_cast<int64_t>(prompt.size()));
  for (const Branch& branch : branches) {
    pass.branches.emplace_back(static_cast<int64_t>(ids.size()),
                               static_cast<int64_t>(branch.ids.size()));
    ids.insert(ids.end(), branch.ids.begin(), branch.ids.end());
    const auto first = static_cast<int32_t>(cache.length) + static_cast<int32_t>(prompt.size());
    const size_t row = positions.size();
    positions.resize(ids.size());
    std::iota(positions.begin() + static_cast<std::ptrdiff_t>(row), positions.end(), first);
  }
  check_ids(ids, "token id");
  if (*std::min_element(ids.begin(), ids.end()) < 0) {
    throw std::invalid_argument("Model: a token id is negative");
  }
  pass.tokens = static_cast<int64_t>(ids.size());
  pass.ids = upload_ids(ids);
  pass.cache = &cache;
  pass.row_each = true;
  const auto& tables = rope_cache_.tables(backend_, *positions_, cache.capacity, cache.capacity);
  pass.rope = tables_at(tables, upload_ids(positions));
  return pass;
}

std::vector<std::vector<float>> Model::branch_losses(KvCache& cache,
                                                     std::span<const int32_t> prompt,
                                                     std::span<const Branch> branches) {
  int64_t longest = 0;
  std::vector<int32_t> targets;
  for (const Branch& branch : branches) {
    if (branch.ids.empty() || branch.targets.size() != branch.ids.size()) {
      throw std::invalid_argument("Model::branch_losses: a branch has as many targets as ids");
    }
    longest = std::max(longest, static_cast<int64_t>(branch.ids.size()));
    targets.insert(targets.end(), branch.targets.begin(), branch.targets.end());
  }
  if (!can_branch() || static_cast<int64_t>(prompt.size()) < least_branched || branches.empty()) {
    throw std::invalid_argument("Model::branch_losses: a short prompt, or positions that change");
  }
  if (cache.length + static_cast<int64_t>(prompt.size()) + longest > cache.capacity) {
    throw std::invalid_argument("Model::branch_losses: more than the cache has room for");
  }
  check_ids(targets, "target");
  if (cache.length == 0) cache.rotated = true;
  if (!cache.rotated) {
    throw std::invalid_argument("Model::branch_losses: the cache was filled under other positions");
  }
  const Pass pass = make_branched_pass(cache, prompt, branches);
  Gathering<Head> head;
  const Tensor residual = infer_layers(pass, &head);
  const auto fed = static_cast<int64_t>(prompt.size());
  const std::vector<float> losses =
      score(head.take(), residual.rows(fed, residual.dim(0) - fed), targets);
  cache.length += fed;
  std::vector<std::vector<float>> of_branches;
  auto first = losses.begin();
  for (const Branch& branch : branches) {
    const auto end = first + static_cast<std::ptrdiff_t>(branch.ids.size());
    of_branches.emplace_back(first, end);
    first = end;
  }
  return of_branches;
}

/// Keys and values of the prompt's rows into the cache, and of one branch after the other behind
/// them; the attention of each branch's queries.
void Model::attend_branches(size_t layer, const Pass& pass, AttentionActivations& a) {
  rotate(a.key, pass.rope.key, pass);
  a.attended = backend_.allocate(type_, a.query.shape());
  const KvCache& cache = *pass.cache;
  const int64_t prompt = pass.branches.front().second;
  // Few queries are attended to by another order of sums: theirs stand last among zeros.
  const int64_t least = least_branched;
  const Tensor among = backend_.allocate(type_, {least, config_.heads, config_.head_dim});
  const Tensor attended = backend_.allocate(type_, among.shape());
  backend_.zero(among);
  for (size_t i = 0; i < pass.branches.size(); ++i) {
    const auto [row, tokens] = pass.branches[i];
    const int64_t past = i == 0 ? cache.length : cache.length + prompt, keys = past + tokens;
    backend_.copy(cache.keys[layer].rows(past, tokens), a.key.rows(row, tokens));
    backend_.copy(cache.values[layer].rows(past, tokens), a.value.rows(row, tokens));
    const Tensor key = cache.keys[layer].rows(0, keys), value = cache.values[layer].rows(0, keys);
    const bool few = tokens < least;
    const int64_t queries = few ? least : tokens;
    const Tensor query = few ? among : a.query.rows(row, tokens);
    const Tensor out = few ? attended : a.attended.rows(row, tokens);
    if (few) backend_.copy(among.rows(least - tokens, tokens), a.query.rows(row, tokens));
    a.lse = new_f32({1, config_.heads, queries});
    backend_.attention(out, a.lse, query, key, value, attention_shape(layer, 1, queries, keys));
    if (few) backend_.copy(a.attended.rows(row, tokens), attended.rows(least - tokens, tokens));
  }
}

}  // namespace ropesweep::llama
