#!/usr/bin/env python3
"""Where the workers' time of a run went, from its store: computing, the gaps between two tasks of a worker
(messages, the journal), the wait for the first task, and for the others at the end. One run of one go.
A task lasts from its assignment until its answer has come; what runners measured themselves is shorter by the
messages' way and by what is outside of their clock, and is given apart.

    idle_share.py STORE.h5 [--binary build/release/ropesweep]

Seconds between the first start and the last end count, times the workers that took part. JSON."""

import argparse
import csv
import io
import json
import subprocess


def rows_of(binary, store, table):
    text = subprocess.run([binary, "query", store, "--table", table, "--format", "csv"], check=True,
                          capture_output=True, text=True).stdout
    return list(csv.DictReader(io.StringIO(text)))


def attempts_of(binary, store):
    return [(int(row["worker"]), float(row["started_at"]), float(row["seconds"]), row["kind"])
            for row in rows_of(binary, store, "attempts") if row["seconds"]]


def seconds_of_runners(binary, store):
    """Of all cells, which have a row for each metric, and of all fine-tunes."""
    cells = {row["id"]: float(row["seconds"] or 0) for row in rows_of(binary, store, "cells")}
    return sum(cells.values()) + sum(float(row["seconds"] or 0) for row in rows_of(binary, store, "fine_tunes"))


def shares(attempts, runners):
    begin = min(start for _, start, _, _ in attempts)
    end = max(start + seconds for _, start, seconds, _ in attempts)
    workers = sorted({worker for worker, *_ in attempts})
    whole = (end - begin) * len(workers)
    sums = {"busy": 0.0, "before_the_first_task": 0.0, "between_tasks": 0.0, "after_the_last_task": 0.0}
    gaps = []
    for worker in workers:
        own = sorted((start, start + seconds) for w, start, seconds, _ in attempts if w == worker)
        sums["before_the_first_task"] += own[0][0] - begin
        sums["after_the_last_task"] += end - own[-1][1]
        sums["busy"] += sum(stop - start for start, stop in own)
        gaps += [later[0] - earlier[1] for earlier, later in zip(own, own[1:])]
    sums["between_tasks"] = sum(gaps)
    gaps.sort()
    return {"workers": len(workers), "tasks": len(attempts), "seconds": round(end - begin, 3),
            "mean_task_seconds": round(sums["busy"] / len(attempts), 3),
            "share": {name: round(value / whole, 5) for name, value in sums.items()},
            "idle_share": round(1 - sums["busy"] / whole, 5),
            "idle_share_by_the_runners_clocks": round(1 - runners / whole, 5),
            "gap_milliseconds": {"median": round(1000 * gaps[len(gaps) // 2], 2) if gaps else 0,
                                 "longest": round(1000 * gaps[-1], 2) if gaps else 0}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--binary", default="build/release/ropesweep")
    options = parser.parse_args()
    print(json.dumps(shares(attempts_of(options.binary, options.store),
                            seconds_of_runners(options.binary, options.store))))


if __name__ == "__main__":
    main()
