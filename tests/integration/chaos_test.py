#!/usr/bin/env python3
"""Chaos: processes of real sweeps under mpirun are killed at random moments until enough have died. Nothing that was
durable may be lost, nothing finished is computed again, no process stays behind, and the final columns are those of a
run that nothing disturbed, to the bit.

    chaos_test.py --binary build/release/ropesweep                              30 kills, about a minute
    chaos_test.py --binary … --long --kills 1000 --seed N [--record FILE]       many, over all kinds of sweeps

Who is killed: the launcher, mpirun, the coordinator's rank, shepherds, runners, and now and then all at once. By what:
SIGKILL mostly; SIGSEGV, SIGABRT, SIGTERM; SIGSTOP for some seconds, so that silent ones come back and answer late.
What was durable is read from the journal by a reader of its own (journal_reader.py) before each kill and after it."""

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from chaos_sweeps import KINDS, write_data
from journal_reader import JournalReader
from sweep_runs import LIMIT, Sweep, check, nothing_left, wait_for

# Chances by kind of process; "all": each process of the run at once, as when a host fails.
VICTIMS = {"runner": 35, "shepherd": 25, "coordinator": 15, "mpirun": 10, "launcher": 10, "all": 5}
SIGNALS = {signal.SIGKILL: 70, signal.SIGSEGV: 8, signal.SIGABRT: 4, signal.SIGTERM: 6, signal.SIGSTOP: 12}
SUSPICION = 4  # seconds of silence: stops of up to twice as long make late answers and lost workers
DONE = (0, 3)  # 3: some recipes diverge as they should, what needs them is skipped


