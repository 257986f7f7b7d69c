#!/usr/bin/env python3
"""Looks at a real run from outside: who listens on a socket, and whose files a run makes.

* On one host the launcher, the coordinator, the shepherds and the runners listen on nothing; mpirun does,
  for its ranks. Runners whose tasks take several of them listen while they meet: Gloo's sockets, on one address.
* Every file and directory of a run has the rights that the user's umask leaves.
* Names with quotes, $(), line breaks and spaces are names: no shell ever reads them.

    nobody_gets_in_test.py --binary build/release/ropesweep [--only NAME]"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time

from sweep_runs import LIMIT, SWEEP, Sweep, check, nothing_left

ACCEPTS = 0x10000  # /proc/net/unix: __SO_ACCEPTCON
LISTEN = "0A"      # /proc/net/tcp


def listening():
    """inode → (kind, address) of every listening socket of this machine's network namespace."""
    found = {}
    for kind in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                found[fields[9]] = (kind, fields[1].rsplit(":", 1)[0])
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[3], 16) & ACCEPTS:
            found[fields[6]] = ("unix", fields[7] if len(fields) > 7 else "")
    return found


def sockets_of(pid):
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry.path))
            if match:
                found.add(match[1])
    except OSError:
        pass  # it has ended
    return found


def watch(sweep, run):
    """What each kind of process ever listened on while `run` lasted, and how often each was looked at."""
    seen, looks = {}, {}
    deadline = time.monotonic() + LIMIT
    while run.poll() is None:
        check(time.monotonic() < deadline, "no end", sweep)
        processes = sweep.processes()
        owned = {pid: sockets_of(pid) for pid in processes}
        sockets = listening()
        for pid, (kind, _) in processes.items():
            looks[kind] = looks.get(kind, 0) + 1
            seen.setdefault(kind, set()).update(sockets[inode] for inode in owned[pid] if inode in sockets)
        time.sleep(0.02)
    return seen, looks


class Tests:
    def __init__(self, options, directory):
        self.binary = str(pathlib.Path(options.binary).resolve())
        self.directory = pathlib.Path(directory)

    def test_sockets(self):
        for name, text in (("alone", SWEEP), ("group", SWEEP.replace("[workers]", "[workers]\ngpus_per_task = 2"))):
            sweep = Sweep(self.binary, self.directory / f"sockets-{name}", text)
            run = sweep.start("--workers", 2)
            seen, looks = watch(sweep, run)
            check(run.returncode == 0, f"{name}: code {run.returncode}", sweep)
            nothing_left(sweep)
            print(f"  {name}: " + "; ".join(f"{kind} ({looks[kind]} looks): {sorted(found) or 'nothing'}"
                                           for kind, found in sorted(seen.items())), flush=True)
            check(min(looks.get(kind, 0) for kind in ("runner", "shepherd", "coordinator", "launcher")) > 0,
                  f"{name}: not all were seen: {looks}", sweep)
            check(not seen["launcher"], f"{name}: the launcher listens on {seen['launcher']}", sweep)
            if name == "alone":
                check(not seen["runner"], f"a runner listens on {seen['runner']}", sweep)
            else:
                kinds = {kind for kind, _ in seen["runner"]}
                check(kinds <= {"tcp", "tcp6"}, f"a runner of a group listens on {seen['runner']}", sweep)
                anywhere = [address for _, address in seen["runner"] if set(address) == {"0"}]
                check(not anywhere, "a runner of a group listens on all addresses", sweep)
            for kind in ("coordinator", "shepherd"):
                check(not seen[kind], f"{name}: a {kind} listens on {seen[kind]}", sweep)

    def test_umask(self):
        for mask in (0o002, 0o022, 0o077):
            sweep = Sweep(self.binary, self.directory / f"umask-{mask:03o}")
            before = set(sweep.directory.rglob("*"))
            old = os.umask(mask)
            code = sweep.run("--workers", 1)
            os.umask(old)
            check(code == 0, f"umask {mask:03o}: code {code}", sweep)
            made = set(sweep.directory.rglob("*")) - before - {sweep.directory / "log"}
            check({"tiny.h5", "journal", "lock"} <= {path.name for path in made}, f"made: {made}", sweep)
            for path in made:
                allowed = (0o777 if path.is_dir() else 0o666) & ~mask
                mode = stat.S_IMODE(path.stat().st_mode)
                check(mode == allowed, f"umask {mask:03o}: {path} has {mode:03o}, not {allowed:03o}", sweep)
            print(f"  umask {mask:03o}: {len(made)} files and directories", flush=True)

    def test_names(self):
        """A directory, a store and a data set whose names a shell would trip over, and the batch script."""
        name = "a 'b' \"c\" $(touch pwned) `touch pwned`;\ttouch pwned"
        sweep = Sweep(self.binary, self.directory / name, SWEEP.replace('dataset        = "wiki"',
                      'dataset        = "wiki $(touch pwned)"').replace("[datasets.wiki]",
                                                                        '[datasets."wiki $(touch pwned)"]'))
        check(sweep.run("--workers", 1) == 0, "strange names", sweep)
        rows = json.loads(subprocess.run([self.binary, "query", "tiny.h5", "--select", "dataset", "--format", "json"],
                                         cwd=sweep.directory, check=True, capture_output=True, text=True).stdout)
        check(rows and all("$(touch" in row["dataset"] for row in rows), "rows", sweep)
        command = [self.binary, "submit", "tiny.toml", "--nodes", "1", "--gpus-per-node", "0", "--time", "1h", "--dry-run"]
        plain = self.directory / "it's $(touch pwned) `touch pwned`; touch pwned"
        shutil.copytree(sweep.directory, plain)
        shown = subprocess.run(command, cwd=plain, capture_output=True, text=True)
        check(shown.returncode == 0, f"submit --dry-run: {shown.stderr}", sweep)
        # The script itself, with the program taken for one that only shows what it is given.
        tools = self.directory / "tools"
        tools.mkdir(exist_ok=True)
        show = tools / "show"
        show.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        show.chmod(0o755)
        script = re.sub(r"(?m)^program=.*$", lambda _: f"program={shlex.quote(str(show))}", shown.stdout)
        ran = subprocess.run(["bash", "-s"], input=script, cwd=plain, capture_output=True, text=True)
        check(str(plain / "tiny.toml") in ran.stdout, f"the script's command: {ran.stdout}{ran.stderr}", sweep)
        left = list(self.directory.rglob("pwned"))
        check(not left, f"a shell has read a name: {left}", sweep)
        broken = self.directory / "line\nbreak"
        shutil.copytree(sweep.directory, broken)
        shown = subprocess.run(command, cwd=broken, capture_output=True, text=True)
        check(shown.returncode == 2 and "sbatch" in shown.stderr, f"a line break: {shown}", sweep)

    def run(self, only):
        for name in [name for name in dir(self) if name.startswith("test_")]:
            if only in (None, name.removeprefix("test_")):
                start = time.monotonic()
                getattr(self, name)()
                print(f"{name}: passed in {time.monotonic() - start:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", help="one test: sockets, umask or names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ropesweep-entry-") as directory:
        Tests(options, os.path.realpath(directory)).run(options.only)


if __name__ == "__main__":
    sys.exit(main())
