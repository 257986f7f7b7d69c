#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one: the tests of ops and model on the device, the
# smaller ones again under compute-sanitizer, then the benchmarks, whose JSON goes to OUT. Ends within nine
# minutes. Programs are taken from build/gpu where they were carried there (tests/gpu_archive.sh), else
# they are built.
#   tests/gpu.sh [OUT]              OUT: build/gpu-results unless given
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
out=${1:-build/gpu-results}
mkdir -p "$out"
export ROPESWEEP_SOURCE_DIR=$PWD

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt" || {
  echo "tests/gpu.sh: no NVIDIA driver answers here (nvidia-smi)" >&2
  exit 2
}
if [ -d build/gpu ]; then
  programs=build/gpu
  export LD_LIBRARY_PATH=$PWD/build/gpu/lib:${LD_LIBRARY_PATH-}
else
  cmake --preset engine -D ROPESWEEP_CUDA=on && cmake --build --preset engine || exit 1
  programs=build/engine/tests
fi

failed=0
run() { # NAME SECONDS COMMAND…: its output goes to OUT/NAME.txt
  local name=$1 seconds=$2 start=$SECONDS code=0
  shift 2
  timeout "$seconds" "$@" >"$out/$name.txt" 2>&1 || code=$?
  echo "$name: exit code $code after $((SECONDS - start)) s"
  if [ "$code" -ne 0 ]; then
    failed=1
    grep -E 'FAILED|Failure|ERROR|error|cuda:' "$out/$name.txt" | head -n 20
    tail -n 5 "$out/$name.txt"
  fi
}

run ops 120 "$programs/cuda_backend_tests"
run model 120 "$programs/cuda_llama_tests"
if [ -x "$programs/cuda_groups_tests" ] && ! ldd "$programs/cuda_groups_tests" | grep -q 'libnccl.*not found'; then
  run groups 60 "$programs/cuda_groups_tests"
else
  echo "libnccl isn't here: groups of devices are left out"
fi
if command -v compute-sanitizer >/dev/null; then
  small='Types/RopeTest*:Types/SwigluTest*:Types/RmsNormTest*:Types/CrossEntropyTest*:Types/EmbeddingTest*'
  small+=':Types/AdamwTest*:Types/AttentionTest.decodes*:Types/AttentionTest.matches*'
  for tool in memcheck racecheck; do
    run "$tool" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$programs/cuda_backend_tests" --gtest_filter="$small"
  done
else
  echo "compute-sanitizer isn't here: memcheck and racecheck are left out"
fi
if [ -x "$programs/cuda_benchmark" ]; then
  run benchmark 120 "$programs/cuda_benchmark" "$out/benchmark.json"
fi
exit "$failed"
