// Targets that kernels are compiled for, to be included before anything of Highway: the oldest
// x86-64 as the baseline, AVX2, AVX-512; on ARM NEON. Those between gain nothing here and cost
// compile time; SVE's vectors have no size that an array could be made of.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
