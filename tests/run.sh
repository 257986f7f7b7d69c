#!/usr/bin/env bash
# Installs what is missing, builds, checks the layout, runs every test; the same at a desk and in CI.
#   tests/run.sh [--long]     --long: the long campaigns (ctest label `long`) too
# Ends with ctest's own summary. Exit code 0 only when the layout and all tests pass.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
  "") selection=(-LE 'long|cluster') ;;
  --long) selection=() ;;
  *)
    echo "usage: tests/run.sh [--long]" >&2
    exit 2
    ;;
esac

./install.sh
cmake --preset release
cmake --build --preset release

# Layout first told, last counted: a finding does not keep the tests from running.
style=0
git -c safe.directory='*' ls-files -z -- '*.h' '*.cpp' '*.cu' | xargs -0 clang-format --dry-run -Werror || style=1

# Idle OpenMP threads sleep, and Open MPI starts as root: tests share the cores and CI runs as root.
export OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ctest --preset release --parallel 2 --no-tests=error "${selection[@]}"

if [ "$style" -ne 0 ]; then
  echo "tests/run.sh: the tests passed, but clang-format has findings (above)" >&2
  exit 1
fi
