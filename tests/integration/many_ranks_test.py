#!/usr/bin/env python3
"""Many real ranks under mpirun, with runners that compute nothing (empty_runner.cpp): every cell of a sweep
is answered, acknowledged and in the store once, and the ranks don't burn the cores while they wait.

    many_ranks_test.py --binary build/release/ropesweep --runner build/release/tests/empty_runner
                       [--workers 16] [--cells 200] [--long]

--long: 64 workers, 5,000 cells, and what idle ranks cost. Prints what it measures; holds no speed to a mark."""

import argparse
import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from sweep_runs import write_model

LIMIT = 580  # seconds, against a hang
HEAD = """
name = "many"
[model]
path = "model"
[axes]
scheme         = "none"
context_length = {lengths}
dataset        = {datasets}
recipe         = "base"
[recipes.base]
init           = "model/config.json"
data           = "d0"
context_length = 64
steps          = 1
batch_tokens   = 64
learning_rate  = 1e-3
[workers]
device = "cpu"
"""
LENGTHS = 20


def write_sweep(directory, cells):
    """Each cell is a task of its own: windows that slide share no pass."""
    write_model(directory / "model")
    names = [f"d{number}" for number in range(cells // LENGTHS)]
    text = HEAD.format(lengths=[16 * (1 + i) for i in range(LENGTHS)], datasets=json.dumps(names))
    for number, name in enumerate(names):
        text += f'[datasets.{name}]\nkind = "synthetic-wiki"\nsamples = 1\ndata_seed = {number}\n'
    (directory / "many.toml").write_text(text)


def command(options, workers):
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl",
            "self,vader", "--mca", "btl_vader_single_copy_mechanism", "none", "-n", str(workers + 1),
            str(options.binary), "run", "many.toml"]


def start(options, directory, workers, **variables):
    environment = {**os.environ, "ROPESWEEP_RUNNER": str(options.runner), **variables}
    log = open(directory / "log", "w")
    return subprocess.Popen(command(options, workers), cwd=directory, env=environment, stdout=log, stderr=log,
                            stdin=subprocess.DEVNULL, start_new_session=True)


def processor_seconds(directory, binary):
    """Of the ranks that work there: rank → seconds so far."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or os.readlink(entry / "cwd") != str(directory):
                continue
            if os.readlink(entry / "exe") != str(binary):
                continue
            ranks = [v for v in (entry / "environ").read_bytes().split(b"\0")
                     if v.startswith(b"OMPI_COMM_WORLD_RANK=")]
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if ranks:
            ticks = int(fields[11]) + int(fields[12])
            found[int(ranks[0].split(b"=")[1])] = ticks / os.sysconf("SC_CLK_TCK")
    return found


def stop(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_to_the_end(options, directory, workers, cells):
    begin, before = time.monotonic(), os.times()
    process = start(options, directory, workers)
    try:
        code = process.wait(LIMIT)
    finally:
        stop(process)
    seconds, after = time.monotonic() - begin, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    log = (directory / "log").read_text()
    if code != 0:
        sys.exit(f"FAILED: exit code {code}\n{log}")
    rows = query(options, directory, "attempts")
    by_task = {row["task"] for row in rows}
    done = sum(row["status"] == "finished" for row in query(options, directory, "cells"))
    if done != cells or len(rows) != cells + 1 or len(by_task) != cells + 1:
        sys.exit(f"FAILED: {done} of {cells} cells finished, {len(rows)} attempts of {len(by_task)} tasks")
    started = [float(row["started_at"]) for row in rows]
    span = max(started) - min(started)
    busy = len({row["worker"] for row in rows})
    print(json.dumps({"workers": workers, "cells": cells, "seconds": round(seconds, 2),
                      "seconds_of_cells": round(span, 2), "cells_per_second": round(cells / max(span, 1e-3)),
                      "processor_seconds": round(used, 2), "workers_that_got_work": busy}), flush=True)


def query(options, directory, table):
    text = subprocess.run([options.binary, "query", "many.h5", "--table", table, "--format", "csv"],
                          cwd=directory, check=True, capture_output=True, text=True).stdout
    return list(csv.DictReader(io.StringIO(text)))


def cost_of_idle_ranks(options, directory, workers, seconds=10):
    """Every rank has a task that takes long, and nothing to say."""
    process = start(options, directory, workers, ROPESWEEP_EMPTY_SECONDS="600")
    try:
        while len(processor_seconds(directory, options.binary)) < workers + 1:
            if process.poll() is not None:
                sys.exit(f"FAILED: {(directory / 'log').read_text()}")
            time.sleep(0.2)
        time.sleep(5)
        before = processor_seconds(directory, options.binary)
        time.sleep(seconds)
        after = processor_seconds(directory, options.binary)
    finally:
        stop(process)
    spent = {rank: after[rank] - before[rank] for rank in before if rank in after}
    workers_spent = [value for rank, value in spent.items() if rank > 0]
    print(json.dumps({"idle_workers": workers, "seconds": seconds,
                      "coordinator_share_of_a_core": round(spent.get(0, 0) / seconds, 4),
                      "mean_share_of_a_worker": round(sum(workers_spent) / len(workers_spent) / seconds, 5),
                      "all_ranks_in_cores": round(sum(spent.values()) / seconds, 3)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--runner", required=True, type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    options.binary, options.runner = options.binary.resolve(), options.runner.resolve()
    workers, cells = (64, 5000) if options.long else (options.workers, options.cells // LENGTHS * LENGTHS)
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch).resolve() / "run"
        directory.mkdir()
        write_sweep(directory, cells)
        run_to_the_end(options, directory, workers, cells)
        if options.long:
            idle = pathlib.Path(scratch).resolve() / "idle"
            idle.mkdir()
            write_sweep(idle, cells)
            cost_of_idle_ranks(options, idle, workers)


if __name__ == "__main__":
    main()
