#!/usr/bin/env bash
# Random input for whatever reads files, messages and expressions: libFuzzer with AddressSanitizer and
# UndefinedBehaviorSanitizer, as many targets at a time as there are cores.
#   tests/fuzz.sh [--seconds N | --inputs N] [--fast] [--seed N] [TARGET…]
#     --seconds N   time a target (60)           --inputs N   inputs a target, for long runs
#     --fast        optimised programs in build/fuzz-fast: three times the time to build, for long runs
#     --seed N      libFuzzer's seed (1)         TARGET       config, data, …: tests/fuzz/TARGET_fuzz.cpp (all)
# A finding ends it with an error; its input is kept. Inputs that reach new code gather in build/fuzz*/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=-max_total_time=60 seed=1 preset=(--preset fuzz) build=build/fuzz targets=() more=''
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) limit=-max_total_time=$2 && shift ;;
    --inputs) limit=-runs=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    --fast)
      build=build/fuzz-fast preset=(--preset fuzz -B build/fuzz-fast -DCMAKE_CXX_FLAGS="-O1 -g1")
      # Twice as many inputs: allocations without their stack traces and unfilled, stacks that are used again at
      # once, the corpus read at the start only.
      export ASAN_OPTIONS=malloc_context_size=0:quarantine_size_mb=16:detect_stack_use_after_return=0:max_malloc_fill_size=0
      more=-reload=0
      ;;
    -*)
      sed -n '4,8s/^# *//p' "$0" >&2
      exit 2
      ;;
    *) targets+=("$1") ;;
  esac
  shift
done
if [ ${#targets[@]} -eq 0 ]; then
  for source in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename "$source" _fuzz.cpp)"); done
fi
if ! command -v clang++-22 >/dev/null || [ ! -e "$(clang++-22 -print-file-name=libclang_rt.fuzzer-$(uname -m).a)" ]; then
  echo "tests/fuzz.sh: needs clang with libFuzzer: apt-get install clang-22 libclang-rt-22-dev" >&2
  exit 2
fi

cmake "${preset[@]}" >"$build.log" 2>&1 || { cat "$build.log" && exit 1; }
cmake --build "$build" --target "${targets[@]/%/_fuzz}"

# One target: 0 when there was no finding.
run() {
  local name=$1 seeds=tests/fuzz/corpus/$1 log=$build/$1.log malloc=256
  local options=($more -timeout=5 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 "-seed=$seed")
  # A zstd frame may ask for a window of 2 GiB (zstd --long=31), which is not touched.
  [ "$name" = data ] && malloc=2200
  [ -e "tests/fuzz/$name.dict" ] && options+=("-dict=tests/fuzz/$name.dict")
  mkdir -p "$build/corpus/$name" "$build/found"
  if "$build/tests/fuzz/${name}_fuzz" "${options[@]}" "-malloc_limit_mb=$malloc" "$limit" \
    "-artifact_prefix=$build/found/$name-" "$build/corpus/$name" "$seeds" >"$log" 2>&1; then
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding," \
      "$(grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -n 1)"
    return
  fi
  grep -v '^#' "$log" | tail -n 60 >&2
  echo "$name: a finding (the whole log: $log)" >&2
  return 1
}
export -f run
export build seed limit more UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'run "$1"' _
