// The step Replace, which tokenizer.json has among its normalizers and among its decoders.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

/// A function that puts `content` for every match of `pattern` ({"String": …} or {"Regex": …}) in
/// valid UTF-8. Errors: user error naming file and field for a faulty expression or an empty
/// string.
std::function<std::string(std::string_view)> read_replacement(const JsonPlace& place);

}  // namespace ropesweep::llama
