#!/usr/bin/env python3
"""Runs the real program and breaks it in every way that has a rule of its own: a runner that crashes
or hangs, a node on which tasks die, a device that can't be used, a coordinator that is stopped for a while, the end
of an allocation. The figures must be those of an undisturbed run, and what happened must be said.

    faults_test.py --binary build/release/ropesweep [--long] [--only NAME]"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from sweep_runs import LIMIT, SWEEP, Sweep, check, nothing_left

# Fine-tunes that last some seconds, so that a fault meets them at work.
LONG = (SWEEP.replace("steps          = 2\n", "steps          = 6000\n")
        .replace("batch_tokens   = 96\nlearning_rate  = 1e-3\nsave_every     = 1",
                 "batch_tokens   = 96\nlearning_rate  = 1e-3\nsave_every     = 100"))
# … and one that doesn't end before it is told to.
ENDLESS = LONG.replace("steps          = 6000", "steps          = 1000000")


class Faults:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.directory = pathlib.Path(directory)
        self.long = options.long or options.only
        self.calm = {}

    def sweep(self, name, text=SWEEP):
        return Sweep(self.binary, self.directory / name, text)

    def undisturbed(self, text=SWEEP):
        if text not in self.calm:
            calm = self.sweep(f"calm-{len(self.calm)}", text)
            check(calm.run("--workers", 2) == 0, "an undisturbed run", calm)
            self.calm[text] = calm
        return self.calm[text]

    def same(self, sweep, text=SWEEP):
        check(sweep.figures() == self.undisturbed(text).figures(), "the figures differ from an undisturbed run's", sweep)

    def live(self, sweep):
        try:
            return json.loads((sweep.directory / "tiny.d" / "live.json").read_text())
        except (OSError, ValueError):
            return {"workers": [], "waiting": [], "left_out": []}

    def status(self, sweep):
        return json.loads(subprocess.run([self.binary, "status", "tiny.h5", "--format", "json"],
                                         cwd=sweep.directory, check=True, capture_output=True, text=True).stdout)

    def wait_until(self, condition, what, sweep, run=None):
        deadline = time.monotonic() + LIMIT
        while not condition():
            check(time.monotonic() < deadline, f"in vain: {what}", sweep)
            check(run is None or run.poll() is None, f"the run ended ({run and run.poll()}): {what}", sweep)
            time.sleep(0.05)

    def busy_runners(self, sweep, run):
        """Runners whose workers are in the middle of a task."""
        self.wait_until(lambda: any(worker["fraction"] > 0 for worker in self.live(sweep)["workers"]),
                        "a task at work", sweep, run)
        return [pid for pid, (kind, _) in sweep.processes().items() if kind == "runner"]

    def failures(self, sweep):
        return [(row["failure_kind"], row["failure"]) for row in sweep.table("attempts")
                if row["status"] in ("failed", "lost")]

    def test_crashes(self):
        """Runners that segfault, abort and stand still: named in the record, and the sweep ends whole."""
        sweep = self.sweep("crashes", LONG)
        run = sweep.start("--workers", 2, "--suspicion", 4)
        for number, words in ((signal.SIGSEGV, "signal 11"), (signal.SIGABRT, "signal 6"),
                              (signal.SIGSTOP, "hung")):
            for pid in self.busy_runners(sweep, run):
                os.kill(pid, number)
            self.wait_until(lambda words=words: words in sweep.log(), words, sweep, run)
        check(run.wait(LIMIT) == 0, "code 0", sweep)
        said = " ".join(failure for _, failure in self.failures(sweep))
        check(all(words in said for words in ("signal 11", "signal 6", "hung")), f"attempts: {said}", sweep)
        nothing_left(sweep)
        self.same(sweep, LONG)

    def test_start(self):
        """A rank that dies before MPI has started: the others don't wait for it for ever, and the run begins again."""
        for _ in range(5):  # it may be too late, or too early, for the one to be killed
            sweep = self.sweep("start")
            run = sweep.start("--workers", 2, "--start-patience", 3)
            shepherds = []
            while not shepherds and run.poll() is None:
                shepherds = [pid for pid, (kind, _) in sweep.processes().items() if kind == "shepherd"]
            if shepherds:
                os.kill(shepherds[0], signal.SIGKILL)
            check(run.wait(LIMIT) == 0, "code 0", sweep)
            nothing_left(sweep)
            self.same(sweep)
            if "not all ranks have come together" in sweep.log():
                check("it is started again" in sweep.log(), "it says what it does", sweep)
                return
            shutil.rmtree(sweep.directory)
        sys.exit("FAILED: no rank could be killed as it started")

    def test_hang(self):
        """A task that hangs while its process gives signs of life: here in the opening of a pipe."""
        tasks = [row["task"] for row in self.undisturbed().table("attempts") if row["kind"] == "evaluation"]
        sweep = self.sweep("hang")
        pipes = sweep.directory / "tiny.d" / "evaluations"
        pipes.mkdir(parents=True)
        pipe = pipes / f"{tasks[-1]}.jsonl"
        os.mkfifo(pipe)
        run = sweep.start("--workers", 2, "--hang", 2)
        self.wait_until(lambda: "the task hangs" in sweep.log(), "a hang", sweep, run)
        pipe.unlink()
        check(run.wait(LIMIT) == 0, "code 0", sweep)
        check(any("the task hangs" in failure for _, failure in self.failures(sweep)), "its attempt says so", sweep)
        self.same(sweep)

    def test_device(self):
        """A worker whose device can't be used is left out and named, and costs no task anything; when there
        is no other, the run ends and says so."""
        text = SWEEP.replace("crash_limit = 1000", "crash_limit = 1")
        sweep = self.sweep("device", text)
        sweep.environment.update(ROPESWEEP_CUDA_PLUGIN="/nonexistent", CUDA_VISIBLE_DEVICES="")
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        one = [self.binary, "run", "tiny.toml"]
        with open(sweep.directory / "log", "a") as log:
            code = subprocess.run(["mpirun", *root, "--oversubscribe", "-n", "1", *one, ":", "-n", "1", *one,
                                   "--device", "cuda", ":", "-n", "1", *one], cwd=sweep.directory,
                                  env=sweep.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  timeout=LIMIT).returncode
        check(code == 0, f"code {code}", sweep)
        finished = {row["status"] for row in sweep.cells()}
        check(finished == {"finished"}, f"cells: {finished}", sweep)
        broken = [failure for _, failure in self.failures(sweep) if "cuda" in failure]
        check(len(broken) <= 3, f"attempts: {broken}", sweep)
        if len(broken) == 3:  # the other worker may have done all before that
            check("left out" in sweep.log() and "worker 1" in self.status(sweep).get("left_out_by_last_run", ""),
                  "it is named", sweep)
        self.same(sweep, text)
        alone = self.sweep("no-device", text)
        alone.environment.update(sweep.environment)
        check(alone.run("--device", "cuda", "--workers", 1, "--suspicion", 3) == 1, "code 1", alone)
        check("worker 1" in alone.log() and "too few workers can work" in alone.log(), "it says why", alone)
        check({row["status"] for row in alone.cells()} == {"pending"}, "nothing is lost", alone)

    def test_node(self):
        """A node on which three different tasks die is left out and named, and its tasks are done by another.
        Two nodes on one machine: ranks with host names of their own, where that is allowed."""
        if not self.long:
            return False
        if subprocess.run(["unshare", "--uts", "hostname", "bad"], stderr=subprocess.DEVNULL).returncode != 0:
            print("  node: no host name of one's own may be had here", flush=True)
            return False
        text = (LONG.replace('"none", "linear"', '"none", "linear", "ntk", "yarn", "power(0.5)"')
                .replace("steps          = 6000", "steps          = 2500"))
        sweep = self.sweep("node", text)
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []

        def rank(host):
            return ["-n", "1", "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host,
                    self.binary, "run", "tiny.toml", "--suspicion", "10"]

        with open(sweep.directory / "log", "a") as log:
            run = subprocess.Popen(["mpirun", *root, "--oversubscribe", "--mca", "plm", "isolated", *rank("first"),
                                    ":", *rank("bad"), ":", *rank("good")], cwd=sweep.directory,
                                   env=sweep.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        killed = set()
        while run.poll() is None and "is left out" not in sweep.log():
            for worker in self.live(sweep)["workers"]:
                if worker["host"] == "bad" and worker["fraction"] > 0 and worker["task"] not in killed:
                    killed.add(worker["task"])
                    for pid in self.runners_of(sweep, "bad"):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        check("is left out" in sweep.log(), f"the node is named; killed on it: {killed}", sweep)
        self.wait_until(lambda: self.status(sweep)["left_out"] or run.poll() is not None, "status", sweep)
        check(run.poll() is not None or self.status(sweep)["left_out"][0]["what"] == "node bad", "status", sweep)
        check(run.wait(LIMIT) == 0, f"code {run.returncode}", sweep)
        check("node bad" in sweep.log().split("left out:")[-1], "the last words", sweep)
        check("node bad" in self.status(sweep)["left_out_by_last_run"], "status afterwards", sweep)
        self.same(sweep, text)

    def runners_of(self, sweep, host):
        """Runners whose processes have this host name."""
        found = []
        for pid, (kind, _) in sweep.processes().items():
            if kind == "runner":
                name = subprocess.run(["nsenter", "--uts", "--target", str(pid), "hostname"], capture_output=True,
                                      text=True).stdout.strip()
                found += [pid] if name == host else []
        return found

    def test_stopped_coordinator(self):
        """A coordinator that stands still for longer than its workers bear (a stalled file system): they give
        up what they do, wait for it, and go on."""
        if not self.long:
            return False
        sweep = self.sweep("stopped", LONG)
        run = sweep.start("--workers", 2, "--suspicion", 3)
        self.busy_runners(sweep, run)
        (coordinator,) = [pid for pid, (kind, _) in sweep.processes().items() if kind == "coordinator"]
        os.kill(coordinator, signal.SIGSTOP)
        self.wait_until(lambda: "is given up" in sweep.log(), "workers that give up", sweep, run)
        os.kill(coordinator, signal.SIGCONT)
        check(run.wait(LIMIT) == 0, "code 0", sweep)
        check("speaks again" in sweep.log(), "they find each other again", sweep)
        self.same(sweep, LONG)

    def test_wall(self):
        """The end of a Slurm job, --time and SIGUSR1: saved, code 75, and the next run goes on from there.
        Meanwhile status says of each waiting cell why."""
        sweep = self.sweep("wall", ENDLESS)
        sweep.environment["SLURM_JOB_END_TIME"] = str(int(time.time()) + 8)
        run = sweep.start("--workers", 2)
        self.busy_runners(sweep, run)
        reasons = []

        def runs():
            status = self.status(sweep)
            reasons[:] = [each["reason"] for each in status["waiting"]]
            return any("which runs on worker" in reason for reason in reasons)

        self.wait_until(runs, "a reason that names the worker", sweep, run)
        check(run.wait(LIMIT) == 75, f"code {run.returncode}", sweep)
        check("the time is over" in sweep.log(), "it says why", sweep)
        del sweep.environment["SLURM_JOB_END_TIME"]
        steps = [self.saved_steps(sweep)]
        check(steps[0] > 0, "a state was saved", sweep)
        run = sweep.start("--workers", 2)
        self.busy_runners(sweep, run)
        run.send_signal(signal.SIGUSR1)
        check(run.wait(LIMIT) == 75, f"SIGUSR1: code {run.returncode}", sweep)
        steps.append(self.saved_steps(sweep))
        check(sweep.run("--workers", 2, "--time", "4s") == 75, "--time 4s", sweep)
        steps.append(self.saved_steps(sweep))
        check(steps == sorted(set(steps)), f"each went on from the one before: {steps}", sweep)
        check(not self.failures(sweep), f"no attempt counts: {self.failures(sweep)}", sweep)
        waiting = self.status(sweep)["waiting"]
        check(waiting and all("no run is going on" in each["reason"] or "which is" in each["reason"]
                              for each in waiting), f"{waiting}", sweep)
        nothing_left(sweep)

    def saved_steps(self, sweep):
        """The furthest saved step of all fine-tunes."""
        names = [path.name.removeprefix("step-")
                 for path in (sweep.directory / "tiny.d" / "checkpoints").rglob("step-*")]
        return max((int(name) for name in names if name.isdigit()), default=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--long", action="store_true", help="the tests that CI has no time for, too")
    parser.add_argument("--only", help="one test, e.g. wall")
    parser.add_argument("--keep", action="store_true", help="leave the stores for a look")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ropesweep-faults-")
    faults = Faults(options, directory)
    for name in [name for name in dir(faults) if name.startswith("test_")]:
        if options.only in (None, name.removeprefix("test_")):
            start = time.monotonic()
            left_out = getattr(faults, name)() is False
            print(f"{name}: " + ("left out without --long" if left_out else
                                 f"passed in {time.monotonic() - start:.0f} s"), flush=True)
    if not options.keep:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
