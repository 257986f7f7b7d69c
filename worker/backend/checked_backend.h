// Every op's shapes are checked, and its time is taken for `--profile`, here, for all backends: a
// backend's own code may trust what it is given.
#pragma once

#include <memory>

#include "worker/backend/ops.h"

namespace ropesweep::backend {

/// `inner` behind the checks. Ops throw std::invalid_argument "OP: WHAT" for tensors that don't
/// fit.
std::unique_ptr<Backend> checked(std::unique_ptr<Backend> inner);

/// Throws std::invalid_argument "OP: WHAT" unless `fits`.
void require(bool fits, const char* op, const char* what);

/// True when x has this type and shape.
bool is(const Tensor& x, Dtype dtype, const Shape& shape);

/// True when x is f32 or bf16.
bool is_real(const Tensor& x);

}  // namespace ropesweep::backend
