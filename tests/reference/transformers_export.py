#!/usr/bin/env python3
"""Exports a fine-tune of every scheme and holds transformers' losses against ropesweep's own.

    transformers_export.py [--ropesweep build/release/ropesweep] [--length 700]

A sweep over the tiny model gives each scheme a fine-tune of two steps; `ropesweep export` writes it;
AutoModelForCausalLM loads it, and the losses of the tokens of one document, past the original length, must
agree in f32 to 1e-4 (‖ours − theirs‖ / ‖theirs‖: transformers rounds angles to f32, ropesweep does not).
The same then holds for both with only one era's standard keys left in config.json, without ropesweep's own
key. What no rope type says must be refused, exported with --plain, and read back from the store. Run by
hand; needs torch and transformers.
"""

import argparse
import csv
import json
import math
import subprocess
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 16  # of experiments/tiny
SCALE = 4
EXPRESSED = [
    "none", "linear", "base(50000)", "ntk", "dynamic-ntk", "dynamic-ntk(factor=2)", "ntk-by-parts",
    "ntk-by-parts(alpha=2, beta=16)", "yarn", "yarn(beta_fast=16, beta_slow=2)", "yarn(truncate=false)",
    "yarn(attention_factor=1.3)", "yarn(mscale=0.7, mscale_all_dim=1.2)", "llama3",
    "llama3(low_freq_factor=2, high_freq_factor=16)", "longrope(file=factors.json)",
    "longrope(file=factors.json, attention_factor=1.1)", "power(0.5)", "power(0.5, scaled=true)",
    "truncated", "file(frequencies.txt)", "file(frequencies.json)", "resonance", "resonance(yarn)",
    "p-rope(0.75)", "p-rope(0.5, ntk)", "nope",
]  # fmt: skip
REFUSED = ["dynamic-linear", "dynamic-yarn", "partial(0.5)", "partial(0.5, yarn)", "resonance(dynamic-ntk)"]
SWEEP = """
[model]
path = "{model}"
[axes]
scheme = {schemes}
train_scale = {scale}
context_length = 64
dataset = "wiki"
recipe = "tuned"
[recipes.tuned]
data = "training"
context_length = 512
steps = 2
batch_tokens = 1024
learning_rate = 1e-3
[datasets.training]
kind = "synthetic-mix"
samples = 8
[datasets.wiki]
kind = "synthetic-wiki"
samples = 1
[workers]
device = "cpu"
type = "f32"
"""


def write_inputs(folder):
    values = [0.7**i for i in range(PAIRS)]
    (folder / "frequencies.txt").write_text("\n".join(map(repr, values)) + "\n")
    (folder / "frequencies.json").write_text(json.dumps({"inv_freq": values, "attention_factor": 1.2}))
    lists = {"short_factor": [1 + i / PAIRS for i in range(PAIRS)]}
    lists["long_factor"] = [1 + 3 * i / PAIRS for i in range(PAIRS)]
    (folder / "factors.json").write_text(json.dumps(lists))
    sweep = SWEEP.format(model=ROOT / "experiments/tiny/model", schemes=json.dumps(EXPRESSED + REFUSED),
                         scale=SCALE)  # fmt: skip
    (folder / "export.toml").write_text(sweep)
    return folder / "export.toml"


class Program:
    def __init__(self, binary, folder, length):
        self.binary, self.folder, self.length = binary, folder, length

    def run(self, *arguments, check=True):
        return subprocess.run([self.binary, *map(str, arguments)], check=check, text=True, cwd=self.folder,
                              capture_output=True)  # fmt: skip

    def losses(self, model):
        """ids and losses of the scored tokens, and the scheme that was used."""
        file = self.folder / "per_token.csv"
        answer = self.run("eval", "--model", model, "--task", "perplexity", "--data", "text.jsonl",
                          "--window", "truncated", "--context-length", self.length, "--device", "cpu",
                          "--type", "f32", "--per-token", file)  # fmt: skip
        rows = list(csv.DictReader(file.open()))
        result = json.loads(answer.stdout)
        result = result[0] if isinstance(result, list) else result
        return [int(r["id"]) for r in rows], [float(r["nll"]) for r in rows], result["scheme"]


@torch.inference_mode()
def transformers_losses(directory, ids, bos):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    inputs = torch.tensor([[bos, *ids]])
    logits = model(input_ids=inputs, use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, inputs[0, 1:], reduction="none").tolist()


def relative_difference(a, b):
    assert len(a) == len(b) and all(map(math.isfinite, a + b))
    return math.dist(a, b) / math.hypot(*b)


def check_expressed(program, store, tune):
    directory = program.folder / tune["id"]
    program.run("export", store, tune["id"], directory)
    ids, ours, scheme = program.losses(directory)
    assert scheme == tune["scheme"], (scheme, tune["scheme"])
    config = json.loads((directory / "config.json").read_text())
    theirs = transformers_losses(directory, ids, config["bos_token_id"])
    distances = [relative_difference(ours, theirs)]
    for dropped in ("rope_parameters", "rope_scaling"):  # one era's keys, and not our own
        kept = {k: v for k, v in config.items() if k not in (dropped, "ropesweep_positions")}
        if dropped == "rope_scaling":
            kept.pop("rope_theta")
        (directory / "config.json").write_text(json.dumps(kept))
        distances.append(relative_difference(ours, program.losses(directory)[1]))
        theirs = transformers_losses(directory, ids, config["bos_token_id"])
        distances.append(relative_difference(ours, theirs))
    kind = config["rope_parameters"]["rope_type"]
    print(f"{tune['scheme'][:60]:60} {kind:10} " + " ".join(f"{d:.1e}" for d in distances), flush=True)
    return max(distances) <= 1e-4


def check_refused(program, store, tune):
    refused = program.run("export", store, tune["id"], program.folder / "refused", check=False)
    assert refused.returncode != 0 and "--plain" in refused.stderr, refused
    assert not (program.folder / "refused").exists()
    directory = program.folder / tune["id"]
    program.run("export", store, tune["id"], directory, "--plain")
    note = (directory / "POSITIONS.txt").read_text()
    ids, ours, scheme = program.losses(directory)
    theirs = transformers_losses(directory, ids, 0)
    _, own, own_scheme = program.losses(store.with_suffix(".d") / "checkpoints" / tune["id"])
    good = relative_difference(ours, theirs) <= 1e-4 and scheme == "none" and tune["scheme"] in note
    good = good and own_scheme == tune["scheme"] and relative_difference(own, ours) > 1e-4
    print(f"{tune['scheme'][:60]:60} refused    {relative_difference(ours, theirs):.1e}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ropesweep", default=ROOT / "build/release/ropesweep", type=Path)
    parser.add_argument("--length", default=700, type=int, help="tokens; the original length is 256")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        program = Program(arguments.ropesweep.resolve(), Path(name), arguments.length)
        sweep = write_inputs(program.folder)
        program.run("data", "synthetic-wiki", "--output", "text.jsonl", "--samples", 1, "--seed", 5,
                    "--tokens", 2 * arguments.length, "--model", ROOT / "experiments/tiny/model")  # fmt: skip
        program.run("run", sweep)
        store = program.folder / "export.h5"
        tunes = json.loads(program.run("plan", sweep, "--format", "json").stdout)["fine_tunes"]
        assert len(tunes) == len(EXPRESSED + REFUSED), len(tunes)
        good = [
            (check_refused if tune["scheme"] in REFUSED else check_expressed)(program, store, tune)
            for tune in tunes
        ]
    print(f"{sum(good)} of {len(good)} agree to 1e-4")
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
