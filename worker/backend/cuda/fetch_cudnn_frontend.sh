#!/usr/bin/env bash
# Gets the headers of cuDNN's C++ front end (MIT), which attention_cudnn.cpp is compiled against, from
# NVIDIA's package on PyPI into FOLDER/include; by default FOLDER is build/cudnn-frontend of this source
# tree, where CMake looks. Does nothing when they are there.
#   fetch_cudnn_frontend.sh [FOLDER]
# Errors: exit code 1 without pip or network; the program then builds without cuDNN.
set -euo pipefail

version=1.17.0
sha256=6ea44a8f2c0cfd20868b239ea13a2e0f32895dab868f6ff2bee01caf3778d273
folder=${1:-$(cd "$(dirname "$0")/../../.." && pwd)/build/cudnn-frontend}

if [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ]; then
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# One wheel for all machines, whatever their Python: only its headers are used.
if ! printf 'nvidia-cudnn-frontend==%s --hash=sha256:%s\n' "$version" "$sha256" >"$scratch/requirements" ||
  ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
    --platform manylinux_2_28_x86_64 --dest "$scratch" --requirement "$scratch/requirements" \
    >"$scratch/log" 2>&1; then
  tail -n 5 "$scratch/log" >&2
  echo "fetch_cudnn_frontend.sh: no front end of cuDNN, attention on CUDA devices will run by our own" \
    "kernels; where there is a network: pip download --no-deps nvidia-cudnn-frontend==$version, then" \
    "unzip its include/ into $folder" >&2
  exit 1
fi
python3 - "$scratch" <<'PYTHON'
import glob
import sys
import zipfile

scratch = sys.argv[1]
(wheel,) = glob.glob(f"{scratch}/*.whl")
with zipfile.ZipFile(wheel) as package:
    wanted = [name for name in package.namelist() if name.startswith("include/") or "/licenses/" in name]
    package.extractall(f"{scratch}/package", wanted)
PYTHON
mkdir -p "$folder"
rm -rf "$folder/include"
mv "$scratch/package/"* "$folder/"
echo "$version" >"$folder/version"
