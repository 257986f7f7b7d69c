// Targets that kernels are compiled for, to be included before anything of Highway: the oldest
// x86-64 (and ARM) as the baseline, AVX2, AVX-512. Those between gain nothing here and cost compile
// time.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
