// A vector of records that lie packed: a million in the memory of some tens of thousands. Reading
// one makes it (about a microsecond); it is changed by being set anew.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <vector>

#include "experiments/packed.h"

namespace ropesweep {

/// `pack(Packer&, const Record&)` and `unpack(Unpacker&, Record&)` are found beside the record.
template <typename Record>
class PackedVector {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Record;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = const Record;

    Iterator() = default;
    Iterator(const PackedVector& records, size_t at) : records_(&records), at_(at) {}
    const Record operator*() const {  // NOLINT(readability-const-return-type): nobody writes there
      return (*records_)[at_];
    }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++at_;
      return before;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    const PackedVector* records_ = nullptr;
    size_t at_ = 0;
  };
  using value_type = Record;
  using const_iterator = Iterator;

  PackedVector() = default;
  // Not explicit: whoever has few records keeps a vector of them.
  PackedVector(const std::vector<Record>& records) {  // NOLINT(google-explicit-constructor)
    for (const Record& record : records) push_back(record);
  }
  PackedVector(std::initializer_list<Record> records) {
    for (const Record& record : records) push_back(record);
  }
  PackedVector(const PackedVector& other) {
    packed_.reserve(other.size());
    for (const Record& record : other) push_back(record);
  }
  PackedVector(PackedVector&&) noexcept = default;
  PackedVector& operator=(PackedVector other) noexcept {
    packed_.swap(other.packed_);
    texts_ = std::move(other.texts_);
    return *this;
  }
  ~PackedVector() = default;

  size_t size() const { return packed_.size(); }
  bool empty() const { return packed_.empty(); }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

  const Record operator[](size_t index) const {  // NOLINT(readability-const-return-type): as above
    Record record;
    Unpacker in(packed_[index].get(), texts_);
    unpack(in, record);
    return record;
  }
  const Record at(size_t index) const {  // NOLINT(readability-const-return-type): as above
    if (index >= size()) throw std::out_of_range("PackedVector::at");
    return (*this)[index];
  }
  const Record front() const { return (*this)[0]; }          // NOLINT: as above
  const Record back() const { return (*this)[size() - 1]; }  // NOLINT: as above

  void push_back(const Record& record) { packed_.push_back(packed(record)); }
  void set(size_t index, const Record& record) { packed_[index] = packed(record); }
  /// `change(Record&)` on a copy that then takes its place.
  template <typename Change>
  void change(size_t index, const Change& change) {
    Record record = (*this)[index];
    change(record);
    set(index, record);
  }

 private:
  std::unique_ptr<uint8_t[]> packed(const Record& record) {
    Packer out(texts_);
    pack(out, record);
    auto bytes = std::make_unique_for_overwrite<uint8_t[]>(out.bytes().size());
    std::copy(out.bytes().begin(), out.bytes().end(), bytes.get());
    return bytes;
  }

  std::vector<std::unique_ptr<uint8_t[]>> packed_;
  TextPool texts_;
};

}  // namespace ropesweep
