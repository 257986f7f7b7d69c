// Numbers are written seven bits a byte, the lowest first.
#include "experiments/packed.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace ropesweep {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr double kLargestWhole = 1LL << 52;

bool is_short_whole(double value) {
  return value >= 0 && !std::signbit(value) && value <= kLargestWhole && value == std::floor(value);
}

/// Whether two digits a byte give the text back.
bool is_hex(std::string_view text) {
  return text.size() % 2 == 0 && text.find_first_not_of(kHex) == std::string_view::npos;
}

}  // namespace

TextPool::TextPool(const TextPool& other) {
  for (const std::string& text : other.texts_) number(text);
}

TextPool& TextPool::operator=(TextPool other) noexcept {
  texts_.swap(other.texts_);
  numbers_.swap(other.numbers_);
  return *this;
}

uint32_t TextPool::number(std::string_view text) {
  const auto found = numbers_.find(text);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<uint32_t>(texts_.size());
  texts_.emplace_back(text);
  numbers_.emplace(texts_.back(), number);
  return number;
}

void Packer::number(uint64_t value) {
  for (; value >= 128; value >>= 7) bytes_.push_back(static_cast<uint8_t>(value | 128));
  bytes_.push_back(static_cast<uint8_t>(value));
}

uint64_t Unpacker::number() {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = *at_++;
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

void Packer::integer(int64_t value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  number(value < 0 ? (~bits << 1) | 1 : bits << 1);
}

int64_t Unpacker::integer() {
  const uint64_t bits = number();
  return std::bit_cast<int64_t>((bits & 1) != 0 ? ~(bits >> 1) : bits >> 1);
}

void Packer::real(double value) {
  if (is_short_whole(value)) return number(static_cast<uint64_t>(value) + 1);
  number(0);
  const auto raw = std::bit_cast<std::array<uint8_t, sizeof value>>(value);
  bytes_.insert(bytes_.end(), raw.begin(), raw.end());
}

double Unpacker::real() {
  if (const uint64_t whole = number(); whole > 0) return static_cast<double>(whole - 1);
  double value = 0;
  std::memcpy(&value, at_, sizeof value);
  at_ += sizeof value;
  return value;
}

void Packer::own(std::string_view text) {
  if (!is_hex(text)) {
    number(text.size() << 1);
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return;
  }
  number((text.size() << 1) | 1);
  for (size_t i = 0; i < text.size(); i += 2) {
    bytes_.push_back(static_cast<uint8_t>(kHex.find(text[i]) << 4 | kHex.find(text[i + 1])));
  }
}

std::string Unpacker::own() {
  const uint64_t head = number();
  const size_t size = head >> 1;
  std::string text(size, '\0');
  if ((head & 1) == 0) {
    std::memcpy(text.data(), at_, size);
    at_ += size;
    return text;
  }
  for (size_t i = 0; i < size; i += 2, ++at_) {
    text[i] = kHex[*at_ >> 4];
    text[i + 1] = kHex[*at_ & 15];
  }
  return text;
}

void Packer::pieces(std::string_view text) {
  std::vector<uint32_t> numbers;
  while (true) {
    const size_t comma = text.find(',');
    numbers.push_back(texts_.number(text.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  number(numbers.size());
  for (const uint32_t each : numbers) number(each);
}

std::string Unpacker::pieces() {
  std::string text;
  for (size_t left = number(); left > 0; --left) {
    text += shared();
    if (left > 1) text += ',';
  }
  return text;
}

void Packer::around(std::string_view text, std::string_view id) {
  const size_t at = id.empty() ? std::string_view::npos : text.rfind(id);
  number(at != std::string_view::npos ? 1 : 0);
  shared(text.substr(0, at));
  if (at != std::string_view::npos) shared(text.substr(at + id.size()));
}

std::string Unpacker::around(const std::string& id) {
  const bool has_id = number() == 1;
  const std::string& before = shared();
  return has_id ? before + id + shared() : before;
}

}  // namespace ropesweep
