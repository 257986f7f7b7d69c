// A scheme's rotary tables on the device, built once and kept as long as they hold.
#pragma once

#include <cstdint>

#include "experiments/position_encoding.h"
#include "worker/backend/ops.h"

namespace ropesweep::llama {

class RopeCache {
 public:
  /// Row m is position m. Query and key tables share their storage when the amplitudes agree.
  struct Tables {
    backend::RopeTensors query, key;
  };

  /// Tables of at least `rows` positions for a sequence of `length` tokens. Static schemes build
  /// once for every length, in powers of two; dynamic ones keep the last length's.
  const Tables& tables(backend::Backend& backend, const PositionEncoding& positions, int64_t rows,
                       int64_t length);

  /// Forgets all: the positions changed.
  void clear() { rows_ = 0; }

 private:
  Tables tables_;
  int64_t rows_ = 0, length_ = 0;
};

}  // namespace ropesweep::llama
