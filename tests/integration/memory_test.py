#!/usr/bin/env python3
"""Runs a real sweep whose fine-tune has too little memory: it is tried again within less, ends with the same
figures to the bit, and the record says what happened.

    memory_test.py --binary build/release/ropesweep [--share S]"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from sweep_runs import CONFIG, LIMIT, MEASURED, Sweep, check, nothing_left

# Eight layers and batches of 4,096 tokens: activations are most of what a fine-tune holds.
MODEL = {**CONFIG, "num_hidden_layers": 8, "intermediate_size": 256}
SWEEP = """
name = "tiny"
[model]
path = "model"
[axes]
scheme         = ["none", "linear"]
train_scale    = 2
context_length = 64
dataset        = "wiki"
recipe         = "trained"
[recipes.trained]
init           = "model/config.json"
data           = "training"
context_length = 64
steps          = 3
batch_tokens   = 4096
learning_rate  = 1e-3
[datasets.training]
kind      = "synthetic-wiki"
samples   = 100
data_seed = 11
""" + MEASURED + "crash_limit = 1\n"


class Memory:
    def __init__(self, options, directory):
        self.binary, self.directory = str(pathlib.Path(options.binary).resolve()), pathlib.Path(directory)
        self.share = options.share

    def sweep(self, name):
        return Sweep(self.binary, self.directory / name, SWEEP, MODEL)

    def start(self, sweep, *limit):
        """A coordinator, and a worker that is started by the words of `limit`."""
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        one = [self.binary, "run", "tiny.toml", "--threads", "1"]
        with open(sweep.directory / "log", "a") as log:
            return subprocess.Popen(["mpirun", *root, "--oversubscribe", "-n", "1", *one, ":", "-n", "1", *limit, *one],
                                    cwd=sweep.directory, env=sweep.environment, stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log)

    def peaks(self, sweep, run):
        """The most address space and the most memory that a runner took, bytes."""
        most = {"VmPeak": 0, "VmHWM": 0}
        deadline = time.monotonic() + LIMIT
        while run.poll() is None:
            check(time.monotonic() < deadline, "it doesn't end", sweep)
            for pid, (kind, _) in sweep.processes().items():
                try:
                    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if kind == "runner" else []
                except OSError:
                    continue
                for name, value in (line.split(":", 1) for line in lines):
                    if name in most:
                        most[name] = max(most[name], 1024 * int(value.split()[0]))
            time.sleep(0.02)
        check(run.returncode == 0, f"code {run.returncode}", sweep)
        return most

    def undisturbed(self):
        self.calm = self.sweep("calm")
        self.most = self.peaks(self.calm, self.start(self.calm))
        print(f"undisturbed: {self.most}", flush=True)

    def ended_within_less(self, sweep, run, words):
        check(run.wait(LIMIT) == 0, f"code {run.returncode}", sweep)
        tried = [row for row in sweep.table("attempts") if row["kind"] == "fine_tune"]
        failed = [(row["failure_kind"], row["failure"]) for row in tried if row["status"] == "failed"]
        print(f"  attempts: {[(row['number'], row['status'], row['failure']) for row in tried]}", flush=True)
        check(failed and all(kind == "memory" and words in failure for kind, failure in failed), f"{failed}", sweep)
        check("tried again with all that can be recomputed" in sweep.log(), "it says what it does", sweep)
        check(sweep.figures() == self.calm.figures(), "the figures differ", sweep)
        nothing_left(sweep)

    def test_address_space(self):
        """An address space that is limited (ulimit -v): allocations fail."""
        sweep = self.sweep("address-space")
        limit = int(self.share * self.most["VmPeak"] / 1024)
        run = self.start(sweep, "sh", "-c", 'ulimit -v "$0" && exec "$@"', str(limit))
        self.ended_within_less(sweep, run, "out of memory")

    def test_killer(self):
        """A control group whose memory is limited: the kernel kills the runner."""
        version_1 = pathlib.Path("/sys/fs/cgroup/memory")
        group = (version_1 if version_1.is_dir() else version_1.parent) / f"ropesweep-{os.getpid()}"
        try:
            group.mkdir()
            limit = group / ("memory.limit_in_bytes" if version_1.is_dir() else "memory.max")
            limit.write_text(str(int(self.share * self.most["VmHWM"])))
        except OSError as error:
            print(f"  killer: no control group of one's own may be had here: {error}", flush=True)
            return False
        try:
            sweep = self.sweep("killer")
            run = self.start(sweep, "sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group))
            self.ended_within_less(sweep, run, "signal 9")
        finally:
            group.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--share", type=float, default=0.7, help="of what an undisturbed runner takes")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ropesweep-memory-")
    memory = Memory(options, directory)
    memory.undisturbed()
    for name in ("address_space", "killer"):
        left_out = getattr(memory, f"test_{name}")() is False
        print(f"{name}: {'left out' if left_out else 'passed'}", flush=True)
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
