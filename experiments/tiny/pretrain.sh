#!/usr/bin/env bash
# Makes experiments/tiny/model, the demonstration's checkpoint: generated text → three stages of training
# (experiments/sweeps/pretrain-tiny.toml) → export. The result is committed; run this only to remake it.
# Safe to run again: it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."

./install.sh
cmake --preset release
cmake --build --preset release --target ropesweep
ropesweep=build/release/ropesweep
work=build/tiny
mkdir -p "$work"

# A stage's documents are about as long as its window, so that most questions follow what they ask for.
for length in 64 128 256; do
  text=$work/training-$length.jsonl
  [ -f "$text" ] || "$ropesweep" data synthetic-mix --model experiments/tiny --seed "$length" \
    --tokens "$length" --samples 40000 --output "$text"
done

store=$work/pretrain-tiny.h5
"$ropesweep" run experiments/sweeps/pretrain-tiny.toml --store "$store"
"$ropesweep" query "$store" --where "metric = 'ppl_token'" --pivot recipe,context_length,value
last=$("$ropesweep" query "$store" --table fine_tunes --where "recipe = 'length-256'" \
  --select id --format csv | tail -n 1)
rm -rf experiments/tiny/model
"$ropesweep" export "$store" "$last" experiments/tiny/model
ls -l experiments/tiny/model
