// Which row has a key, without keeping the keys: by their hashes, and a look at the row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace ropesweep {

class RowIndex {
 public:
  void add(std::string_view key, size_t row) {
    rows_.emplace(std::hash<std::string_view>()(key), static_cast<uint32_t>(row));
  }

  /// `has_key(row)` tells rows apart whose keys have the same hash.
  template <typename HasKey>
  std::optional<size_t> find(std::string_view key, const HasKey& has_key) const {
    const auto [first, last] = rows_.equal_range(std::hash<std::string_view>()(key));
    for (auto each = first; each != last; ++each) {
      if (has_key(size_t{each->second})) return each->second;
    }
    return std::nullopt;
  }

 private:
  std::unordered_multimap<uint64_t, uint32_t> rows_;
};

}  // namespace ropesweep
