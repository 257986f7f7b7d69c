#!/usr/bin/env bash
# The demonstration: installs what is missing, builds the program, runs a sweep on two CPU workers, prints
# its tables and writes report.html. Run again, it computes nothing.
#   experiments/demo.sh [--short]     --short: a reduced sweep of about a minute
set -euo pipefail
cd "$(dirname "$0")/.."

sweep=demo
case "${1-}" in
  "") ;;
  --short) sweep=demo-short ;;
  *)
    echo "usage: experiments/demo.sh [--short]" >&2
    exit 2
    ;;
esac

./install.sh
cmake --preset release
cmake --build --preset release --target ropesweep
ropesweep=build/release/ropesweep
mkdir -p build/demo
store=build/demo/$sweep.h5

"$ropesweep" plan "experiments/sweeps/$sweep.toml" --store "$store"
"$ropesweep" run "experiments/sweeps/$sweep.toml" --store "$store" --workers 2

echo
echo "One question to the store, by query: what does a short fine-tuning bring at each length?"
"$ropesweep" query "$store" --where "metric = 'ppl_token' and scheme = 'linear'" \
  --pivot recipe,context_length,value

"$ropesweep" report "$store" --output build/demo/report.html
echo
echo "store:  $PWD/$store"
echo "report: $PWD/build/demo/report.html"
