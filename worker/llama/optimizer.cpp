// AdamW over a model's weights (Loshchilov & Hutter 2019, algorithm 2) and the rate's schedule.
#include "worker/llama/optimizer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <stdexcept>
#include <utility>

#include "experiments/error.h"
#include "experiments/schedule.h"
#include "worker/llama/lora.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Dtype;

std::vector<NamedTensor> zeros_like(Backend& backend, const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> zeros = tensors;
  for (NamedTensor& named : zeros) {
    named.tensor = backend.allocate(Dtype::f32, named.tensor.shape());
    backend.zero(named.tensor);
  }
  return zeros;
}

/// Whether what is trained is f32: the tensors are their own masters then.
bool are_f32(const std::vector<NamedTensor>& weights) {
  return weights.front().tensor.dtype() == Dtype::f32;
}

/// f32 copies of bf16 weights; f32 weights themselves, unless they are kept on the host.
std::vector<NamedTensor> make_masters(Backend& backend, const std::vector<NamedTensor>& weights,
                                      Backend* host) {
  if (are_f32(weights) && host == nullptr) return weights;
  std::vector<NamedTensor> masters = zeros_like(host != nullptr ? *host : backend, weights);
  for (size_t i = 0; i < masters.size(); ++i) {
    if (host == nullptr) {
      backend.copy(masters[i].tensor, weights[i].tensor);
      continue;
    }
    const backend::Tensor wide = backend.allocate(Dtype::f32, weights[i].tensor.shape());
    backend.copy(wide, weights[i].tensor);
    backend.download(masters[i].tensor.raw(), wide);
  }
  return masters;
}

int64_t read_steps_done(const SafetensorsReader& reader) {
  const auto found = reader.metadata().find("steps_done");
  int64_t steps = -1;
  if (found != reader.metadata().end()) {
    const std::string& text = found->second;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), steps);
    if (failure != std::errc() || end != text.data() + text.size()) steps = -1;
  }
  if (steps < 0) {
    throw_user_error("{}: no saved optimizer state: its metadata has no steps_done",
                     reader.file().string());
  }
  return steps;
}

}  // namespace

