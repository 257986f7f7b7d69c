#!/usr/bin/env python3
"""Runs clang-tidy over the program's sources, several at once, and skips those that passed before.

    tidy.py BUILD_DIRECTORY [--jobs N] [FOLDER_OR_FILE ...]

A file passed when its own bytes, those of each header of ours that it includes (as Ninja recorded
them when it compiled), its compile command, .clang-tidy and clang-tidy itself are what they were.
The record is BUILD_DIRECTORY/tidy.json. Prints what clang-tidy found; exit code 1 when it found any.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# It doesn't look into the systems' headers for what it would not report: a third of version 14's time.
CLANG_TIDY = "clang-tidy-22"


def read_dependencies(build: Path) -> dict[str, list[str]]:
    """Object file → our headers and sources that it was compiled from, as `ninja -t deps` tells."""
    text = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    dependencies: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("    "):
            path = Path(os.path.normpath(build / line.strip()))
            if path.is_relative_to(ROOT) and not path.is_relative_to(build):
                current.append(str(path))
        elif ": #deps" in line:
            current = dependencies.setdefault(line.split(":", 1)[0], [])
    return dependencies


def object_of(entry: dict) -> str:
    """The object file that a compile command writes."""
    words = shlex.split(entry["command"])
    return words[words.index("-o") + 1]


def fingerprint(entry: dict, headers: list[str], common: bytes) -> str:
    """What decides clang-tidy's answer for one compile command."""
    digest = hashlib.sha256(common)
    digest.update(entry["command"].encode())
    for path in sorted({entry["file"], *headers}):
        digest.update(path.encode() + b"\0" + Path(path).read_bytes())
    return digest.hexdigest()


def tidy(database: Path, file: str) -> tuple[int, str]:
    """Exit status and findings of one file."""
    done = subprocess.run(
        # The compile commands are gcc's: some of its warning options are unknown to clang.
        [CLANG_TIDY, "--quiet", "-p", str(database), "--extra-arg=-Wno-unknown-warning-option",
         "--extra-arg=-Wno-deprecated-declarations", file],
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    return done.returncode, done.stdout + "\n".join(errors)


def wanted_entries(build: Path, places: list[str]) -> list[dict]:
    """Compile commands of sources below one of the places (tests excepted: macros make their names), one
    a file, though some are compiled for several devices. Kernels are left out: Debian's clang doesn't
    know this CUDA."""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    roots = [Path(place).resolve() for place in places] or [ROOT]
    chosen: dict[str, dict] = {}
    for entry in commands:
        file = Path(entry["file"])
        if file.suffix != ".cu" and not file.is_relative_to(ROOT / "tests"):
            if any(file.is_relative_to(root) for root in roots):
                chosen.setdefault(entry["file"], entry)
    return list(chosen.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("places", nargs="*")
    arguments = parser.parse_intermixed_args()
    build = arguments.build.resolve()

    if not shutil.which(CLANG_TIDY):
        print(f"{CLANG_TIDY} is not here; ./install.sh installs it (Debian 12's security suite)", file=sys.stderr)
        return 2
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    common = version + (ROOT / ".clang-tidy").read_bytes()
    record = build / "tidy.json"
    passed = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    dependencies = read_dependencies(build)
    waiting = {}
    entries = wanted_entries(build, arguments.places)
    database = build / "tidy"
    database.mkdir(exist_ok=True)
    (database / "compile_commands.json").write_text(json.dumps(entries), encoding="utf-8")
    for entry in entries:
        headers = dependencies.get(object_of(entry))
        key = fingerprint(entry, headers, common) if headers else ""  # not built yet: not remembered
        if not key or passed.get(entry["file"]) != key:
            waiting[entry["file"]] = key

    started, failed = time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(tidy, database, file): file for file in sorted(waiting)}
        for future in concurrent.futures.as_completed(futures):
            status, findings = future.result()
            if status == 0 and waiting[futures[future]]:
                passed[futures[future]] = waiting[futures[future]]
            elif status != 0:
                failed += 1
                print(findings, flush=True)
    unfinished = record.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(passed, indent=1, sort_keys=True), encoding="utf-8")
    unfinished.rename(record)
    print(
        f"clang-tidy: {len(waiting)} files checked in {time.monotonic() - started:.0f} s, "
        f"{failed} with findings"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
