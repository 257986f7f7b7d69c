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
echo "Perplexity by scheme and context length, after each recipe:"
for recipe in zero-shot $("$ropesweep" query "$store" --table fine_tunes --select recipe --format csv |
  tail -n +2 | sort -u); do
  echo
  echo "$recipe"
  "$ropesweep" query "$store" --where "metric = 'ppl_token' and recipe = '$recipe'" \
    --pivot scheme,context_length,value
done
echo
echo "Passkeys found, by scheme and context length (all recipes and samples in the report):"
"$ropesweep" query "$store" --where "dataset = 'passkey' and recipe = 'zero-shot' and metric = 'accuracy'" \
  --pivot scheme,context_length,value

"$ropesweep" report "$store" --output build/demo/report.html
echo
echo "store:  $PWD/$store"
echo "report: $PWD/build/demo/report.html"
