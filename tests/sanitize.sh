#!/usr/bin/env bash
# Kernels under the address and undefined-behaviour sanitizers: builds what it runs in build/sanitize, runs it on
# the CPU's ops and on the emulated CUDA device. A finding ends it with an error.
#   tests/sanitize.sh [--long]     --long: the model's tests too
set -euo pipefail
cd "$(dirname "$0")/.."

programs=(emulated_backend_tests)
case "${1-}" in
  "") ;;
  --long) programs+=(backend_tests emulated_llama_tests llama_tests) ;;
  *)
    echo "usage: tests/sanitize.sh [--long]" >&2
    exit 2
    ;;
esac

./install.sh
cmake --preset sanitize
cmake --build --preset sanitize --target "${programs[@]}"

export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for program in "${programs[@]}"; do
  echo "tests/sanitize.sh: $program"
  "build/sanitize/tests/$program" --gtest_brief=1
done
