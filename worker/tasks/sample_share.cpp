// Values of samples, gathered by rank and put into the samples' order.
#include "worker/tasks/sample_share.h"

#include <algorithm>
#include <stdexcept>

namespace ropesweep::tasks {

using backend::Dtype;
using backend::Tensor;

SampleShare::SampleShare(backend::Backend& backend, backend::Collective* group)
    : backend_(backend), group_(group != nullptr && group->size() > 1 ? group : nullptr) {}

int64_t SampleShare::own_count(int64_t samples) const {
  return samples / size() + (rank() < samples % size() ? 1 : 0);
}

std::vector<double> SampleShare::in_order(std::span<const double> own, int64_t samples,
                                          int64_t width) const {
  if (static_cast<int64_t>(own.size()) != own_count(samples) * width) {
    throw std::invalid_argument("SampleShare::in_order: as many values as the rank's samples have");
  }
  std::vector<double> values(own.begin(), own.end());
  if (group_ == nullptr || samples * width == 0) return values;
  // Doubles travel as the bytes of pairs of f32.
  const int64_t of_rank = rounds(samples) * width;
  values.resize(static_cast<size_t>(of_rank), 0.0);
  const Tensor part = backend_.allocate(Dtype::f32, {2 * of_rank});
  const Tensor gathered = backend_.allocate(Dtype::f32, {size() * 2 * of_rank});
  backend_.upload(part, values.data());
  group_->all_gather(gathered, part);
  std::vector<double> by_rank(static_cast<size_t>(size() * of_rank));
  backend_.download(by_rank.data(), gathered);
  values.resize(static_cast<size_t>(samples * width));
  for (int64_t sample = 0; sample < samples; ++sample) {
    const int64_t row = sample % size() * of_rank + sample / size() * width;
    std::copy_n(by_rank.begin() + row, width, values.begin() + sample * width);
  }
  return values;
}

double SampleShare::sum(double own) const { return group_ == nullptr ? own : group_->sum(own); }

std::vector<double> SampleShare::of_first(std::vector<double> values) const {
  if (group_ == nullptr || values.empty()) return values;
  const Tensor words = backend_.allocate(Dtype::f32, {2 * static_cast<int64_t>(values.size())});
  backend_.upload(words, values.data());
  group_->broadcast(words, 0);
  backend_.download(values.data(), words);
  return values;
}

}  // namespace ropesweep::tasks
