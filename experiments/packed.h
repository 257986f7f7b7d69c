// Records as a few bytes: numbers in as many as they need, texts that many records have by their
// number in a pool.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ropesweep {

/// Texts, each kept once, by number.
class TextPool {
 public:
  TextPool() = default;
  TextPool(const TextPool& other);
  TextPool(TextPool&&) noexcept = default;
  TextPool& operator=(TextPool other) noexcept;
  ~TextPool() = default;

  uint32_t number(std::string_view text);
  const std::string& operator[](uint32_t number) const { return texts_[number]; }

 private:
  std::deque<std::string> texts_;  ///< never moves them
  std::unordered_map<std::string_view, uint32_t> numbers_;
};

/// Appends to a record.
class Packer {
 public:
  explicit Packer(TextPool& texts) : texts_(texts) {}

  void number(uint64_t value);
  void integer(int64_t value);
  void real(double value);  ///< to the bit; whole numbers are short
  /// A text of its own; hexadecimal digits, as ids have them, take half.
  void own(std::string_view text);
  void shared(std::string_view text) { number(texts_.number(text)); }
  /// A text that is cut at its commas, since most pieces are of many: canonical texts.
  void pieces(std::string_view text);
  /// A path that has the id in it, as most have.
  void around(std::string_view text, std::string_view id);

  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  TextPool& texts_;
  std::vector<uint8_t> bytes_;
};

/// Reads what Packer wrote, in its order.
class Unpacker {
 public:
  Unpacker(const uint8_t* at, const TextPool& texts) : at_(at), texts_(texts) {}

  uint64_t number();
  int64_t integer();
  double real();
  std::string own();
  const std::string& shared() { return texts_[static_cast<uint32_t>(number())]; }
  std::string pieces();
  std::string around(const std::string& id);

 private:
  const uint8_t* at_;
  const TextPool& texts_;
};

}  // namespace ropesweep
