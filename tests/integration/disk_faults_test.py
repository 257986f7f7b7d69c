#!/usr/bin/env python3
"""Makes every write call of the real program fail in turn (fail_writes.cpp) and demands: never a crash; a
clear error that names the file and what to do, or the work done all the same; nothing that was
acknowledged is lost; the next undisturbed run completes, with the same values to the bit.

    disk_faults_test.py --binary build/release/ropesweep --library build/release/tests/libfail_writes.so
                        [--long] [--seed N] [--only PART] [--calls N] [--keep]

A trial is (part, call, error, how long). Without --long a seeded sample of them that takes about half a minute."""

import argparse
import collections
import ctypes
import errno
import json
import math
import mmap
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from sweep_runs import LIMIT, MEASURED, ROOT, Sweep, nothing_left

SWEEP = """
name = "tiny"
[model]
path = "model"
[axes]
scheme         = ["none", "linear"]
train_scale    = 2
context_length = 64
dataset        = "wiki"
recipe         = "tuned"
[recipes.tuned]
init           = "model/config.json"
data           = "training.jsonl"
context_length = 64
steps          = 3
batch_tokens   = 64
learning_rate  = 1e-3
save_every     = 1
""" + MEASURED + "crash_limit = 5\n"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
ONCE, FROM_THEN_ON = 0, -1
SHORT = 0  # instead of an errno: a write that is cut short
# What a message must say beside the file: the system's reason or ours, and what to do about it.
REASONS = re.compile("No space left|Input/output error|Read-only file system|disk full|room|cannot|can't")
REMEDIES = re.compile("free some space|permissions|disk|again|room|another|choose|name a|is lost|goes on|recreate")
CRASHES = re.compile("terminate called|Segmentation fault|Assertion|core dumped|std::|basic_ios|filesystem error")


def check(good, what, log=""):
    if not good:
        sys.exit(f"FAILED: {what}\n{log}")


class Disk:
    """What one run of the program meets: the n-th change below a directory fails."""

    def __init__(self, library, directory, role, call=0, error=errno.EIO, seconds=ONCE, log=None):
        handle, self.file = tempfile.mkstemp(prefix="ropesweep-disk-")
        os.write(handle, struct.pack("qqqq", 0, call, 0, 0))
        os.close(handle)
        self.environment = {
            "LD_PRELOAD": str(library), "FAIL_WRITES_STATE": self.file, "FAIL_WRITES_ROLE": role,
            "FAIL_WRITES_BELOW": os.path.realpath(directory), "FAIL_WRITES_ERROR": str(error),
            "FAIL_WRITES_SECONDS": str(seconds),
            "FAIL_WRITES_CLOSE": str(int(role in ("coordinator", "runner"))),
        }
        if log:
            self.environment["FAIL_WRITES_LOG"] = str(log)

    def counts(self):
        """(calls, failures), and the file is gone."""
        calls, _, _, failures = struct.unpack("qqqq", pathlib.Path(self.file).read_bytes())
        os.unlink(self.file)
        return calls, failures


def stable(text, directory):
    """Text without what differs from run to run."""
    return re.sub(r'"(seconds|tokens_per_second)": ?[0-9.e+-]+', "", text).replace(str(directory), "")


