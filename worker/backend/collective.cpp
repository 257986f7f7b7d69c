// What all groups check, and the group of one.
#include "worker/backend/collective.h"

#include "worker/backend/checked_backend.h"

namespace ropesweep::backend {

namespace {

class LoneCollective final : public Collective {
 public:
  explicit LoneCollective(Backend& backend) : backend_(backend) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  void broadcast(const Tensor&, int root) override {
    require(root == 0, "broadcast", "the root is no member");
  }
  void all_gather(const Tensor& out, const Tensor& part) override {
    check_all_gather(out, part, 1);
    backend_.copy(out.reshape(part.shape()), part);
  }
  void reduce_scatter(const Tensor& part, const Tensor& x) override {
    check_reduce_scatter(part, x, 1);
    backend_.copy(part, x.reshape(part.shape()));
  }
  void all_reduce(const Tensor& x) override { check_all_reduce(x); }
  double sum(double x) override { return x; }
  void barrier() override {}

 private:
  Backend& backend_;
};

}  // namespace

void check_all_gather(const Tensor& out, const Tensor& part, int size) {
  require(out.dtype() == part.dtype() && out.elements() == size * part.elements(), "all_gather",
          "out must hold a part of each rank, of one type");
}

void check_reduce_scatter(const Tensor& part, const Tensor& x, int size) {
  require(part.dtype() == Dtype::f32 && x.dtype() == Dtype::f32 &&
              x.elements() == size * part.elements(),
          "reduce_scatter", "x must hold a part for each rank, all f32");
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
