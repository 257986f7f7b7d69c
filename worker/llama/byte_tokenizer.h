// A tokenizer of bytes: id = byte. For building data sets where no model is at hand, and for tests.
#pragma once

#include <memory>

#include "worker/llama/tokenizer.h"

namespace ropesweep::llama {

/// 256 ids, no special tokens.
std::unique_ptr<const Tokenizer> byte_tokenizer();

}  // namespace ropesweep::llama
