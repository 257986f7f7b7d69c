// Tensors: sizes, views and reshapes. Storage and device are the backend's business.
#include "worker/backend/tensor.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace ropesweep::backend {

namespace {

int64_t product_of(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string text_of(const Shape& shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(shape[axis]);
  }
  return text + "]";
}

}  // namespace

size_t size_of(Dtype dtype) { return dtype == Dtype::bf16 ? 2 : 4; }

const char* name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "f32";
    case Dtype::bf16:
      return "bf16";
    case Dtype::i32:
      return "i32";
  }
  throw std::invalid_argument("name_of: not a dtype");
}

Tensor::Tensor(Dtype dtype, Shape shape, std::shared_ptr<void> storage, void* data)
    : dtype_(dtype), shape_(std::move(shape)), storage_(std::move(storage)), data_(data) {
  for (const int64_t extent : shape_) {
    if (extent < 0) throw std::invalid_argument("Tensor: negative extent in " + text_of(shape_));
  }
}

int64_t Tensor::elements() const { return empty() ? 0 : product_of(shape_); }

Tensor Tensor::rows(int64_t first, int64_t count) const {
  if (shape_.empty() || first < 0 || count < 0 || first + count > shape_[0]) {
    throw std::invalid_argument("Tensor::rows: rows " + std::to_string(first) + " + " +
                                std::to_string(count) + " are not within " + text_of(shape_));
  }
  Shape shape = shape_;
  const size_t row_bytes = shape_[0] == 0 ? 0 : bytes() / static_cast<size_t>(shape_[0]);
  shape[0] = count;
  auto* data = static_cast<std::byte*>(data_) + static_cast<size_t>(first) * row_bytes;
  return Tensor(dtype_, std::move(shape), storage_, data);
}

Tensor Tensor::reshape(Shape shape) const {
  if (product_of(shape) != elements()) {
    throw std::invalid_argument("Tensor::reshape: " + text_of(shape_) +
                                " has other elements than " + text_of(shape));
  }
  return Tensor(dtype_, std::move(shape), storage_, data_);
}

}  // namespace ropesweep::backend
