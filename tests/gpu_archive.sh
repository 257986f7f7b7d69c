#!/usr/bin/env bash
# Packs what tests/gpu.sh needs into build/gpu, to be carried to a GPU machine that has only the driver,
# CUDA and cuDNN: test programs, benchmarks, the libraries that they need besides, the fixtures' place is
# the source tree's.
#   tests/gpu_archive.sh            builds (preset engine) and packs
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset engine
programs=(cuda_backend_tests cuda_llama_tests cuda_benchmark)
if cmake --build --preset engine --target help | grep -q '^cuda_groups_tests'; then
  programs+=(cuda_groups_tests)  # with NCCL
fi
cmake --build --preset engine --target "${programs[@]}"

archive=build/gpu
rm -rf "$archive"
mkdir -p "$archive/lib"
for program in "${programs[@]}"; do
  install -s "build/engine/tests/$program" "$archive/"
  # CUDA's own libraries are those of the GPU machine; so is the C library.
  ldd "build/engine/tests/$program" | awk '$2 == "=>" { print $3 }' |
    grep -vE '/(libcuda|libcudart|libcublas|libcublasLt|libcudnn.*|libnccl|libc|libm|libdl|libpthread|librt|ld-linux.*)\.so' |
    xargs -I{} cp -uL {} "$archive/lib/"
done
strip --strip-unneeded "$archive"/lib/*.so* 2>/dev/null || true
du -sh "$archive"
