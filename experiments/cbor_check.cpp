// One pass over the heads of the items; no tree. RFC 8949.
#include "experiments/cbor_check.h"

#include <vector>

namespace ropesweep {
namespace {

enum Major { unsigned_number, negative_number, bytes_string, text_string, array, map, tag, simple };

class Walk {
 public:
  Walk(std::span<const uint8_t> bytes, size_t depth) : rest_(bytes), depth_(depth) {}

  bool is_plain() {
    open_.push_back(1);
    while (!open_.empty()) {
      if (open_.back() == 0) {
        open_.pop_back();
      } else {
        --open_.back();
        if (!take_item()) return false;
      }
    }
    return rest_.empty();
  }

 private:
  bool skip(uint64_t count) {
    if (count > rest_.size()) return false;
    rest_ = rest_.subspan(count);
    return true;
  }

  /// The number after the first byte's five low bits; false when it is cut or of no stated length.
  bool take_number(uint8_t low, uint64_t& number) {
    number = low;
    if (low < 24) return true;
    if (low > 27) return false;
    const size_t width = size_t{1} << (low - 24);
    if (width > rest_.size()) return false;
    number = 0;
    for (size_t i = 0; i < width; ++i) number = number << 8 | rest_[i];
    return skip(width);
  }

  /// `count` items follow, of at least a byte each.
  bool enter(uint64_t count) {
    if (count > rest_.size() || open_.size() > depth_) return false;
    open_.push_back(count);
    return true;
  }

  bool take_item() {
    if (rest_.empty()) return false;
    const uint8_t first = rest_[0];
    rest_ = rest_.subspan(1);
    uint64_t number = 0;
    if (!take_number(first & 31, number)) return false;
    switch (first >> 5) {
      case unsigned_number:
      case negative_number:
        return true;
      case bytes_string:
      case text_string:
        return skip(number);
      case array:
        return enter(number);
      case map:
        return number <= rest_.size() / 2 && enter(2 * number);
      case simple:
        return true;  // false, true, null and floats; the parser refuses the others
      default:
        return false;
    }
  }

  std::span<const uint8_t> rest_;
  size_t depth_;
  std::vector<uint64_t> open_;  ///< items that each level still wants
};

}  // namespace

bool is_plain_cbor(std::span<const uint8_t> bytes, int depth) {
  return Walk(bytes, static_cast<size_t>(depth)).is_plain();
}

}  // namespace ropesweep
