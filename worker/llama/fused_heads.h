// Query, key and value as GPT-NeoX stores them: one tensor [H, 3, K, …], a head's three side by
// side. The model has three tensors; they are split when read and joined when written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "worker/backend/tensor.h"

namespace ropesweep::llama {

inline constexpr int64_t kFused = 3;

/// The stored tensor that holds a tensor of this name; empty when it is stored alone.
std::string fused_name(const std::string& name);
/// Which of the three it is.
int64_t fused_part(const std::string& name);
/// The stored tensor's shape: three times the rows.
backend::Shape fused_shape(const backend::Shape& shape);

/// One of the three: the bytes of every third run.
std::vector<uint8_t> split_heads(std::span<const uint8_t> fused, int64_t heads, int64_t part);
/// The way back, of parts of one size.
std::vector<uint8_t> join_heads(std::span<const std::vector<uint8_t>> parts, int64_t heads);

}  // namespace ropesweep::llama
