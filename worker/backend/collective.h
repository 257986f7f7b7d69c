// What the ranks of a group do together: several devices that work on one task. Every member calls
// the same operations in the same order; each returns when this member's part of it is done. Those
// that begin_… begins run while the member goes on, in the order in which they and all others were
// begun.
//
// Sums are taken in the order of the ranks, so that they don't depend on which message came first
// and repeat to the bit. A member that dies or falls silent ends an operation of the others with
// LostMember, at the latest after the group's timeout; the group is of no use after that. Tensors
// that don't fit are defects: std::invalid_argument.
//
// Letters: n parts, one a rank
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "worker/backend/ops.h"

namespace ropesweep::backend {

/// A member of the group is gone or was silent for longer than the timeout.
class LostMember : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An operation that was begun. Until wait() returns, what it writes must not be touched, and what
/// it reads must not be written. Storage stays its own until it has ended, whether or not it is
/// waited for: one that is dropped still takes its turn, since the other members count on it. What
/// is under way when the group goes is cut off.
class Pending {
 public:
  virtual ~Pending() = default;
  /// Returns when this member's part is done. Errors: LostMember, also when an earlier operation
  /// failed or the group is gone.
  virtual void wait() = 0;
};

/// For one thread at a time.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;  ///< 0 … size − 1
  virtual int size() const = 0;

  /// x becomes the root's, everywhere. Any type.
  virtual void broadcast(const Tensor& x, int root) = 0;
  /// out = the parts of all ranks in the order of the ranks, end to end; of several tensors in one
  /// message. One type; out has n times the elements of part. They must not overlap.
  [[nodiscard]] virtual std::unique_ptr<Pending> begin_all_gather(
      std::span<const Tensor> outs, std::span<const Tensor> parts) = 0;
  void all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts) {
    begin_all_gather(outs, parts)->wait();
  }
  void all_gather(const Tensor& out, const Tensor& part) { all_gather({&out, 1}, {&part, 1}); }
  /// part = this rank's of the n equal parts of Σ x over the ranks; of several tensors in one
  /// message. f32; they must not overlap.
  [[nodiscard]] virtual std::unique_ptr<Pending> begin_reduce_scatter(
      std::span<const Tensor> parts, std::span<const Tensor> xs) = 0;
  void reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs) {
    begin_reduce_scatter(parts, xs)->wait();
  }
  void reduce_scatter(const Tensor& part, const Tensor& x) { reduce_scatter({&part, 1}, {&x, 1}); }
  /// x = Σ x over the ranks, the same bits everywhere. f32.
  virtual void all_reduce(const Tensor& x) = 0;
  /// Σ x over the ranks, the same bits everywhere.
  virtual double sum(double x) = 0;
  /// Returns when all members have called it.
  virtual void barrier() = 0;
};

/// A group of one. `backend` must outlive it.
std::unique_ptr<Collective> make_lone_collective(Backend& backend);

struct GlooGroup {
  int rank = 0, size = 1;
  /// A directory that all members see, new for each group: what an earlier group, or an earlier
  /// attempt, left in it would be taken for this one's addresses. Whoever made it removes it.
  std::string directory;
  /// Name or address of this machine under which the other members reach it; empty: its host name.
  std::string address;
  /// For meeting, and for each operation: as long as members may differ in their progress.
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
};

/// Members on CPUs, over TCP (Gloo). Tensors lie in the host's memory. Meets the other members.
/// From then on the process ignores SIGPIPE, unless it handles it. Errors: LostMember when they
/// don't all come in time.
std::unique_ptr<Collective> make_gloo_collective(const GlooGroup& group);

struct NcclGroup {
  int rank = 0, size = 1;
  std::string id;  ///< the bytes that one member got from make_nccl_id
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
};

/// Members on CUDA devices (NCCL). `backend` is the CUDA backend of `device` and must outlive the
/// group. The program finds it in a library beside it (nccl_plugin.cpp); what links backend_nccl
/// has it by itself. Errors: LostMember, std::invalid_argument for an id of another length,
/// NoDevice where the build has no NCCL or it can't be opened.
std::unique_ptr<Collective> make_nccl_collective(Backend& backend, int device,
                                                 const NcclGroup& group);
/// An id for a new group, for all its members. Errors: NoDevice as above.
std::string make_nccl_id();

/// Throw std::invalid_argument "OP: WHAT" for tensors that don't fit (for the implementations).
void check_all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts, int size);
void check_reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs, int size);
void check_all_reduce(const Tensor& x);
void check_member(const char* maker, int rank, int size);

}  // namespace ropesweep::backend
