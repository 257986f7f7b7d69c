// CBOR from files and peers is looked through before a tree is made of it: the parser recurses,
// level by level, and so does whatever copies, compares or writes the tree.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace ropesweep {

/// Deeper than any message or record (an outcome's measures lie six deep in a message).
inline constexpr int kDeepestCbor = 32;

/// Walks the bytes without keeping anything.
class CborDepth : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= kDeepestCbor; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(std::size_t) override { return ++depth_ <= kDeepestCbor; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  int depth_ = 0;
};

/// Whether the bytes are CBOR, all of them, and nest no deeper than kDeepestCbor.
inline bool is_shallow_cbor(std::span<const uint8_t> bytes) {
  CborDepth depth;
  return nlohmann::json::sax_parse(bytes.begin(), bytes.end(), &depth,
                                   nlohmann::json::input_format_t::cbor);
}

}  // namespace ropesweep
