#!/usr/bin/env python3
"""Runs the real program: the same sweep on several numbers of workers, killed at random moments, stopped
and gone on with, must publish the same values to the bit and leave no process behind.

    sweep_test.py --binary build/release/ropesweep [--long] [--seed N] [--only NAME]

Needs nothing but the program: its model is trained from nothing by the sweep itself. Kills by the dozen:
chaos_test.py."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from sweep_runs import LIMIT, SWEEP, Sweep, check, finish, nothing_left, wait_for


class Campaign:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.directory = pathlib.Path(directory)
        self.random = random.Random(options.seed)
        self.long = options.long
        self.expected = None

    def sweep(self, name):
        return Sweep(self.binary, self.directory / name)

    def same(self, sweep):
        if self.expected is None:
            reference = self.sweep("reference")
            check(reference.run("--workers", 1) == 0, "one worker", reference)
            self.expected = reference.figures()
            rows, curves = self.expected
            check(all(row["status"] == "finished" and row["value"] > 0 for row in rows)
                  and len(rows) >= 8 and len(curves) >= 8, f"figures: {self.expected}", reference)
        check(sweep.figures() == self.expected, "the figures differ from one worker's", sweep)

    def test_workers(self):
        """1, 2 and 4 workers, and an mpirun of the user's own: equal to the bit."""
        for workers in (2, 4) if self.long else (3,):
            sweep = self.sweep(f"workers-{workers}")
            check(sweep.run("--workers", workers) == 0, f"{workers} workers", sweep)
            self.same(sweep)
            nothing_left(sweep)
        sweep = self.sweep("mpirun")
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        prefix = ["mpirun", *root, "--oversubscribe", "-n", "3"]
        check(sweep.run(prefix=prefix) == 0, "mpirun -n 3", sweep)
        self.same(sweep)
        nothing_left(sweep)
        alone = self.sweep("alone")
        check(alone.run(prefix=["mpirun", *root, "-n", "1"]) == 2, "mpirun -n 1: code 2", alone)
        check("leaves no worker" in alone.log(), "mpirun -n 1: a clear line", alone)

    def test_again(self):
        """A finished sweep runs again: nothing is computed, no process is started."""
        sweep = self.sweep("again")
        check(sweep.run() == 0, "first run", sweep)
        attempts = self.attempts(sweep)
        check(sweep.run() == 0, "second run", sweep)
        check(self.attempts(sweep) == attempts, "the second run computed something", sweep)
        check("nothing is to be done" in sweep.log(), "it says so", sweep)
        self.same(sweep)

    def attempts(self, sweep):
        return subprocess.run([self.binary, "query", "tiny.h5", "--table", "attempts", "--format",
                               "json"], cwd=sweep.directory, check=True, capture_output=True).stdout

    def test_device(self):
        """The same sweep with --device cuda, on a device emulated on the host (tests/emulation): the same
        cells, their figures within the rounding of f32 over six training steps."""
        plugin = pathlib.Path(self.binary).parent / "tests" / "libropesweep_cuda_emulated.so"
        if not plugin.exists():
            sys.exit(f"FAILED: {plugin} is not built")
        sweep = self.sweep("device")
        sweep.environment["ROPESWEEP_CUDA_PLUGIN"] = str(plugin)
        check(sweep.run("--device", "cuda", "--workers", 2) == 0, "--device cuda", sweep)
        host = self.sweep("host")
        check(host.run("--workers", 1) == 0, "one worker", host)
        for ours, theirs in zip(sweep.cells(), host.cells(), strict=True):
            check(ours["id"] == theirs["id"] and ours["metric"] == theirs["metric"], "the same rows", sweep)
            check(abs(ours["value"] - theirs["value"]) < 1e-5 * theirs["value"],
                  f"figures: {ours} on cuda, {theirs} on cpu", sweep)
        devices = subprocess.run([self.binary, "query", "tiny.h5", "--select", "device", "--format", "json"],
                                 cwd=sweep.directory, check=True, capture_output=True, text=True).stdout
        check(devices.count('"cuda (emulated') == len(sweep.cells()), f"devices: {devices}", sweep)

    def test_groups(self):
        """Several workers a task: their figures are one worker's within the rounding of f32 over six
        steps, and equal to the bit whatever the number of groups and whoever of them is killed."""
        text = (SWEEP.replace("[64, 96]", "[96, 128]").replace('"wiki"\nrecipe', '["wiki", "passkey"]\nrecipe')
                + '[datasets.passkey]\nkind = "passkey"\nsamples = 3\ndata_seed = 22\nmax_new_tokens = 4\n')
        alone = Sweep(self.binary, self.directory / "groups-alone", text)
        check(alone.run("--workers", 1) == 0, "one worker", alone)
        together = text.replace("[workers]", "[workers]\ngpus_per_task = 2")
        expected = None
        for name, workers, kills in (("one", 2, 0), ("two", 4, 0), ("killed", 4, 3 if self.long else 1)):
            sweep = Sweep(self.binary, self.directory / f"groups-{name}", together)
            run = sweep.start("--workers", workers)
            wait_for(sweep, "runner")
            for _ in range(kills):
                time.sleep(self.random.uniform(0.2, 0.8))
                kind = self.random.choice(["runner", "shepherd"])
                for pid in [pid for pid, (what, _) in sweep.processes().items() if what == kind][:1]:
                    os.kill(pid, signal.SIGKILL)
                    print(f"  groups: kill -9 {kind}", flush=True)
            code = run.wait(LIMIT)
            check(code == 0, f"groups: {workers} workers: code {code}", sweep)
            nothing_left(sweep)
            check(not (sweep.directory / "tiny.d" / "groups").exists()
                  or not any((sweep.directory / "tiny.d" / "groups").iterdir()), "what groups left", sweep)
            expected = expected or sweep.figures()
            check(sweep.figures() == expected, "the figures depend on who was killed", sweep)
        for ours, theirs in zip(expected[0], alone.cells(), strict=True):
            check((ours["id"], ours["metric"]) == (theirs["id"], theirs["metric"]), "the same rows", alone)
            check(abs(ours["value"] - theirs["value"]) <= 1e-5 * abs(theirs["value"]),
                  f"figures: {ours} of a group, {theirs} alone", alone)
        few = Sweep(self.binary, self.directory / "groups-few", together)
        check(few.run("--workers", 1) == 2 and "gpus_per_task" in few.log(), "too few workers", few)

    def test_in_use(self):
        """A second run on a store in use: code 2, and the first is not disturbed."""
        sweep = self.sweep("in-use")
        first = sweep.start()
        check(wait_for(sweep, "runner"), "a runner", sweep)
        check(sweep.run() == 2, "second run: code 2", sweep)
        check(first.wait(LIMIT) == 0, "first run", sweep)
        self.same(sweep)

    def test_losses(self):
        """Losses are in the store while a fine-tune runs; one that is killed then doubles no step; and the
        median rule abandons the same fine-tunes at the same step on any number of workers."""
        text = SWEEP.replace("steps          = 2\n", "steps          = 3000\n"
                             "stop_if        = { above_median_of = 1, after = 2500 }\n")
        text = text.replace("learning_rate  = 1e-3\nsave_every     = 1\n[datasets",
                            "learning_rate  = 1e-3\nsave_every     = 100\n[datasets")
        text = text.replace('["none", "linear"]', '["none", "linear", "nope"]')
        calm = Sweep(self.binary, self.directory / "losses-calm", text)
        code = calm.run("--workers", 1)
        check(code in (0, 3), f"exit code {code}", calm)
        expected = calm.figures()
        sweep = Sweep(self.binary, self.directory / "losses-killed", text)
        run = sweep.start("--workers", 3)
        deadline = time.monotonic() + LIMIT
        while True:
            running = [row["id"] for row in sweep.table("fine_tunes") if row["status"] == "running"]
            if any(row["fine_tune"] in running and row["step"] > 4 for row in sweep.table("curves")):
                break
            check(run.poll() is None and time.monotonic() < deadline, "no losses of a running fine-tune", sweep)
            time.sleep(0.1)
        for pid in [pid for pid, (what, _) in sweep.processes().items() if what == "runner"][:1]:
            os.kill(pid, signal.SIGKILL)
        check(run.wait(LIMIT) == code, "the same exit code", sweep)
        check(sweep.figures() == expected, "the figures differ from an undisturbed run's", sweep)
        failures = [row["failure"] for row in sweep.table("fine_tunes")]
        print(f"  losses seen of a running fine-tune; then equal; verdicts {failures}", flush=True)

    def test_stop(self):
        """SIGTERM: code 75; run again until done: equal to the bit."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1) if self.long else (signal.SIGTERM,):
            sweep = self.sweep(f"stop-{number}")
            run = sweep.start()
            check(wait_for(sweep, "runner"), "a runner", sweep)
            time.sleep(self.random.uniform(0, 2))
            run.send_signal(number)
            code = run.wait(LIMIT)
            check(code in (0, 75), f"exit code {code}", sweep)
            nothing_left(sweep)
            finish(sweep)
            self.same(sweep)

    def test_kills(self):
        """kill -9 to any process of the run, at random moments, then run until done: equal to the bit."""
        kinds = ["runner", "shepherd", "coordinator", "mpirun", "launcher"]
        for trial, kind in enumerate(kinds * (6 if self.long else 1)):
            sweep = self.sweep(f"kill-{trial}-{kind}")
            run = sweep.start()
            pids = wait_for(sweep, kind)
            check(pids, f"no {kind} came up", sweep)
            wait_for(sweep, "runner")
            time.sleep(self.random.uniform(0, 3))
            pids = [pid for pid, (what, _) in sweep.processes().items() if what == kind]
            for pid in pids[:1]:
                os.kill(pid, signal.SIGKILL)
            code = run.wait(LIMIT)
            check(code in (0, 1, 75) or kind == "launcher", f"kill {kind}: exit code {code}", sweep)
            if kind in ("runner", "shepherd"):
                check(code == 0, f"kill {kind}: the others finish the sweep ({code})", sweep)
            nothing_left(sweep)
            finish(sweep)
            self.same(sweep)
            print(f"  kill -9 {kind}: code {code}, then equal", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--long", action="store_true", help="many kills and signals")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one test, e.g. kills")
    parser.add_argument("--keep", action="store_true", help="leave the stores for a look")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ropesweep-test-")
    campaign = Campaign(options, directory)
    names = [name for name in dir(campaign) if name.startswith("test_")]
    for name in names:
        if options.only in (None, name.removeprefix("test_")):
            start = time.monotonic()
            getattr(campaign, name)()
            print(f"{name}: passed in {time.monotonic() - start:.0f} s", flush=True)
    if not options.keep:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
