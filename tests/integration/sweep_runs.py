"""What the tests of whole runs share: a small sweep with a model that it trains itself, the runs on it, their
processes, and what its store says. Needs nothing but the program."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What small sweeps measure, and on what; the key that follows is one of their limits.
MEASURED = """[datasets.wiki]
kind      = "synthetic-wiki"
window    = "truncated"
samples   = 2
data_seed = 21
[workers]
device = "cpu"
type   = "f32"
[limits]
"""
SWEEP = """
name = "tiny"
[model]
path = "model"
[axes]
scheme         = ["none", "linear"]
train_scale    = 2
context_length = [64, 96]
dataset        = "wiki"
recipe         = ["base", "tuned"]
[recipes.base]
init           = "model/config.json"
data           = "training"
context_length = 64
steps          = 4
batch_tokens   = 128
learning_rate  = 1e-3
save_every     = 1
train_scale    = 1
[recipes.tuned]
from           = "base"
data           = "training"
context_length = 96
steps          = 2
batch_tokens   = 96
learning_rate  = 1e-3
save_every     = 1
[datasets.training]
kind      = "synthetic-wiki"
samples   = 4
data_seed = 11
""" + MEASURED + "crash_limit = 1000\n"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 1024, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "initializer_range": 0.02, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1,
}
LIMIT = 300  # seconds for one run on a busy machine


def write_model(directory, config=CONFIG):
    """The shape of a model and its tokenizer, without weights."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "experiments" / "tiny" / name, directory / name)


class Sweep:
    """A directory with a sweep and its store; the runs on it."""

    def __init__(self, binary, directory, text=SWEEP, config=CONFIG):
        self.binary, self.directory = binary, pathlib.Path(directory)
        self.environment = dict(os.environ)
        write_model(self.directory / "model", config)
        (self.directory / "tiny.toml").write_text(text)

    def command(self, *arguments):
        return [self.binary, "run", "tiny.toml", *map(str, arguments)]

    def start(self, *arguments, prefix=()):
        log = open(self.directory / "log", "a")
        return subprocess.Popen([*prefix, *self.command(*arguments)], cwd=self.directory,
                                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, *arguments, prefix=()):
        return self.start(*arguments, prefix=prefix).wait(LIMIT)

    def processes(self):
        """pid → (what it is, parent) of everything that works on this sweep."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if os.readlink(entry / "cwd") != str(self.directory):
                    continue
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if state == "Z" or not arguments[0]:
                continue
            program = os.path.basename(arguments[0]).decode()
            if program == "mpirun":
                kind = "mpirun"
            elif program != os.path.basename(self.binary):
                continue
            elif arguments[1] == b"runner":
                kind = "runner"
            elif b"OMPI_COMM_WORLD_RANK=0" in environment:
                kind = "coordinator"
            elif any(v.startswith(b"OMPI_COMM_WORLD_RANK=") for v in environment):
                kind = "shepherd"
            else:
                kind = "launcher"
            found[int(entry.name)] = (kind, int(parent))
        return found

    def log(self):
        return (self.directory / "log").read_text()

    def say(self, *arguments):
        """(exit code, what it says) of another command."""
        done = subprocess.run([self.binary, *arguments], cwd=self.directory, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def cells(self, store="tiny.h5"):
        text = subprocess.run(
            [self.binary, "query", store, "--select",
             "id,metric,value,standard_error,count,sum_nll,tokens,status", "--format", "json"],
            cwd=self.directory, check=True, capture_output=True, text=True).stdout
        return json.loads(text)

    def figures(self):
        """All that luck must not change."""
        return self.cells(), self.table("curves")

    def table(self, name):
        """Rows of a table; none while there is no store yet."""
        done = subprocess.run([self.binary, "query", "tiny.h5", "--table", name, "--format", "json"],
                              cwd=self.directory, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else []


def check(condition, what, sweep):
    if not condition:
        sys.exit(f"FAILED: {what}\n--- log of {sweep.directory}\n{sweep.log()[-6000:]}")


def finish(sweep, *arguments):
    """Runs until all is done; 75 and 1 mean again."""
    for _ in range(20):
        code = sweep.run(*arguments)
        if code == 0:
            return
        check(code in (1, 75), f"exit code {code}", sweep)
    check(False, "20 runs were not enough", sweep)


def nothing_left(sweep, seconds=8):
    deadline = time.monotonic() + seconds
    while left := sweep.processes():
        check(time.monotonic() < deadline, f"left running: {left}", sweep)
        time.sleep(0.1)


def wait_for(sweep, kind, seconds=60, run=None):
    """pids of that kind as soon as there are any; none when `run` ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pids = [pid for pid, (what, _) in sweep.processes().items() if what == kind]
        if pids:
            return pids
        if run and run.poll() is not None:
            break
        time.sleep(0.02)
    return []
