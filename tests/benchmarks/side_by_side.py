#!/usr/bin/env python3
"""ropesweep's model beside PyTorch's: the same work, threads and number type, in turn, on one machine
that does nothing else. Writes docs/benchmarks/DATE-HOST.json and prints the ratios.

    tests/benchmarks/side_by_side.py [--quick] [--threads N] [--repeats N] [--python PYTHON] [--output FILE]

--quick: little work, to see that it runs (its figures mean nothing). --python: an interpreter with
torch and transformers; this one unless given.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKS = [("tiny", "train"), ("tiny", "losses"), ("smollm2", "train"), ("smollm2", "losses")]
COMPILE_UP_TO = 8192  # tokens: PyTorch compiles a longer pass longer than it runs it


def run(command: list[str], threads: int) -> list[dict]:
    """The JSON objects, one a line, that a command prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"side_by_side.py: failed: {' '.join(command)}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def build() -> str:
    """Builds model_benchmark in the release preset; its path."""
    for command in (["cmake", "--preset", "release"],
                    ["cmake", "--build", "--preset", "release", "--target", "model_benchmark"]):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return "build/release/tests/model_benchmark"


def measure(shape: str, work: str, arguments, program: str):
    """One result for each line of ropesweep's (its list of works is the one that counts)."""
    common = ["--shape", shape, "--work", work, "--threads", str(arguments.threads)]
    size = ["--batch", "1", "--tokens", "64"] if arguments.quick else []
    for ours in run([program, *common, *size, "--repeat", str(arguments.repeats)], arguments.threads):
        same = ["--batch", str(ours["batch"]), "--tokens", str(ours["tokens"]),
                "--type", ours["type"], "--repeats", str(arguments.repeats),
                "--compile", "both" if ours["tokens"] <= COMPILE_UP_TO else "no"]
        script = "tests/reference/pytorch_benchmark.py"
        peer = run([arguments.python, script, *common, *same], arguments.threads)[0]
        keys = ("shape", "work", "batch", "tokens", "type")
        yield {**{key: ours[key] for key in keys}, "ropesweep": ours, "pytorch": peer,
               "ratio": ours["tokens_per_second"] / peer["best"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    today = datetime.date.today().isoformat()
    output = arguments.output or ROOT / f"docs/benchmarks/{today}-{platform.node()}.json"

    program = build()
    results = []
    for shape, work in WORKS:
        for result in measure(shape, work, arguments, program):
            results.append(result)
            print(
                f"{shape:8} {work:7} {result['batch']:3} x {result['tokens']:5} {result['type']:5}"
                f" ropesweep {result['ropesweep']['tokens_per_second']:10.1f} tokens/s"
                f"  PyTorch {result['pytorch']['best']:10.1f}  ratio {result['ratio']:.2f}",
                flush=True,
            )
    document = {
        "date": today,
        "device": results[0]["ropesweep"]["device"],
        "kernel": platform.release(),
        "threads": arguments.threads,
        "results": results,
    }
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(output)


if __name__ == "__main__":
    main()
