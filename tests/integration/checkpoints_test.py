#!/usr/bin/env python3
"""What the program leaves and takes as a model: adapters by `finetune --lora-…`, with and without their base, in
`eval` and `generate`; `export` whole, merged, plain and as an adapter; and what each refuses, with exit code 2 and
nothing written.

    checkpoints_test.py --binary build/release/ropesweep

Needs nothing but the program: its model is drawn by `finetune --init`."""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

from sweep_runs import CONFIG, LIMIT, ROOT

TEXT = "The position of a word is turned into an angle, and the angle into a rotation. "
TRAINING = ["--data", "text.txt", "--context-length", 64, "--steps", 2, "--batch-tokens", 128,
            "--learning-rate", 0.05, "--type", "f32", "--device", "cpu", "--threads", 1]  # fmt: skip
LORA = ["--lora-rank", 2, "--lora-alpha", 4, "--lora-targets", "q,v", "--lora-dropout", 0.1]
SWEEP = """
[model]
path = "base"
[axes]
scheme         = ["linear", "dynamic-linear"]
train_scale    = 2
context_length = 96
dataset        = "text"
recipe         = ["all", "pairs"]
[recipes.all]
data           = "text.txt"
context_length = 64
steps          = 2
batch_tokens   = 128
learning_rate  = 0.01
[recipes.pairs]
data           = "text.txt"
context_length = 64
steps          = 2
batch_tokens   = 128
learning_rate  = 0.05
lora           = { rank = 2, alpha = 4, targets = ["q", "v", "down"] }
[datasets.text]
kind   = "text"
path   = "text.txt"
window = "truncated"
[workers]
device = "cpu"
type   = "f32"
"""