class Part:
    """A command and what it leaves behind."""

    trials = 2  # of the short sample
    more, impatience = (), ()  # arguments of one trial, and of one whose disk is never mended

    def __init__(self, test, name, role, code=0):
        self.test, self.name, self.role, self.code = test, name, role, code
        self.library, self.binary = test.library, test.binary
        self.expected = None

    def prepare(self, directory):
        shutil.copytree(self.test.template, directory)

    def environment(self, disk):
        return dict(os.environ, OMP_NUM_THREADS="1", **(disk.environment if disk else {}))

    def run(self, directory, disk=None):
        """(exit code, what it printed)"""
        with open(directory.with_suffix(".log"), "w") as log:
            code = subprocess.run([self.binary, *self.arguments, *self.more], cwd=directory, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=log, env=self.environment(disk),
                                  timeout=LIMIT)
        self.printed = code.stdout.decode(errors="replace")
        return code.returncode, directory.with_suffix(".log").read_text(errors="replace")

    def result(self, directory):
        """What is to be equal to the bit."""
        raise NotImplementedError

    def after(self, directory, log):
        """Once the disk has failed, before the next run."""

    def undisturbed(self):
        """Counts the calls. [(call, path)], by their number."""
        directory = self.test.directory / f"{self.name}-calm"
        self.prepare(directory)
        calls = directory.with_suffix(".calls")
        disk = Disk(self.library, directory, self.role, log=calls)
        code, log = self.run(directory, disk)
        count, _ = disk.counts()
        check(code == self.code, f"{self.name}: undisturbed: code {code}", log)
        self.expected = self.result(directory)
        found = [line.split(" ", 3) for line in calls.read_text().splitlines()]
        check(count == len(found) and count > 0, f"{self.name}: {count} calls, {len(found)} lines")
        shutil.rmtree(directory)
        return [(call, os.path.relpath(path, os.path.realpath(directory))) for _, _, call, path in found]

    def trial(self, call, error, seconds, about):
        what = f"{self.name}: call {call} ({about}) fails with " \
               f"{errno.errorcode.get(error, 'a short write')} {'once' if seconds == ONCE else f'for {seconds} s'}"
        directory = self.test.directory / f"{self.name}-{call}-{error}-{seconds}"
        self.prepare(directory)
        disk = Disk(self.library, directory, self.role, call, error, seconds)
        self.more = self.impatience if seconds == FROM_THEN_ON else ()
        code, log = self.run(directory, disk)
        self.more = ()
        _, failures = disk.counts()
        check(not CRASHES.search(log) and 0 <= code < 126, f"{what}: it crashed, code {code}", log)
        if error == SHORT:
            check(code == self.code, f"{what}: code {code}", log)
        if code == self.code:
            check(self.result(directory) == self.expected, f"{what}: code {code}, but the results differ", log)
        else:
            check(code in (1, 2, 3, 75), f"{what}: code {code}", log)
            self.check_message(directory, what, log)
        self.after(directory, log)
        again, next_log = self.again(directory, code)
        check(again == self.code, f"{what}: the next run: code {again}\n{next_log}\n--- first, code {code}:", log)
        check(self.result(directory) == self.expected, f"{what}: the next run's results differ", next_log)
        self.at_last(directory, what)
        shutil.rmtree(directory)
        return code, failures

    def again(self, directory, code):
        """The next run, undisturbed."""
        return self.run(directory)

    def check_message(self, directory, what, log):
        """One line names a file of ours, the reason and the remedy."""
        names = re.compile("|".join(map(re.escape, (os.path.realpath(directory), str(directory), *self.names))))
        lines = [line for line in log.splitlines() if names.search(line) and REASONS.search(line)]
        check(any(REMEDIES.search(line) for line in lines),
              f"{what}: no clear line with file, reason and remedy", log)

    names = ("tiny.h5", "tiny.d")

    def at_last(self, directory, what):
        """After the run that completed."""
        left = [str(path) for path in directory.rglob("*") if re.search(r"\.(new|part|partial|saving)\b", path.name)]
        check(len(left) <= 1, f"{what}: left behind: {left}")


