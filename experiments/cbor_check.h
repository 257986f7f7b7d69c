// A first look at CBOR from outside: is it one value of the plain kind that we write? The parser
// behind it recurses and believes lengths; what passes here can't make it do either without bound.
#pragma once

#include <cstdint>
#include <span>

namespace ropesweep {

/// True for exactly one value that fills `bytes`, made of numbers, strings, arrays and maps of
/// stated lengths that fit into the bytes, no deeper than `depth` arrays and maps. Texts of
/// indefinite length (which the parser reads recursively), tags and breaks are refused.
bool is_plain_cbor(std::span<const uint8_t> bytes, int depth);

}  // namespace ropesweep
