// A contiguous, row-major array on a device. Copies of a Tensor share the storage; slices are
// views.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

namespace ropesweep::backend {

enum class Dtype { f32, bf16, i32 };
size_t size_of(Dtype dtype);
const char* name_of(Dtype dtype);

using Shape = std::vector<int64_t>;

class Tensor {
 public:
  Tensor() = default;
  /// `storage` owns the bytes; `data` points to the first element (on the device).
  Tensor(Dtype dtype, Shape shape, std::shared_ptr<void> storage, void* data);

  Dtype dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype_); }
  bool empty() const { return data_ == nullptr; }

  void* raw() const { return data_; }
  template <typename T>
  T* data() const {
    return static_cast<T*>(data_);
  }

  /// Rows first … first + count − 1 along axis 0, sharing the storage.
  Tensor rows(int64_t first, int64_t count) const;
  /// The same elements under another shape. Errors: std::invalid_argument when the counts differ.
  Tensor reshape(Shape shape) const;

 private:
  Dtype dtype_ = Dtype::f32;
  Shape shape_;
  std::shared_ptr<void> storage_;
  void* data_ = nullptr;
};

}  // namespace ropesweep::backend