class Run(Part):
    """The sweep, with one worker."""

    arguments = ("run", "tiny.toml", "--workers", "1", "--quiet")
    impatience = ("--disk-patience", "0")

    def table(self, directory, name="cells"):
        found = subprocess.run([self.binary, "query", "tiny.h5", "--table", name, "--format", "json"],
                               cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return json.loads(found.stdout) if found.returncode == 0 else []

    def result(self, directory):
        keep = ("id", "metric", "status", "value", "count", "sum_nll", "tokens", "stderr")
        cells = [{key: row.get(key) for key in keep} for row in self.table(directory)]
        curves = [{key: value for key, value in row.items() if key != "seconds"}
                  for row in self.table(directory, "curves")]
        return cells, curves

    def finished(self, directory):
        return {(name, row["id"]): (row["attempts"], row["finished_at"] if name == "cells" else row["seconds"])
                for name in ("cells", "fine_tunes") for row in self.table(directory, name)
                if row["status"] == "finished"}

    def after(self, directory, log):
        sweep = Sweep.__new__(Sweep)
        sweep.binary, sweep.directory = self.binary, directory
        nothing_left(sweep, 20)
        self.kept = self.finished(directory)

    def again(self, directory, code):
        # Without patience a disk that stays full uses up the task's attempts: the user says when it is mended.
        if code == 3:
            subprocess.run([self.binary, "rerun", "tiny.h5", "--failed", "--with-fine-tunes"], cwd=directory,
                           check=True, capture_output=True)
        return self.run(directory)

    def at_last(self, directory, what):
        super().at_last(directory, what)
        now = self.finished(directory)
        lost = {key for key, row in self.kept.items() if now.get(key) != row}
        check(not lost, f"{what}: finished, and computed again: {lost}")
        found = subprocess.run([self.binary, "check", "tiny.h5"], cwd=directory, capture_output=True, text=True)
        check(found.returncode == 0, f"{what}: check finds {found.stdout}{found.stderr}")


class Outage(Run):
    """A disk that fails for a while in the middle of a run, which waits and goes on by itself."""

    trials = 1

    def cases(self, calls):
        """(call, error, seconds)"""
        raise NotImplementedError

    def unharmed(self, directory, what, log):
        """What the outage must not have done, beside what every run demands."""
        raise NotImplementedError

    def trial(self, call, error, seconds, about):
        what = f"{self.name}: call {call} ({about}), error {error}, {seconds} s"
        directory = self.test.directory / f"{self.name}-{call}-{error}"
        self.prepare(directory)
        disk = Disk(self.library, directory, self.role, call, error, seconds)
        code, log = self.run(directory, disk)
        check(disk.counts()[1] > 0, f"{what}: nothing failed", log)
        check(code == 0, f"{what}: code {code}", log)
        self.unharmed(directory, what, log)
        check(self.result(directory) == self.expected, f"{what}: the results differ", log)
        shutil.rmtree(directory)
        return code, 1


class RunnerOutage(Outage):
    """The runner's disk is full or fails for five seconds: it goes on within its attempt."""

    def cases(self, calls):
        for error in (errno.ENOSPC, errno.EIO):
            yield self.test.random.randint(1, len(calls)), error, 5

    def unharmed(self, directory, what, log):
        tried = [(row["task"], row["number"], row["status"]) for row in self.table(directory, "attempts")]
        check(tried and all(number == 1 and status == "finished" for _, number, status in tried),
              f"{what}: it cost attempts: {tried}", log)


class StoreOutage(Outage):
    """The store's disk is full for eight seconds, or stalls for ten: no worker takes the coordinator for dead
    (they would after four seconds)."""

    arguments = (*Run.arguments, "--suspicion", "6")

    def cases(self, calls):
        journal = [n for n, (call, path) in enumerate(calls, 1) if call == "fdatasync" and path.endswith("journal")]
        started = journal[len(journal) // 3:-1]
        published = [n for n, (call, path) in enumerate(calls, 1) if "tiny.h5" in path and n > started[0]]
        for calls_of_kind in (started, published):
            yield self.test.random.choice(calls_of_kind), -10, ONCE
            yield self.test.random.choice(calls_of_kind), errno.ENOSPC, 8

    def unharmed(self, directory, what, log):
        check(not re.search("silent|taken for lost|leaves|died", log), f"{what}: somebody was taken for dead", log)


class Command(Part):
    """A command of one process, and files that it writes."""

    def __init__(self, test, name, arguments, outputs, role="single", code=0, before=()):
        super().__init__(test, name, role, code)
        self.arguments, self.outputs, self.before = arguments, outputs, before
        self.names = ("tiny.", "training.jsonl", *(re.sub("/.*", "", output) for output in outputs))

    def prepare(self, directory):
        """From what was made once: a second sweep would have other times."""
        base = self.test.directory / f"{self.name}-base"
        if not base.exists():
            super().prepare(base)
            for command in self.before:
                subprocess.run([self.binary, *command], cwd=base, check=True, capture_output=True)
        shutil.copytree(base, directory, dirs_exist_ok=True)

    def result(self, directory):
        files = {}
        for output in self.outputs:
            for path in [directory / output, *sorted((directory / output).rglob("*"))]:
                if path.is_file() and "state" not in path.parts:
                    name = str(path.relative_to(directory))
                    text = path.read_bytes()
                    files[name] = (stable(text.decode(), directory)
                                   if path.suffix in (".jsonl", ".json", ".txt") else text)
        return stable(self.printed, directory), files


class Rerun(Command):
    """Marks, which stay: what it prints is another thing the second time."""

    def result(self, directory):
        return [(row["id"], row["status"]) for row in Run.table(self, directory)]


class Test:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.library = pathlib.Path(options.library).resolve()
        self.directory = pathlib.Path(directory).resolve()
        self.random = random.Random(options.seed)
        self.options = options
        self.template = self.directory / "template"
        Sweep(self.binary, self.template, SWEEP)
        subprocess.run([self.binary, "data", "synthetic-wiki", "--samples", "3", "--tokens", "300", "--output",
                        "training.jsonl"], cwd=self.template, check=True, capture_output=True)
        self.parts = {part.name: part for part in self.make_parts()}

    def make_parts(self):
        train = ("finetune", "--init", "model/config.json", "--data", "training.jsonl", "--context-length", "64",
                 "--resume", "--steps", "3", "--batch-tokens", "64", "--learning-rate", "1e-3", "--save-every", "1", "--threads", "1", "--type", "f32")
        checkpoint = [(*train, "--output", "tuned")]
        sweep = [("run", "tiny.toml", "--workers", "1", "--quiet")]
        yield Run(self, "coordinator", "coordinator")
        yield Run(self, "runner", "runner")
        yield RunnerOutage(self, "runner-outage", "runner")
        yield StoreOutage(self, "outage", "coordinator")
        yield Command(self, "finetune", (*train, "--output", "tuned"), ["tuned"])
        yield Command(self, "report", ("report", "tiny.h5", "--output", "page.html"), ["page.html"], before=sweep)
        yield Command(self, "page", ("report", "tiny.h5", "--output", "page.html"), ["page.html"], "script", before=sweep)
        yield Rerun(self, "rerun", ("rerun", "tiny.h5", "--where", "scheme = 'none'"), [], before=sweep)
        yield Command(self, "data", ("data", "lines", "--samples", "20", "--tokens", "700", "--output", "lines.jsonl"),
                      ["lines.jsonl"])
        yield Command(self, "eval", ("eval", "--model", "tuned", "--task", "perplexity", "--data", "training.jsonl",
                                     "--context-length", "64", "--threads", "1", "--per-token", "tokens.csv"),
                      ["tokens.csv"], before=checkpoint)

    def standard_output(self):
        """Results that nobody got are an error."""
        directory = self.template
        subprocess.run([self.binary, *Run.arguments], cwd=directory, check=True, capture_output=True)
        for command in (("query", "tiny.h5"), ("status", "tiny.h5"), ("plan", "tiny.toml"), ("--help",), ("query", "--help"),
                        ("tokenize", "--model", "model", "training.jsonl"), ("encoding", "--list"), ("check", "tiny.h5"),
                        ("rerun", "tiny.h5", "--where", "scheme = 'none'", "--dry-run")):
            good = subprocess.run([self.binary, *command], cwd=directory, capture_output=True, text=True)
            if good.returncode != 0:
                print(f"standard output: {command}: {good.stderr}")
                continue
            with open("/dev/full", "w") as full:
                for how in ({"stdout": full}, {"preexec_fn": lambda: os.close(1)}):
                    found = subprocess.run([self.binary, *command], cwd=directory, stderr=subprocess.PIPE, text=True, **how)
                    check(found.returncode == 1 and "standard output" in found.stderr,
                          f"{command} with {how}: code {found.returncode}, {found.stderr}")
        print("standard output: full and closed", flush=True)

    def sample(self, part, calls):
        """Trials of a part: (call, error, how long)."""
        if isinstance(part, Outage):
            cases = list(part.cases(calls))
            yield from cases if self.options.long else self.random.sample(cases, part.trials)
            return
        if self.options.long:
            for call in range(1, len(calls) + 1):
                for error in (*ERRORS, SHORT):
                    if error != SHORT or "write" in calls[call - 1][0]:
                        yield call, error, ONCE
                if part.role not in ("coordinator",):
                    yield call, errno.ENOSPC, FROM_THEN_ON
            return
        for _ in range(self.options.calls or part.trials):
            yield (self.random.randint(1, len(calls)), self.random.choice((*ERRORS, SHORT)),
                   ONCE if part.role == "coordinator" else self.random.choice((ONCE, FROM_THEN_ON)))

    def run(self, only):
        for name, part in self.parts.items():
            if only not in (None, name):
                continue
            start = time.monotonic()
            calls = part.undisturbed()
            codes = collections.Counter()
            for call, error, seconds in self.sample(part, calls):
                if self.options.call and call not in self.options.call:
                    continue
                about = " ".join(calls[call - 1])
                try:
                    code, _ = part.trial(call, error, seconds, about)
                    codes[code] += 1
                except SystemExit as failure:
                    if not self.options.go_on:
                        raise
                    codes["FAILED"] += 1
                    print(failure, "\n", flush=True)
            print(f"{name}: {len(calls)} calls, {sum(codes.values())} trials, codes {dict(codes)}, "
                  f"{time.monotonic() - start:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--long", action="store_true", help="every call with every error")
    parser.add_argument("--calls", type=int, help="trials of each part in place of its own number")
    parser.add_argument("--call", type=int, action="append", help="only calls of these numbers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one part")
    parser.add_argument("--go-on", action="store_true", help="print what fails and go on")
    parser.add_argument("--keep", action="store_true", help="leave the directories for a look")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ropesweep-disk-")
    test = Test(options, directory)
    test.run(options.only)
    if options.only in (None, "standard_output"):
        test.standard_output()
    if not options.keep:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
