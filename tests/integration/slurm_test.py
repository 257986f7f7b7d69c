#!/usr/bin/env python3
"""Sweeps as jobs of a real Slurm with two nodes on this machine: over both nodes, requeued, out of time, a node
lost, preempted, failing. Each ends with a complete store whose figures are an undisturbed run's to the bit.

    slurm_test.py --binary build/release/ropesweep [--long] [--only NAME] [--keep]

Exit code 77: no root or no Slurm here (install_slurm.sh)."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import slurm_cluster
from sweep_test import SWEEP, Sweep

FEWEST_STEPS, MOST_STEPS = 30, 2000
TUNING_SECONDS = 2.5  # of each fine-tune here: long enough to be disturbed in its middle


def lasting(steps):
    """The sweep with fine-tunes of so many steps, which save at each."""
    return (SWEEP.replace("steps          = 4\n", f"steps          = {steps}\n")
            .replace("steps          = 2\n", f"steps          = {steps}\n"))


# What a user of nodes that share one network interface, the loopback, would export.
MPI = {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl_tcp_if_include": "lo",
       "OMPI_MCA_oob_tcp_if_include": "lo", "OMPI_MCA_plm_slurm_warning": "0",
       "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
LIMIT = 300  # seconds for a job on a busy machine
# Most of a job's time here is Slurm's waiting, so several go on at a time; but not beside those that take nodes away.
ORDER = (("time", "no_progress", "requeue", "both_nodes", "failed", "cancelled", "time_limit"),
         ("preemption", "hostfile"), ("uneven_nodes",), ("node_lost",))
TOGETHER = 3
SLOW = ("no_progress", "cancelled", "time_limit")  # --long only
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED")


class Campaign:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.long, self.directory = options.long, pathlib.Path(directory)
        self.text, self.steps_each, self.expected = None, None, None
        self.cluster = None

    def test(self, name):
        start = time.monotonic()
        getattr(self, f"test_{name}")()
        print(f"{name}: passed in {time.monotonic() - start:.0f} s", flush=True)

    # Sweeps and jobs.

    def submit(self, name, *options, text=None, time_limit="5m", gpus=("--gpus-per-node", "0"), files=(),
               run_options=""):
        """The sweep, submitted; its job's number is in .job. `run_options`: by a script of one's own."""
        sweep = Sweep(self.binary, self.directory / name, text or self.text)
        for file, content in dict(files).items():
            (sweep.directory / file).write_text(content)
        sweep.environment = {**self.cluster.environment, **MPI}
        command = [self.binary, "submit", "tiny.toml", "--nodes", "2", *gpus, "--time", time_limit, *options]
        calls = {"cwd": sweep.directory, "env": sweep.environment, "capture_output": True, "text": True,
                 "timeout": LIMIT}
        if run_options:
            script = subprocess.run([*command, "--dry-run"], check=True, **calls).stdout
            (sweep.directory / "own.sbatch").write_text(script.rstrip() + f" {run_options}\n")
            command = ["sbatch", "own.sbatch"]
        done = subprocess.run(command, **calls)
        match = re.search(r"Submitted batch job (\d+)", done.stdout)
        self.check(match and done.returncode == 0, f"submit: {done.returncode}: {done.stdout}{done.stderr}", sweep)
        sweep.job = match[1]
        return sweep

    def log(self, sweep):
        path = sweep.directory / "tiny.slurm.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def check(self, condition, what, sweep):
        if not condition:
            job = getattr(sweep, "job", None)
            state = self.cluster.run("scontrol", "show", "job", job, check=False) if job else ""
            sys.exit(f"FAILED: {what}\n{state}\n--- output of {sweep.directory}\n{self.log(sweep)[-6000:]}\n"
                     f"{self.cluster.logs()[-6000:]}")

    def wait(self, sweep, condition, what, seconds=LIMIT):
        deadline = time.monotonic() + seconds
        while not condition():
            self.check(time.monotonic() < deadline, f"{what}: not within {seconds} s", sweep)
            time.sleep(0.1)

    def state(self, sweep):
        return self.cluster.job(sweep.job)["JobState"]

    def restarts(self, sweep):
        return int(self.cluster.job(sweep.job)["Restarts"])

    def steps(self, sweep):
        return sum(row["steps"] for row in sweep.table("fine_tunes"))

    def wait_for_middle(self, sweep, more_than=2):
        """Both nodes have started, and steps of fine-tunes are in the store."""
        self.wait(sweep, lambda: self.steps(sweep) > more_than or self.state(sweep) in ENDED, "the middle")
        self.check(self.state(sweep) == "RUNNING", "the job still runs", sweep)

    def wait_for_end(self, sweep, code="0:0", state="COMPLETED"):
        self.wait(sweep, lambda: self.state(sweep) in ENDED, "the job's end")
        job = self.cluster.job(sweep.job)
        self.check((job["JobState"], job["ExitCode"]) == (state, code), "how the job ended", sweep)

    def calm(self):
        """Tries out how many steps last as long as they should, and what one worker gets that nothing disturbs."""
        trial = Sweep(self.binary, self.directory / "trial", lasting(FEWEST_STEPS))
        self.check(trial.run("--workers", 1) == 0, f"trial: {trial.log()}", trial)
        # Of three the fastest: what delayed the others won't delay the jobs.
        seconds = min(row["seconds"] for row in trial.table("attempts") if row["kind"] == "fine_tune")
        steps = int(TUNING_SECONDS * FEWEST_STEPS / max(seconds, 1e-3))
        self.steps_each = min(max(steps, FEWEST_STEPS), MOST_STEPS)
        self.text = lasting(self.steps_each)
        self.expected = self.undisturbed("calm", self.text)
        rows, curves = self.expected
        self.check(len(rows) >= 8 and len(curves) >= 3 * self.steps_each, f"figures: {self.expected}", trial)
        print(f"fine-tunes of {self.steps_each} steps", flush=True)

    def undisturbed(self, name, text):
        """The figures of one worker that nothing disturbs."""
        calm = Sweep(self.binary, self.directory / name, text)
        self.check(calm.start("--workers", 1).wait(1200) == 0, f"undisturbed: {calm.log()}", calm)
        return calm.figures()

    def complete(self, sweep, expected=None):
        """The store is whole, and its figures are those of an undisturbed run."""
        self.check(sweep.figures() == (expected or self.expected), "the figures differ from an undisturbed run's", sweep)
        done = subprocess.run([self.binary, "check", "tiny.h5"], cwd=sweep.directory, capture_output=True, text=True)
        self.check(done.returncode == 0, f"check: {done.stdout}{done.stderr}", sweep)

    def both_worked(self, sweep):
        hosts = {row["host"] for row in sweep.table("attempts")}
        workers = {row["worker"] for row in sweep.table("attempts")}
        if self.cluster.separate:
            self.check(hosts == {"n1", "n2"}, f"hosts of the attempts: {hosts}", sweep)
        self.check({1, 2} <= workers, f"workers of the attempts: {workers}", sweep)

    # What may happen to a job.

    def test_both_nodes(self):
        """Submitted with options of all kinds: it runs over both nodes and ends with 0."""
        sweep = self.submit("both", "--partition", "main", "--sbatch=--comment=a few words, and signs: $(x)")
        self.wait_for_end(sweep)
        self.both_worked(sweep)
        self.complete(sweep)
        self.check("the sweep is done" in self.log(sweep), "its output says that it is done", sweep)
        self.check("few words, and signs: $(x)" in self.cluster.run("scontrol", "show", "job", sweep.job),
                   "the passed option", sweep)

    def test_uneven_nodes(self):
        """GPUs that lie unevenly on the nodes: a worker each, as the program says. (There are none to compute on
        here: the job is cancelled then.)"""
        cases = [("gpus", ("--gpus", "4"), "n1 (1) n2 (3)"),
                 ("whole", ("--gpus-per-node", "1", "--sbatch=--exclusive"), "n1 (1) n2 (3)"),
                 ("each", ("--gpus-per-node", "1"), "n1 (1) n2 (1)"),
                 ("cpu", ("--gpus-per-node", "0", "--workers-per-node", "2"), "n1 (2) n2 (2)")]
        for name, options, expected in cases if self.long else cases[:2]:
            sweep = self.submit(f"uneven-{name}", "--device", "cpu" if name == "cpu" else "cuda", gpus=options)
            self.wait(sweep, lambda: "workers on" in self.log(sweep), "its workers")
            self.check(f"workers on {expected}\n" in self.log(sweep), f"workers on {expected}", sweep)
            self.cluster.run("scancel", sweep.job)

    def test_requeue(self):
        """scontrol requeue in the middle: it comes back, goes on and completes."""
        sweep = self.submit("requeue")
        self.wait_for_middle(sweep)
        self.cluster.run("scontrol", "requeue", sweep.job)
        self.wait_for_end(sweep)
        self.check(self.restarts(sweep) == 1 and "start 2" in self.log(sweep), "SLURM_RESTART_COUNT", sweep)
        self.complete(sweep)

    def test_time(self):
        """The warning before the end of the time, then a job whose time is too short: they save, are requeued by
        themselves, and go on until the sweep is done."""
        sweep = self.submit("signal")
        self.wait_for_middle(sweep)
        before = self.steps(sweep)
        self.cluster.run("scancel", "--batch", "--signal=USR1", sweep.job)  # as --signal=B:USR1@… does
        self.wait(sweep, lambda: self.restarts(sweep) == 1, "requeued")
        self.check(before <= self.steps(sweep) < 3 * self.steps_each, "saved, and not yet done", sweep)
        self.wait_for_end(sweep)
        self.check("work remains: job" in self.log(sweep), "its output says why it was requeued", sweep)
        self.complete(sweep)
        for longer in (1, 4, 16):  # than what was tried out, on a machine that is busy now and then
            text = lasting(self.steps_each * longer)
            short = self.submit(f"short-{longer}", text=text.replace("[limits]", "[limits]\ntime = 3"))
            self.wait_for_end(short)
            if self.restarts(short) >= 1:
                break
        self.check(self.restarts(short) >= 1, "it was requeued", short)
        self.complete(short, self.expected if longer == 1 else self.undisturbed(f"calm-{longer}", text))

    def test_no_progress(self):
        """A job that gets nowhere isn't requeued for ever."""
        text = self.text.replace("[limits]", "[limits]\ntime = 0.1")
        sweep = self.submit("idle", text=text)
        self.wait_for_end(sweep, code="75:0", state="FAILED")
        # Some starts may get a step saved in their tenth of a second.
        self.check(self.restarts(sweep) >= 1, "restarts", sweep)
        self.check("brought the sweep no further" in self.log(sweep) and "sbatch '" in self.log(sweep),
                   "its output says why, and what to do", sweep)

    def test_node_lost(self):
        """A node with its slurmd and all processes dies in the middle: the run goes on with the other, or Slurm
        requeues it once it has given the node up; the first node is the batch script's own."""
        for node in ("n1", "n2") if self.long else ("n2",):
            sweep = self.submit(f"lost-{node}", run_options="--suspicion 5")
            self.wait_for_middle(sweep)
            self.cluster.kill(node)
            self.wait(sweep, lambda: self.state(sweep) in ("PENDING", *ENDED), "ended, or requeued by Slurm")
            self.cluster.start_node(node)
            self.wait_for_end(sweep)
            self.complete(sweep)

    def test_preemption(self):
        """A job of a partition with a higher tier takes the nodes; the sweep comes back and completes."""
        sweep = self.submit("preempted")
        self.wait_for_middle(sweep)
        script = self.directory / "urgent.sh"
        script.write_text("#!/bin/sh\nsleep 1\n")
        urgent = self.cluster.run("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive",
                                  "--output=/dev/null", script).strip()
        self.wait(sweep, lambda: self.cluster.job(urgent)["JobState"] == "COMPLETED", "the urgent job")
        self.wait_for_end(sweep)
        self.check(self.restarts(sweep) == 1, "it was preempted once", sweep)
        self.complete(sweep)

    def test_hostfile(self):
        """Without Slurm, ssh played by a script: over two hosts, and one of them dies in the middle."""
        if not self.cluster.separate:
            return  # Hosts need names of their own.
        agent = self.directory / "reach"
        agent.write_text('#!/bin/sh\nhost=$1; shift\nunshare --uts --pid --fork --kill-child --mount-proc sh -c '
                         '"hostname $host; $*"\nexit 0  # as an ssh whose daemon runs on by itself\n')
        agent.chmod(0o755)
        for name in ("calm", "lost"):
            sweep = Sweep(self.binary, self.directory / f"hosts-{name}", self.text)
            (sweep.directory / "hosts").write_text("h1 slots=1\nh2 slots=2  # the larger one\n")
            sweep.environment.update(MPI, OMPI_MCA_plm_rsh_agent=str(agent), OMPI_MCA_orte_leave_session_attached="1")
            run = sweep.start("--hostfile", "hosts", "--suspicion", 5,
                              prefix=["unshare", "--uts", "sh", "-c", 'hostname h1; exec "$0" "$@"'])
            sweep.job = None
            if name == "lost":
                self.wait(sweep, lambda: self.steps(sweep) > 2 or run.poll() is not None, "the middle")
                self.check(run.poll() is None, f"it still runs: {sweep.log()}", sweep)
                for pid in self.guardians(agent, sweep):
                    os.kill(pid, 9)
            code = run.wait(LIMIT)
            self.check(code == 0, f"--hostfile: {code}: {sweep.log()[-3000:]}", sweep)
            hosts = {row["host"] for row in sweep.table("attempts")}
            self.check(hosts == {"h1", "h2"}, f"hosts of the attempts: {hosts}", sweep)
            self.complete(sweep)

    def guardians(self, agent, sweep):
        """Pids of the namespaces that play other hosts of this sweep."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if (entry.name.isdigit() and os.readlink(entry / "cwd") == str(sweep.directory)
                        and b"--kill-child" in (entry / "cmdline").read_bytes()):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def test_time_limit(self):
        """A real limit of a minute: Slurm's own warning comes before it. Long campaigns only."""
        if not self.long:
            return
        for longer in (16, 64, 256):
            text = lasting(self.steps_each * longer)
            sweep = self.submit(f"minute-{longer}", text=text, time_limit="1m")
            self.wait(sweep, lambda: self.state(sweep) in ENDED, "the job's end", 1200)
            self.wait_for_end(sweep)
            if self.restarts(sweep) >= 1:
                break
        stopped = any(words in self.log(sweep) for words in ("the time is over", "told to stop by signal"))
        self.check(self.restarts(sweep) >= 1 and stopped, "its time ended", sweep)
        self.complete(sweep, self.undisturbed("calm-minute", text))

    def test_failed(self):
        """Cells fail: the job ends with 3, and its output names them and says what to do."""
        text = SWEEP.replace('dataset        = "wiki"', 'dataset        = ["wiki", "torn"]')
        text += '[datasets.torn]\nkind = "lines"\npath = "torn.jsonl"\n'
        sweep = self.submit("failed", text=text, files={"torn.jsonl": '{"prompt": "line'})
        self.wait_for_end(sweep, code="3:0", state="FAILED")
        failed = [row["id"] for row in sweep.cells() if row["status"] == "failed"]
        self.check(failed, "cells failed", sweep)
        log = self.log(sweep)
        for words in ("cells failed", failed[0], "torn.jsonl", "ropesweep query '", "ropesweep rerun '", "sbatch '"):
            self.check(words in log, f"its output has '{words}'", sweep)

    def test_cancelled(self):
        """scancel: it stops and doesn't come back."""
        sweep = self.submit("cancelled")
        self.wait_for_middle(sweep)
        self.cluster.run("scancel", sweep.job)
        self.wait(sweep, lambda: self.state(sweep) == "CANCELLED", "cancelled")
        time.sleep(8)
        self.check(self.state(sweep) == "CANCELLED" and self.restarts(sweep) == 0, "it stays so", sweep)
        finish = self.cluster.run("sbatch", "--parsable", sweep.directory / "tiny.sbatch", env=MPI).strip()
        sweep.job = finish
        self.wait_for_end(sweep)
        self.complete(sweep)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", help="tests by name, e.g. requeue,time")
    parser.add_argument("--keep", action="store_true", help="leave the stores for a look")
    options = parser.parse_args()
    if reason := slurm_cluster.missing():
        print(f"skipped: {reason}")
        sys.exit(77)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ropesweep-slurm-"))
    campaign = Campaign(options, directory)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with slurm_cluster.Cluster(directory / "cluster", gpus=(1, 3)) as campaign.cluster:
        campaign.calm()
        for names in ORDER:
            only = options.only.split(",") if options.only else [name for name in names if options.long or name not in SLOW]
            names = [name for name in names if name in only]
            with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
                for done in [pool.submit(campaign.test, name) for name in names]:
                    done.result()
    if not options.keep:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