class Chaos:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.directory = pathlib.Path(directory)
        self.random = random.Random(options.seed)
        self.options = options
        self.kills = collections.Counter()  # (kind of process, signal) → number; all at once is one
        self.runs = self.sweeps = self.results = self.renewed = 0
        self.expected = {}

    def total(self):
        return sum(self.kills.values())

    def sweep(self, kind, name):
        sweep = Sweep(self.binary, self.directory / name, KINDS[kind].text)
        write_data(sweep.directory)
        return sweep

    def undisturbed(self, kind):
        """(exit code, figures) of a run in peace, on as few workers as it takes."""
        if kind not in self.expected:
            calm = self.sweep(kind, f"calm-{kind}")
            code = calm.start("--workers", KINDS[kind].workers[0]).wait(4 * LIMIT)
            check(code in DONE, f"undisturbed: code {code}", calm)
            figures = everything(calm)
            check(all(figures), "cells, curves, samples, fine-tunes", calm)
            self.expected[kind] = code, figures
            shutil.rmtree(calm.directory)
        return self.expected[kind]

    def one_sweep(self, number):
        kinds = self.options.only.split(",") if self.options.only else list(KINDS)
        kind = self.random.choices(kinds, [KINDS[k].chance for k in kinds])[0] if self.options.long else "all-kinds"
        code, expected = self.undisturbed(kind)
        sweep = self.sweep(kind, f"sweep-{number}")
        journal = JournalReader(sweep.directory / "tiny.d" / "journal")
        until = min(self.total() + self.options.kills_a_sweep, self.options.kills)
        done, quiet_runs = None, 0
        while done not in DONE:
            quiet = self.total() >= until
            quiet_runs += quiet
            check(quiet_runs < 10, f"{quiet_runs} runs in peace were not enough (code {done})", sweep)
            workers = self.random.choice(KINDS[kind].workers)
            run = sweep.start("--workers", workers, "--suspicion", SUSPICION, "--start-patience", 8)
            self.runs += 1
            try:
                done = run.wait(LIMIT) if quiet else self.disturb(sweep, run, journal, until)
            finally:
                if run.poll() is None:
                    run.kill()
            nothing_left(sweep, 20)
            self.look(sweep, journal, "after a run")
            self.readable(sweep, expected)
        check(done == code, f"code {done}, undisturbed {code}", sweep)
        self.settled(sweep, journal, expected)
        self.sweeps += 1
        self.results += len(journal.results)
        self.renewed += journal.times_renewed
        print(f"  {kind}: equal; {self.total()} kills, {self.runs} runs, {self.sweeps} sweeps so far", flush=True)
        if not self.options.keep:
            shutil.rmtree(sweep.directory)

    def disturb(self, sweep, run, journal, until):
        """Kills until the run ends, however it does, or enough have died. Returns its exit code."""
        if self.random.random() < 0.8:  # else it may die before it has begun
            wait_for(sweep, "runner", 20, run)
        while run.poll() is None and self.total() < until:
            try:
                run.wait(self.random.uniform(0.2, self.options.pause))
                break
            except subprocess.TimeoutExpired:
                pass
            living = collections.defaultdict(list)
            for pid, (what, _) in sorted(sweep.processes().items()):
                living[what].append(pid)
                living["all"].append(pid)
            kinds = [kind for kind in VICTIMS if living[kind]]
            if not kinds:
                continue
            kind = self.random.choices(kinds, [VICTIMS[k] for k in kinds])[0]
            number = signal.SIGKILL if kind == "all" else self.random.choices(
                list(SIGNALS), list(SIGNALS.values()))[0]
            self.look(sweep, journal, "before a kill")
            victims = living[kind] if kind == "all" else [self.random.choice(living[kind])]
            if any([self.kill(pid, number) for pid in victims]):
                self.kills[kind, number.name] += 1
        return run.wait(LIMIT)

    def kill(self, pid, number):
        """Whether there was such a process."""
        try:
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        if number == signal.SIGSTOP:
            threading.Timer(self.random.uniform(0.5, 2 * SUSPICION), wake, [handle]).start()
        else:
            os.close(handle)
        return True

    def look(self, sweep, journal, when):
        """Whatever was durable at the last look is there."""
        lost = journal.look()
        check(not lost, f"{when}: {lost}", sweep)

    def readable(self, sweep, expected):
        """The published file alone, copied elsewhere, is a store; what it calls finished is right."""
        published = sweep.directory / "tiny.h5"
        if not published.exists():
            return
        shutil.copy(published, sweep.directory / "copy.h5")
        right = {(row["id"], row["metric"]): row for row in expected[0]}
        for row in sweep.cells("copy.h5"):
            if row["status"] == "finished":
                check(row == right[row["id"], row["metric"]], f"published: {row}", sweep)

    def settled(self, sweep, journal, expected):
        check(everything(sweep) == expected, "the figures differ from an undisturbed run's", sweep)
        check(sweep.cells("copy.h5") == expected[0], "the published file lacks what the store has", sweep)
        rows = [(row["task"], row["number"]) for row in sweep.table("attempts")
                if row["status"] in ("finished", "diverged")]
        check(sorted(rows) == sorted(journal.results), f"attempts {rows}, durable {list(journal.results)}", sweep)
        tasks = collections.Counter(task for task, _ in rows)
        check(max(tasks.values()) == 1, f"computed again though its result was durable: {tasks}", sweep)
        code, said = sweep.say("check", "tiny.h5")
        check(code == 0, f"check: {said}", sweep)
        self.would_notice(sweep)
        left = list((sweep.directory / "tiny.d" / "evaluations").glob("*"))
        check(not left, f"unfinished evaluations: {left}", sweep)

    def would_notice(self, sweep):
        """The reader does see a lost record: the last one of a copy is cut off, and then a byte changed."""
        copy = sweep.directory / "journal-copy"
        whole = (sweep.directory / "tiny.d" / "journal").read_bytes()
        for damaged in (whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
            copy.write_bytes(whole)
            reader = JournalReader(copy)
            check(not reader.look() and reader.results, "the journal's copy", sweep)
            copy.write_bytes(damaged)
            check(reader.look(), "a damaged journal goes unnoticed", sweep)

    def summary(self):
        by_kind, by_signal = collections.Counter(), collections.Counter()
        for (kind, name), count in self.kills.items():
            by_kind[kind] += count
            by_signal[name] += count
        return {"seed": self.options.seed, "kills": self.total(), "by_process": dict(by_kind.most_common()),
                "by_signal": dict(by_signal.most_common()), "sweeps": self.sweeps, "runs": self.runs,
                "results": self.results, "results_lost": 0}


def everything(sweep):
    """All that luck must not change: cells, curves, samples with their texts, what fine-tunes came to."""
    columns = ("id", "status", "failure_kind", "failure", "steps", "tokens", "training_loss", "validation_loss")
    fine_tunes = [{name: row[name] for name in columns} for row in sweep.table("fine_tunes")]
    return *sweep.figures(), sweep.table("samples"), fine_tunes


def wake(handle):
    try:
        signal.pidfd_send_signal(handle, signal.SIGCONT)
    except ProcessLookupError:
        pass
    os.close(handle)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--long", action="store_true", help="all kinds of sweeps in turns")
    parser.add_argument("--only", help="with --long: kinds of sweeps, e.g. all-kinds,groups")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--kills-a-sweep", type=int, default=40, help="then it is left in peace to its end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.8, help="seconds between kills, at most")
    parser.add_argument("--record", help="a file that gets the summary, one JSON object, after each sweep")
    parser.add_argument("--keep", action="store_true", help="leave the stores for a look")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    directory = tempfile.mkdtemp(prefix="ropesweep-chaos-")
    chaos = Chaos(options, directory)
    start = time.monotonic()
    while chaos.total() < options.kills:
        chaos.one_sweep(chaos.sweeps)
        summary = chaos.summary() | {"seconds": round(time.monotonic() - start)}
        if options.record:
            pathlib.Path(options.record).write_text(json.dumps(summary) + "\n")
    print(json.dumps(summary))
    if not options.keep:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
