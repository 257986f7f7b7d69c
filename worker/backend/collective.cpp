// What all groups check, and the group of one.
#include "worker/backend/collective.h"

#include "worker/backend/checked_backend.h"

namespace ropesweep::backend {

namespace {

/// What has ended before it could be waited for.
class Ended final : public Pending {
 public:
  void wait() override {}
};

class LoneCollective final : public Collective {
 public:
  explicit LoneCollective(Backend& backend) : backend_(backend) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  void broadcast(const Tensor&, int root) override {
    require(root == 0, "broadcast", "the root is no member");
  }
  std::unique_ptr<Pending> begin_all_gather(std::span<const Tensor> outs,
                                            std::span<const Tensor> parts) override {
    check_all_gather(outs, parts, 1);
    for (size_t i = 0; i < outs.size(); ++i) backend_.copy(outs[i], parts[i]);
    return std::make_unique<Ended>();
  }
  std::unique_ptr<Pending> begin_reduce_scatter(std::span<const Tensor> parts,
                                                std::span<const Tensor> xs) override {
    check_reduce_scatter(parts, xs, 1);
    for (size_t i = 0; i < parts.size(); ++i) backend_.copy(parts[i], xs[i]);
    return std::make_unique<Ended>();
  }
  void all_reduce(const Tensor& x) override { check_all_reduce(x); }
  double sum(double x) override { return x; }
  void barrier() override {}

 private:
  Backend& backend_;
};

}  // namespace

void check_all_gather(std::span<const Tensor> outs, std::span<const Tensor> parts, int size) {
  bool fits = outs.size() == parts.size();
  for (size_t i = 0; fits && i < outs.size(); ++i) {
    fits = outs[i].dtype() == parts[i].dtype() && outs[i].elements() == size * parts[i].elements();
  }
  require(fits, "all_gather", "out must hold a part of each rank, of one type");
}

void check_reduce_scatter(std::span<const Tensor> parts, std::span<const Tensor> xs, int size) {
  bool fits = xs.size() == parts.size();
  for (size_t i = 0; fits && i < xs.size(); ++i) {
    fits = parts[i].dtype() == Dtype::f32 && xs[i].dtype() == Dtype::f32 &&
           xs[i].elements() == size * parts[i].elements();
  }
  require(fits, "reduce_scatter", "x must hold a part for each rank, all f32");
}

void check_all_reduce(const Tensor& x) {
  require(x.dtype() == Dtype::f32, "all_reduce", "x must be f32");
}

void check_member(const char* maker, int rank, int size) {
  require(size >= 1 && rank >= 0 && rank < size, maker, "needs 0 ≤ rank < size");
}

std::unique_ptr<Collective> make_lone_collective(Backend& backend) {
  return std::make_unique<LoneCollective>(backend);
}

}  // namespace ropesweep::backend
