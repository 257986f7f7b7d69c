// The texts of passkey retrieval (Mohtashami & Jaggi 2023), in the wording that YaRN's evaluation
// uses.
#pragma once

#include <cstdint>
#include <string>

namespace ropesweep::data {

struct PasskeyText {
  int64_t key = 0;        ///< five digits
  int64_t before = 0;     ///< filler sentences before the key …
  int64_t after = 0;      ///< … and after it
  bool with_task = true;  ///< the task's description stands first

  static constexpr const char* task =
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
      "them. I "
      "will quiz you about the important information there.";
  static constexpr const char* question = "What is the pass key? The pass key is";
  std::string key_line() const;
  std::string prompt() const;
};

/// `count` filler sentences from the endless round "The grass is green. The sky is blue. …".
std::string filler(int64_t count);

}  // namespace ropesweep::data
