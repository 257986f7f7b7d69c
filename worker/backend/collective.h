// What the ranks of a group do together: several devices that work on one task. Every member calls
// the same operations in the same order; each returns when this member's part of it is done.
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

class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;  ///< 0 … size − 1
  virtual int size() const = 0;

  /// x becomes the root's, everywhere. Any type.
  virtual void broadcast(const Tensor& x, int root) = 0;
  /// out = the parts of all ranks in the order of the ranks, end to end; of several tensors in one
  /// message. One type; out has n times the elements of part. They must not overlap.
  virtual void all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts) = 0;
  void all_gather(const Tensor& out, const Tensor& part) { all_gather({&out, 1}, {&part, 1}); }
  /// part = this rank's of the n equal parts of Σ x over the ranks; of several tensors in one
  /// message. f32; they must not overlap.
  virtual void reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs) = 0;
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

/// Members on CUDA devices (NCCL). Only where the build has it (ROPESWEEP_NCCL). `backend` is the
/// CUDA backend of `device` and must outlive the group. Errors: LostMember, std::invalid_argument
/// for an id of another length.
std::unique_ptr<Collective> make_nccl_collective(Backend& backend, int device,
                                                 const NcclGroup& group);
/// An id for a new group, for all its members.
std::string make_nccl_id();

/// Throw std::invalid_argument "OP: WHAT" for tensors that don't fit (for the implementations).
void check_all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts, int size);
void check_reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs, int size);
void check_all_reduce(const Tensor& x);
void check_member(const char* maker, int rank, int size);

}  // namespace ropesweep::backend
