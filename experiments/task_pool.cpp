// A task's own bytes: ids as they are, numbers, and texts that others may have too by their number
// in the pool.
#include "experiments/task_pool.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ropesweep {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

/// Without what every evaluation has for itself. A fine-tune is nobody's like, but for its cells.
Task shared_part(const Task& task) {
  Task common = task;
  common.id.clear();
  common.output.clear();
  common.needs.clear();
  common.cells.clear();
  common.fine_tune.shared_by.clear();
  common.weights.clear();
  common.weights_key.clear();
  common.scheme.clear();
  common.scale = 1;
  common.seed = 0;
  common.flops = common.memory_bytes = 0;
  return common;
}

}  // namespace

TaskPool::TaskPool(const std::vector<Task>& tasks) {
  entries_.reserve(tasks.size());
  for (const Task& task : tasks) add(task);
}

void TaskPool::add(const Task& task) { entries_.push_back(pack(task)); }

void TaskPool::replace(size_t index, const Task& task) { entries_.at(index) = pack(task); }

uint32_t TaskPool::common_of(const Task& task) {
  Task common = shared_part(task);
  const auto [found, is_new] = common_numbers_.try_emplace(nlohmann::json(common).dump(),
                                                           static_cast<uint32_t>(commons_.size()));
  if (is_new) commons_.push_back(std::move(common));
  return found->second;
}

uint8_t* TaskPool::grow(size_t bytes) {
  if (blocks_.empty() || blocks_.back().size() + bytes > blocks_.back().capacity()) {
    blocks_.emplace_back().reserve(std::max(kBlockBytes, bytes));
  }
  std::vector<uint8_t>& block = blocks_.back();
  block.resize(block.size() + bytes);
  return block.data() + block.size() - bytes;
}

TaskPool::Entry TaskPool::pack(const Task& task) {
  Packer out(texts_);
  out.own(task.id);
  out.around(task.output, task.id);
  out.around(task.weights, task.weights_key);
  out.shared(task.weights_key);
  out.shared(task.scheme);
  out.real(task.scale);
  out.real(task.memory_bytes);
  out.integer(task.seed);
  out.number(task.needs.size());
  for (const std::string& need : task.needs) out.shared(need);
  out.number(task.cells.size());
  for (const Cell& cell : task.cells) ropesweep::pack(out, cell);
  uint8_t* at = grow(out.bytes().size());
  std::copy(out.bytes().begin(), out.bytes().end(), at);
  const auto in_block = static_cast<uint64_t>(at - blocks_.back().data());
  return {((blocks_.size() - 1) << 32) | in_block, task.flops, common_of(task)};
}

namespace {

const uint8_t* bytes_at(const std::vector<std::vector<uint8_t>>& blocks, uint64_t at) {
  return blocks[at >> 32].data() + (at & 0xffffffffU);
}

}  // namespace

std::string TaskPool::id(size_t index) const {
  return Unpacker(bytes_at(blocks_, entries_[index].at), texts_).own();
}

Task TaskPool::operator[](size_t index) const {
  const Entry& entry = entries_.at(index);
  Unpacker in(bytes_at(blocks_, entry.at), texts_);
  Task task = commons_[entry.common];
  task.id = in.own();
  task.output = in.around(task.id);
  // Its weights' directory may be named after their key, which comes next.
  Unpacker ahead = in;
  in.around("");
  task.weights_key = in.shared();
  task.weights = ahead.around(task.weights_key);
  task.scheme = in.shared();
  task.scale = in.real();
  task.memory_bytes = in.real();
  task.seed = in.integer();
  for (size_t left = in.number(); left > 0; --left) task.needs.push_back(in.shared());
  task.cells.resize(in.number());
  for (Cell& cell : task.cells) unpack(in, cell);
  task.flops = entry.flops;
  return task;
}

}  // namespace ropesweep