double learning_rate_at(const RecipeSettings& recipe, int64_t step) {
  const int64_t warmup = recipe.warmup_steps;
  if (step < warmup) {
    return recipe.learning_rate * static_cast<double>(step) / static_cast<double>(warmup);
  }
  if (recipe.schedule == "constant") return recipe.learning_rate;
  const double after = static_cast<double>(std::max<int64_t>(recipe.steps - warmup, 1));
  const double progress = std::min(static_cast<double>(step - warmup) / after, 1.0);
  if (recipe.schedule == "linear" && progress == 0) return recipe.learning_rate;
  if (recipe.schedule == "linear") {  // 1 − progress in transformers' order of rounding
    return recipe.learning_rate * (std::max(static_cast<double>(recipe.steps - step), 0.0) / after);
  }
  if (recipe.schedule != "cosine") {
    throw_user_error("schedule: unknown '{}'; known: {}", recipe.schedule,
                     fmt::join(kSchedules, ", "));
  }
  return recipe.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

/// A tensor of a saved state.
struct Optimizer::StateTensor {
  std::string name;
  backend::Tensor kept;
  backend::Backend* on;
  backend::Shape shape;  ///< of the whole tensor
  FileType type() const { return kept.dtype() == Dtype::f32 ? FileType::f32 : FileType::bf16; }
};

std::vector<SafetensorsWriter::Entry> Optimizer::entries_of(
    const std::vector<StateTensor>& tensors) {
  std::vector<SafetensorsWriter::Entry> entries;
  entries.reserve(tensors.size());
  for (const StateTensor& tensor : tensors) {
    entries.push_back({tensor.name, tensor.type(), tensor.shape});
  }
  return entries;
}

Optimizer::Optimizer(Backend& backend, const Weights& weights, const WeightParts* parts,
                     Backend* host, uint64_t seed)
    : backend_(backend),
      parts_(parts),
      host_(host),
      seed_(seed),
      gradients_(zeros_like(backend, weights)),
      weights_(named_tensors(weights)),
      first_moments_(zeros_like(state_backend(), weights_)),
      second_moments_(zeros_like(state_backend(), weights_)),
      named_gradients_(named_tensors(gradients_)) {
  if (host != nullptr && group() != nullptr) {
    throw std::invalid_argument("Optimizer: a group's state stays on its devices");
  }
  if (are_f32(weights_)) decide_on_masters(true);
}

Optimizer::Optimizer(Backend& backend, Lora& adapters, backend::Collective* group, Backend* host)
    : backend_(backend),
      parts_(nullptr),
      host_(host),
      seed_(0),
      adapters_(&adapters),
      replicas_(group),
      weights_(named_tensors(adapters.weights())),
      first_moments_(zeros_like(state_backend(), weights_)),
      second_moments_(zeros_like(state_backend(), weights_)) {
  adapters.begin_training();
  named_gradients_ = named_tensors(adapters.gradients());
  decide_on_masters(true);
}

void Optimizer::decide_on_masters(bool masters) {
  if (has_masters_.has_value() && *has_masters_ != masters) {
    throw std::invalid_argument(
        "Optimizer: bf16 weights have masters, or none, from the first step to the last");
  }
  if (!has_masters_.has_value() && masters) masters_ = make_masters(backend_, weights_, host_);
  has_masters_ = masters;
}

double Optimizer::step(const RecipeSettings& recipe, int64_t step) {
  decide_on_masters(recipe.master_weights || are_f32(weights_));
  if (replicas_ != nullptr) replicas_->all_reduce(adapters_->all_gradients());
  std::vector<backend::Tensor> all_gradients;
  for (const NamedTensor& gradient : named_gradients_) all_gradients.push_back(gradient.tensor);
  double squares = backend_.sum_of_squares(all_gradients);
  if (group() != nullptr) squares = group()->sum(squares);
  const double norm = std::sqrt(squares);
  backend::AdamwStep adamw;
  adamw.learning_rate = static_cast<float>(learning_rate_at(recipe, step));
  adamw.beta1 = static_cast<float>(recipe.beta1);
  adamw.beta2 = static_cast<float>(recipe.beta2);
  adamw.epsilon = static_cast<float>(recipe.epsilon);
  adamw.step = step;
  adamw.seed = seed_;
  if (recipe.clip > 0) {
    // The small addend is torch.nn.utils.clip_grad_norm_'s.
    adamw.gradient_scale = static_cast<float>(std::min(1.0, recipe.clip / (norm + 1e-6)));
  }
  for (size_t i = 0; i < weights_.size(); ++i) {
    const backend::Tensor &weight = weights_[i].tensor, &gradient = named_gradients_[i].tensor;
    adamw.weight_decay = weights_[i].matrix ? static_cast<float>(recipe.weight_decay) : 0.0F;
    adamw.stream = static_cast<uint32_t>(i);
    if (parts_ != nullptr) adamw.first_element = parts_->first_element(weight);
    const backend::Tensor master = *has_masters_ ? masters_[i].tensor : backend::Tensor();
    if (host_ != nullptr) {
      step_on_host(weights_[i], master, first_moments_[i], second_moments_[i], named_gradients_[i],
                   adamw);
    } else {
      backend_.adamw(weight, master, first_moments_[i].tensor, second_moments_[i].tensor, gradient,
                     adamw);
    }
    backend_.zero(gradient);
  }
  if (adapters_ != nullptr) adapters_->refresh();
  steps_done_ = step;
  return norm;
}

void Optimizer::step_on_host(const NamedTensor& weight, const backend::Tensor& master,
                             const NamedTensor& first, const NamedTensor& second,
                             const NamedTensor& gradient, const backend::AdamwStep& step) {
  const backend::Tensor host_gradient = host_->allocate(Dtype::f32, gradient.tensor.shape());
  backend_.download(host_gradient.raw(), gradient.tensor);
  const backend::Tensor host_weight =
      weight.tensor.dtype() == Dtype::f32
          ? master
          : host_->allocate(weight.tensor.dtype(), weight.tensor.shape());
  if (master.empty()) backend_.download(host_weight.raw(), weight.tensor);
  host_->adamw(host_weight, master, first.tensor, second.tensor, host_gradient, step);
  backend_.upload(weight.tensor, host_weight.raw());
}

/// What a saved state holds, in the file's order.
std::vector<Optimizer::StateTensor> Optimizer::state(bool masters) const {
  std::vector<backend::Shape> shapes;
  if (group() != nullptr) shapes = parts_->shapes();
  std::vector<StateTensor> state;
  const auto add = [&](const std::string& prefix, const std::vector<NamedTensor>& named,
                       Backend& on) {
    for (size_t i = 0; i < named.size(); ++i) {
      state.push_back({prefix + named[i].name, named[i].tensor, &on,
                       group() == nullptr ? named[i].tensor.shape() : shapes.at(i)});
    }
  };
  masters ? add("master.", masters_, state_backend()) : add("weight.", weights_, backend_);
  add("first_moment.", first_moments_, state_backend());
  add("second_moment.", second_moments_, state_backend());
  return state;
}

std::vector<Optimizer::StateTensor> Optimizer::state_to_save() const {
  if (!has_masters_.has_value()) throw std::logic_error("Optimizer::save: before the first step");
  return state(*has_masters_);
}

/// Each tensor's bytes, whole, to `take` where they are written; all ranks gather them.
template <typename Take>
void Optimizer::give(const std::vector<StateTensor>& tensors, const Take& take) const {
  for (const StateTensor& tensor : tensors) {
    const backend::Tensor whole =
        group() == nullptr ? tensor.kept : parts_->whole_of(tensor.kept, tensor.shape);
    if (!writes()) continue;
    std::vector<uint8_t> bytes(whole.bytes());
    tensor.on->download(bytes.data(), whole);
    take(std::move(bytes));
  }
}

size_t Optimizer::state_bytes() const {
  size_t bytes = 0;
  for (const StateTensor& tensor : state_to_save()) {
    size_t of_tensor = size_of(tensor.type());
    for (const int64_t extent : tensor.shape) of_tensor *= static_cast<size_t>(extent);
    bytes += of_tensor;
  }
  return bytes;
}

OptimizerState Optimizer::copy() const {
  const std::vector<StateTensor> tensors = state_to_save();
  OptimizerState copied{steps_done_, entries_of(tensors), {}};
  give(tensors, [&](std::vector<uint8_t> bytes) { copied.tensors.push_back(std::move(bytes)); });
  return copied;
}

void Optimizer::save(const std::filesystem::path& file) const {
  const std::vector<StateTensor> tensors = state_to_save();
  std::optional<SafetensorsWriter> writer;
  if (writes()) writer.emplace(file, entries_of(tensors), state_metadata(steps_done_));
  give(tensors, [&](const std::vector<uint8_t>& bytes) { writer->write(bytes); });
  if (writer) writer->finish();
  if (members() != nullptr) members()->barrier();
}

void Optimizer::load(const std::filesystem::path& file) {
  const SafetensorsReader reader(file);
  const int64_t steps = read_steps_done(reader);
  const std::string rounded = "weight." + weights_.front().name;
  decide_on_masters(has_masters_.value_or(!reader.has(rounded)));
  const std::vector<StateTensor> tensors = state(*has_masters_);
  for (const StateTensor& tensor : tensors) {  // all is checked before anything changes
    const FileTensor source = reader.tensor(tensor.name);
    if (source.type != tensor.type() || source.shape != tensor.shape) {
      throw_user_error("{}: tensor {} does not fit this model; the state is another model's",
                       file.string(), tensor.name);
    }
  }
  for (const StateTensor& tensor : tensors) upload_state(tensor, reader.tensor(tensor.name));
  if (*has_masters_) weights_from_masters();
  for (const NamedTensor& gradient : named_gradients_) backend_.zero(gradient.tensor);
  if (adapters_ != nullptr) adapters_->refresh();
  steps_done_ = steps;
}

void Optimizer::upload_state(const StateTensor& tensor, const FileTensor& source) {
  if (group() == nullptr) return tensor.on->upload(tensor.kept, source.bytes.data());
  const backend::Tensor wide = backend_.allocate(Dtype::f32, tensor.kept.shape());
  backend_.upload(wide, parts_->shard_of(to_f32(source)).data());
  backend_.copy(tensor.kept, wide);
}

void Optimizer::weights_from_masters() {
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (host_ != nullptr) {
      const backend::Tensor wide = backend_.allocate(Dtype::f32, weights_[i].tensor.shape());
      backend_.upload(wide, masters_[i].tensor.raw());
      backend_.copy(weights_[i].tensor, wide);
    } else if (weights_[i].tensor.raw() != masters_[i].tensor.raw()) {
      backend_.copy(weights_[i].tensor, masters_[i].tensor);
    }
  }
}

}  // namespace ropesweep::llama
