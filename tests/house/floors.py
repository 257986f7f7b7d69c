"""The house's rules that a compiler does not hold: `violations(root)` lists every break of them.

* No include climbs: the floors and what each may see are read from DEVELOPERS.md, so that the
  document and the code can't part. A room sees itself, the rooms after its arrow, and theirs.
* MPI, HDF5, CUDA and Boost.Program_options are included only in the rooms that may know them.
* No source file has more than 500 lines.
* Every subcommand of commands/command.h is described in docs/commands.md.

Tests may include any room; for the outside libraries, tests/ROOM counts as ROOM.
"""

import re
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
COUNTED_SUFFIXES = SOURCE_SUFFIXES | {".py", ".sh"}
LONGEST_FILE = 500  # lines
NOT_OURS = {"build", ".git", "models", "__pycache__"}

# Header pattern → where it may be included (a file, or a folder and all below it).
OUTSIDE_HEADERS = {
    r"mpi\.h|mpi/.*": ["coordinator/protocol"],
    r"hdf5(_hl)?\.h|H5.*\.h|hdf5/.*": ["storage"],
    r"(cuda|cublas|cudnn|nccl|nvrtc|cooperative_groups|cub/).*": ["worker/backend/cuda", "emulation"],
    r"gloo/.*": ["worker/backend/collective_gloo.cpp"],
    r"boost/context.*": ["emulation"],
    r"boost/program_options.*": ["commands", "ropesweep.cpp", "benchmarks"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def read_floors(root: Path) -> dict[str, set[str]]:
    """Room → rooms it may see (with itself and all below them), from DEVELOPERS.md's table."""
    text = (root / "DEVELOPERS.md").read_text(encoding="utf-8")
    section = text.split("## Floors", 1)[1].split("\n## ", 1)[0]
    direct: dict[str, str] = {}
    for line in section.splitlines():
        match = re.match(r"^    ([a-z_/]+)/\s+(.*)$", line)
        if match:
            arrow = re.search(r"→ ([^;]*)", match[2])
            direct[match[1]] = arrow[1] if arrow else ""
    floors: dict[str, set[str]] = {}
    for room, names in direct.items():  # low to high: what a room names stands above it
        sees = {room}
        for name in filter(None, (name.strip() for name in names.split(","))):
            below = set(floors) if name == "all" else {r for r in floors if name in (r, last_part(r))}
            if name != "all" and len(below) != 1:
                raise ValueError(f"DEVELOPERS.md: {room}/ names {name!r}, which is no floor below it")
            sees |= below.union(*(floors[r] for r in below))
        floors[room] = sees
    if not floors:
        raise ValueError("DEVELOPERS.md: no table under '## Floors'")
    return floors


def last_part(room: str) -> str:
    return room.rsplit("/", 1)[-1]


def room_of(path: str, floors: dict[str, set[str]]) -> str | None:
    """The innermost room that a path lies in, or None."""
    inside = [room for room in floors if path.startswith(room + "/")]
    return max(inside, key=len) if inside else None


def files_below(root: Path, suffixes: set[str]):
    """Every file of ours with one of the suffixes, as (relative path text, path)."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.suffix in suffixes and path.is_file() and not NOT_OURS & set(relative.parts):
            yield relative.as_posix(), path


def includes(path: Path):
    """(line number, included name) of each include directive."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1]


def climbing_includes(root: Path) -> list[str]:
    floors = read_floors(root)
    found = []
    for name, path in files_below(root, SOURCE_SUFFIXES):
        room = room_of(name, floors)
        if room is None:
            continue  # ropesweep.cpp and the tests see all
        for line, included in includes(path):
            other = room_of(included, floors)
            if other is not None and other not in floors[room]:
                found.append(f"{name}:{line}: {room}/ includes {included}: {other}/ is above it")
    return found


def misplaced_headers(root: Path) -> list[str]:
    found = []
    for name, path in files_below(root, SOURCE_SUFFIXES):
        place = name.removeprefix("tests/")
        for line, included in includes(path):
            for pattern, allowed in OUTSIDE_HEADERS.items():
                if re.fullmatch(pattern, included) and not any(
                    place == where or place.startswith(where + "/") for where in allowed
                ):
                    found.append(
                        f"{name}:{line}: {included} may be included in {', '.join(allowed)} only"
                    )
    return found


def long_files(root: Path) -> list[str]:
    found = []
    for name, path in files_below(root, COUNTED_SUFFIXES):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            found.append(f"{name}: {lines} lines; at most {LONGEST_FILE}: split it by subject")
    return found


def undocumented_commands(root: Path) -> list[str]:
    header = (root / "commands/command.h").read_text(encoding="utf-8")
    manual = root / "docs/commands.md"
    text = manual.read_text(encoding="utf-8") if manual.is_file() else ""
    found, previous = [], ""
    for line in header.splitlines():
        match = re.match(r"int (\w+)_command\(", line)
        if match and "Hidden" not in previous and not re.search(rf"\b{match[1]}\b", text):
            found.append(f"docs/commands.md: the command {match[1]!r} is not described")
        previous = line
    return found


def violations(root: Path) -> list[str]:
    """Every break of the rules below `root`, one line each; empty when the house is in order."""
    return (
        climbing_includes(root)
        + misplaced_headers(root)
        + long_files(root)
        + undocumented_commands(root)
    )
