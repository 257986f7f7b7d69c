#!/usr/bin/env bash
# Makes experiments/tiny/model, the demonstration's checkpoint: three stages of training on generated
# text (experiments/sweeps/pretrain-tiny.toml), then the export. The result is committed; run this only
# to make it anew.
# Safe to run again: it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."

./install.sh
cmake --preset release
cmake --build --preset release --target ropesweep
ropesweep=build/release/ropesweep
work=build/tiny
mkdir -p "$work"

store=$work/pretrain-tiny.h5
# One worker with all threads: the stages are a chain.
"$ropesweep" run experiments/sweeps/pretrain-tiny.toml --store "$store" --workers 1
"$ropesweep" query "$store" --where "metric = 'ppl_token'" --pivot recipe,context_length,value
last=$("$ropesweep" query "$store" --table fine_tunes --where "recipe = 'length-256'" \
  --select id --format csv | tail -n 1)
rm -rf experiments/tiny/model
"$ropesweep" export "$store" "$last" experiments/tiny/model --type bf16
ls -l experiments/tiny/model
