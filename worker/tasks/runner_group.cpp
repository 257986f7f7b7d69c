// Meeting: CPUs by Gloo's addresses in the group's directory, CUDA devices by an id that rank 0
// puts there.
#include "worker/tasks/runner_group.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "experiments/output_file.h"

namespace ropesweep::tasks {

namespace fs = std::filesystem;
using backend::Collective;

namespace {

/// A member may be busy for long while the others wait, with a large checkpoint's writing. Who is
/// lost is known sooner: by its connection's end, or from the coordinator.
constexpr std::chrono::minutes kTimeout(30);
constexpr std::chrono::milliseconds kLookAgain(10);

/// What rank 0 made, once it is there.
std::string shared_id(const GroupPlace& place) {
  const fs::path file = fs::path(place.directory) / "nccl_id";
  if (place.rank == 0) {
    const std::string id = backend::make_nccl_id();
    write_whole(file, id, false);
    return id;
  }
  const auto deadline = std::chrono::steady_clock::now() + kTimeout;
  while (!fs::exists(file)) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw backend::LostMember("meeting: rank 0 left no id in " + place.directory);
    }
    std::this_thread::sleep_for(kLookAgain);
  }
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::unique_ptr<Collective> meet(backend::Backend& backend, int cuda_device,
                                 const GroupPlace& place) {
  const auto rank = static_cast<int>(place.rank), size = static_cast<int>(place.size);
  if (cuda_device < 0) {
    return backend::make_gloo_collective({rank, size, place.directory, "", kTimeout});
  }
  return backend::make_nccl_collective(backend, cuda_device,
                                       {rank, size, shared_id(place), kTimeout});
}

}  // namespace

Collective* RunnerGroup::join(const GroupPlace& place) {
  if (is_in(place)) return group_.get();
  leave();
  if (place.size > 1) {
    std::error_code failure;  // whoever can't write there says so
    fs::create_directories(place.directory, failure);
    group_ = meet(backend_, cuda_device_, place);
    group_->barrier();
    if (place.rank == 0) fs::remove_all(place.directory, failure);
  }
  name_ = place.name;
  return group_.get();
}

void RunnerGroup::leave() {
  name_.clear();
  group_.reset();
}

}  // namespace ropesweep::tasks