class Directory:
    def __init__(self, binary, path):
        self.binary, self.path = binary, path
        (path / "text.txt").write_text(TEXT * 40)
        (path / "sweep.toml").write_text(SWEEP)
        (path / "fresh").mkdir()
        (path / "fresh" / "config.json").write_text(json.dumps(CONFIG))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(ROOT / "experiments" / "tiny" / name, path / "fresh" / name)

    def run(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], cwd=self.path, text=True, timeout=LIMIT,
                              capture_output=True, stdin=subprocess.DEVNULL)  # fmt: skip

    def good(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def refused(self, *arguments, says):
        """Exit code 2, one line that holds each of `says`, and no new file."""
        before = self.files()
        done = self.run(*arguments)
        assert done.returncode == 2, (arguments, done.returncode, done.stdout, done.stderr)
        assert all(text in done.stderr for text in says), (arguments, says, done.stderr)
        assert done.stderr.count("\n") == 1 and not done.stdout, (arguments, done.stdout, done.stderr)
        assert self.files() == before, (arguments, self.files() ^ before)

    def files(self):
        return {str(path) for path in self.path.rglob("*")}

    def perplexity(self, *arguments, length=96):
        answer = json.loads(self.good(
            "eval", "--task", "perplexity", "--data", "text.txt", "--window", "truncated", "--context-length", length,
            "--type", "f32", "--device", "cpu", "--threads", 1, "--model", *arguments))  # fmt: skip
        return answer["metrics"]["ppl_token"]["value"], answer["scheme"]

    def json(self, *parts):
        return json.loads(self.path.joinpath(*parts).read_text())


def adapters(directory):
    """finetune --lora-… leaves an adapter; eval and generate take it, its base beside it or by --base."""
    directory.good("finetune", "--init", "fresh/config.json", "--output", "base", *TRAINING)
    directory.good("finetune", "--model", "base", "--output", "pairs", *LORA, *TRAINING)
    left = {path.name for path in (directory.path / "pairs").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= left, left
    assert "model.safetensors" not in left, left
    config = directory.json("pairs", "adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (2, 4, "LORA"), config
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"], config
    base, own = directory.perplexity("base")[0], directory.perplexity("pairs")[0]
    assert abs(own / base - 1) > 1e-4, "two steps at this rate change the model"
    generate = ["generate", "--prompt", TEXT, "--max-new-tokens", 4, "--device", "cpu", "--threads", 1, "--model"]
    text = directory.good(*generate, "pairs")

    (directory.path / "base").rename(directory.path / "elsewhere")
    for command in (generate, ["eval", "--task", "perplexity", "--data", "text.txt", "--model"]):
        directory.refused(*command, "pairs", says=["base_model_name_or_path", "no directory"])
    assert directory.perplexity("pairs", "--base", "elsewhere")[0] == own
    assert directory.good(*generate, "pairs", "--base", "elsewhere") == text
    directory.refused(*generate, "pairs", "--base", "nowhere", says=["nowhere"])
    (directory.path / "elsewhere").rename(directory.path / "base")


def options(directory):
    """What `finetune` says of LoRA's options that mean nothing."""
    training = ["finetune", "--output", "never", *TRAINING]
    for wrong in (["--lora-rank", -1], ["--lora-alpha", 0], ["--lora-dropout", 1], ["--lora-targets", "q,u"]):
        given = [] if wrong[0] == "--lora-rank" else ["--lora-rank", 2]
        directory.refused(*training, "--model", "base", *given, *wrong, says=[wrong[0], str(wrong[1])])
    for alone in (["--lora-dropout", 0.1], ["--lora-targets", "q"]):
        directory.refused(*training, "--model", "base", *alone, says=[alone[0], "--lora-rank"])
    directory.refused(*training, "--init", "fresh/config.json", *LORA, says=["--lora-rank", "--model"])


def exports(directory):
    """A store's fine-tunes: whole and merged ones keep their figures, adapters go alone, the rest is refused."""
    directory.good("run", "sweep.toml", "--workers", 1)
    tunes = json.loads(directory.good("query", "sweep.h5", "--table", "fine_tunes", "--format", "json"))
    cells = json.loads(directory.good("query", "sweep.h5", "--format", "json"))
    tune_of = {(tune["scheme"], tune["recipe"]): tune["id"] for tune in tunes}
    value_of = {(cell["scheme"], cell["recipe"]): cell["value"] for cell in cells}
    assert len(tune_of) == len(value_of) == 4, (tune_of, value_of)
    whole, pairs = tune_of["linear", "all"], tune_of["linear", "pairs"]

    for name, arguments in (("whole", [whole]), ("merged", [pairs]), ("alone", [pairs, "--adapter"])):
        directory.good("export", "sweep.h5", arguments[0], name, *arguments[1:])
        value = value_of["linear", "all" if name == "whole" else "pairs"]
        assert directory.perplexity(name) == (value, "linear"), name
    assert directory.json("whole", "config.json")["rope_parameters"]["rope_type"] == "linear"
    assert (directory.path / "alone" / "adapter_model.safetensors").exists()
    assert not (directory.path / "alone" / "model.safetensors").exists()
    assert pathlib.Path(directory.json("alone", "adapter_config.json")["base_model_name_or_path"]).is_absolute()
    assert (directory.path / "merged" / "model.safetensors").exists()
    directory.good("export", "sweep.h5", whole, "rounded", "--type", "bf16")
    assert directory.json("rounded", "config.json")["torch_dtype"] == "bfloat16"

    unsaid = tune_of["dynamic-linear", "all"]
    directory.refused("export", "sweep.h5", unsaid, "never", says=["dynamic-linear", "--plain"])
    directory.good("export", "sweep.h5", unsaid, "plain", "--plain")
    assert "dynamic-linear" in (directory.path / "plain" / "POSITIONS.txt").read_text()
    assert directory.perplexity("plain")[1] == "none"
    assert directory.json("plain", "config.json")["rope_parameters"]["rope_type"] == "default"

    refused = lambda *arguments, says: directory.refused("export", "sweep.h5", *arguments, says=says)
    refused("zzzz", "never", says=["zzzz", "fine_tunes"])
    refused(whole, "whole", says=["whole", "not empty"])
    refused(whole, "never", "--adapter", says=["--adapter", whole])
    refused(pairs, "never", "--adapter", "--type", "bf16", says=["--adapter", "--type"])
    refused(whole, "never", "--type", "f64", says=["--type f64", "bf16"])
    refused(whole, says=["DIR"])
    shutil.rmtree(directory.path / "sweep.d" / "checkpoints" / whole)
    refused(whole, "never", says=[whole, "rerun"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Directory(arguments.binary.resolve(), pathlib.Path(name).resolve())
        for part in (adapters, options, exports):
            part(directory)
            print(part.__name__, "passed", flush=True)


if __name__ == "__main__":
    main()
