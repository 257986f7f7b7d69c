// A task's own bytes: ids as they are, numbers, and texts that others may have too by their number
// in the pool. The canonical text of a cell is cut at its commas, since most pieces are of many.
#include "experiments/task_pool.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

namespace ropesweep {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

/// Appends to a record.
class Packer {
 public:
  explicit Packer(TextPool& texts) : texts_(texts) {}

  void number(uint64_t value) {
    for (; value >= 128; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 128));
    bytes.push_back(static_cast<uint8_t>(value));
  }
  void integer(int64_t value) { number(std::bit_cast<uint64_t>(value)); }
  void real(double value) {
    const auto raw = std::bit_cast<std::array<uint8_t, sizeof value>>(value);
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  }
  /// A text of its own.
  void own(std::string_view text) {
    number(text.size());
    bytes.insert(bytes.end(), text.begin(), text.end());
  }
  void shared(std::string_view text) { number(texts_.number(text)); }
  void pieces(std::string_view text) {
    std::vector<uint32_t> numbers;
    while (true) {
      const size_t comma = text.find(',');
      numbers.push_back(texts_.number(text.substr(0, comma)));
      if (comma == std::string_view::npos) break;
      text.remove_prefix(comma + 1);
    }
    number(numbers.size());
    for (const uint32_t each : numbers) number(each);
  }
  /// A path that has the id in it, as most have.
  void around(std::string_view text, std::string_view id) {
    const size_t at = id.empty() ? std::string_view::npos : text.rfind(id);
    number(at != std::string_view::npos ? 1 : 0);
    shared(text.substr(0, at));
    if (at != std::string_view::npos) shared(text.substr(at + id.size()));
  }

  std::vector<uint8_t> bytes;

 private:
  TextPool& texts_;
};

/// Reads what Packer wrote, in its order.
class Unpacker {
 public:
  Unpacker(const uint8_t* at, const TextPool& texts) : at_(at), texts_(texts) {}

  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = *at_++;
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  int64_t integer() { return std::bit_cast<int64_t>(number()); }
  double real() {
    double value = 0;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string own() {
    const size_t size = number();
    const auto* text = reinterpret_cast<const char*>(at_);
    at_ += size;
    return {text, size};
  }
  const std::string& shared() { return texts_[static_cast<uint32_t>(number())]; }
  std::string pieces() {
    std::string text;
    for (size_t left = number(); left > 0; --left) {
      text += shared();
      if (left > 1) text += ',';
    }
    return text;
  }
  std::string around(const std::string& id) {
    const bool has_id = number() == 1;
    const std::string& before = shared();
    return has_id ? before + id + shared() : before;
  }

 private:
  const uint8_t* at_;
  const TextPool& texts_;
};

void pack_cell(const Cell& cell, Packer& out) {
  out.own(cell.id);
  for (const std::string* text :
       {&cell.model, &cell.recipe, &cell.scheme, &cell.dataset, &cell.fine_tune}) {
    out.shared(*text);
  }
  out.real(cell.train_scale);
  out.real(cell.eval_scale);
  out.integer(cell.context_length);
  out.integer(cell.seed);
  out.pieces(cell.canonical);
}

Cell unpack_cell(Unpacker& in) {
  Cell cell;
  cell.id = in.own();
  for (std::string* text :
       {&cell.model, &cell.recipe, &cell.scheme, &cell.dataset, &cell.fine_tune}) {
    *text = in.shared();
  }
  cell.train_scale = in.real();
  cell.eval_scale = in.real();
  cell.context_length = in.integer();
  cell.seed = in.integer();
  cell.canonical = in.pieces();
  return cell;
}

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

uint32_t TextPool::number(std::string_view text) {
  const auto found = numbers_.find(text);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<uint32_t>(texts_.size());
  texts_.emplace_back(text);
  numbers_.emplace(texts_.back(), number);
  return number;
}

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
  for (const Cell& cell : task.cells) pack_cell(cell, out);
  uint8_t* at = grow(out.bytes.size());
  std::copy(out.bytes.begin(), out.bytes.end(), at);
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
  for (size_t left = in.number(); left > 0; --left) task.cells.push_back(unpack_cell(in));
  task.flops = entry.flops;
  return task;
}

}  // namespace ropesweep
