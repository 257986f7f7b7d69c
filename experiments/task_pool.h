// A million tasks in little memory: what many tasks have in common is kept once, and what each has
// for itself as a few bytes. Tasks go in and come out whole; nobody else knows how they lie here.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "experiments/packed.h"
#include "experiments/task.h"

namespace ropesweep {

class TaskPool {
 public:
  TaskPool() = default;
  /// Not explicit: whoever has few tasks keeps a vector of them.
  TaskPool(const std::vector<Task>& tasks);  // NOLINT(google-explicit-constructor)

  /// Takes it in, but for `fine_tune.shared_by`, which no worker asks for.
  void add(const Task& task);
  /// Another task in its place.
  void replace(size_t index, const Task& task);

  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Task operator[](size_t index) const;

  // Without making the task.
  std::string id(size_t index) const;
  TaskKind kind(size_t index) const { return common(index).kind; }
  double flops(size_t index) const { return entries_[index].flops; }
  /// What it shares with others: kind, data set, workers and the like; cells and texts of its own
  /// are missing.
  const Task& common(size_t index) const { return commons_[entries_[index].common]; }

 private:
  struct Entry {
    uint64_t at = 0;  ///< of its bytes
    double flops = 0;
    uint32_t common = 0;
  };

  Entry pack(const Task& task);
  uint32_t common_of(const Task& task);
  uint8_t* grow(size_t bytes);

  std::vector<Entry> entries_;
  std::deque<Task> commons_;
  std::unordered_map<std::string, uint32_t> common_numbers_;  ///< by its text
  TextPool texts_;
  std::vector<std::vector<uint8_t>> blocks_;  ///< of kBlockBytes: growing moves nothing
};

/// make_tasks of task.h, each handed to `take` as it is made: a million are never there at once.
void make_tasks(const Sweep& sweep, const Grid& grid, const Digests& digests,
                const Geometries& geometries, const std::vector<std::string>& finished,
                const std::string& store_directory, const std::function<void(Task)>& take);

}  // namespace ropesweep
