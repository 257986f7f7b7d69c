#!/usr/bin/env bash
# Installs what building and running ropesweep needs on Debian 12: says what is missing, installs only
# that, and does nothing when all is there. CUDA is optional and is not installed here; where its compiler
# is, the headers of cuDNN's front end are fetched into build/, and the build goes on without them if not.
set -euo pipefail

packages=(
  # toolchain
  g++ cmake ninja-build ccache git pkg-config
  clang-format clang-tidy-22
  # libraries
  libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools libboost-program-options-dev libboost-context-dev libspdlog-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  libdnnl-dev libgloo-dev libhwy-dev libtomlplusplus-dev nlohmann-json3-dev
  libpcre2-dev libsentencepiece-dev libutf8proc-dev libzstd-dev zlib1g-dev libssl-dev
  # the report and the plots
  python3 python3-h5py python3-pandas python3-matplotlib
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done

fetch_for_cuda() {
  if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
    "$(dirname "$0")/worker/backend/cuda/fetch_cudnn_frontend.sh" || true
  fi
}

if [ ${#missing[@]} -eq 0 ]; then
  fetch_for_cuda
  exit 0
fi

echo "install.sh: installing ${missing[*]}" >&2
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "install.sh: not root and no sudo here; as root, run: apt-get install ${missing[*]}" >&2
    exit 2
  }
  as_root=(sudo)
fi
log=$(mktemp)
if ! { "${as_root[@]}" apt-get update &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "install.sh: apt-get failed; the whole log is in $log" >&2
  exit 1
fi
rm -f "$log"
fetch_for_cuda
