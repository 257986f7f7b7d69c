#!/usr/bin/env bash
# Tests of the parts that threads meet in under the thread sanitizer: protocol, coordinator, storage, shepherd and
# runner. A finding ends it with an error.
#   tests/thread_sanitize.sh [--long]     --long: groups of ranks, the model and the tasks too, in a build of
#                                         everything (build/thread-sanitize); by hand, it takes long
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
  "") preset=threads programs=(protocol_tests coordinator_tests storage_tests worker_tests) ;;
  --long) preset=thread-sanitize programs=(tests/backend_tests tests/llama_tests tests/data_tests tests/tasks_tests) ;;
  *)
    echo "usage: tests/thread_sanitize.sh [--long]" >&2
    exit 2
    ;;
esac
if [ "$preset" = threads ] && ! command -v clang++-22 >/dev/null; then
  echo "tests/thread_sanitize.sh: needs clang: apt-get install clang-22 libclang-rt-22-dev" >&2
  exit 2
fi

cmake --preset "$preset"
cmake --build --preset "$preset" --target "${programs[@]#tests/}"

# GCC's OpenMP runtime is unknown to the sanitizer: one thread, which needs none of it.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
if command -v llvm-symbolizer >/dev/null; then TSAN_OPTIONS+=":external_symbolizer_path=$(command -v llvm-symbolizer)"; fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for program in "${programs[@]}"; do
  echo "tests/thread_sanitize.sh: $program"
  "build/$preset/$program" --gtest_brief=1
done
