#!/usr/bin/env bash
# Kernels, model and groups under the address and undefined-behaviour sanitizers: builds what it runs in
# build/sanitize, runs it on the CPU and on the emulated CUDA device. A finding ends it with an error.
set -euo pipefail
cd "$(dirname "$0")/.."

./install.sh
cmake --preset sanitize
cmake --build --preset sanitize --target emulated_backend_tests emulated_llama_tests

export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for tests in emulated_backend emulated_llama; do
  echo "tests/sanitize.sh: $tests"
  "build/sanitize/tests/${tests}_tests" --gtest_brief=1
done
