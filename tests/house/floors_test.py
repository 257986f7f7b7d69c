"""Holds the source tree to the rules of floors.py, and floors.py to a tree that breaks each of them."""

import tempfile
import unittest
from pathlib import Path

import floors

ROOT = Path(__file__).resolve().parents[2]

DEVELOPERS = """# Working
## Floors
    experiments/           ground
    storage/               → experiments; HDF5
    coordinator/protocol/  → experiments; MPI
    coordinator/           → protocol, storage
    commands/              one file a subcommand → all
    main.cpp               the front door

## Style
"""


class SampleTree:
    """A small source tree in a temporary directory."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory()
        self.root = Path(self._directory.name)
        self.write("DEVELOPERS.md", DEVELOPERS)
        self.write("docs/commands.md", "## plan\nShows the cells.\n")
        self.write("commands/command.h", "int plan_command(const Arguments& arguments);\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def close(self) -> None:
        self._directory.cleanup()


class ThisTree(unittest.TestCase):
    def test_is_in_order(self):
        found = floors.violations(ROOT)
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_floors_are_read(self):
        rooms = floors.read_floors(ROOT)
        self.assertEqual(rooms["worker/backend"], {"worker/backend"})
        self.assertIn("worker/backend", rooms["worker/tasks"])
        self.assertNotIn("storage", rooms["worker"])


class ViolatingTree(unittest.TestCase):
    def setUp(self):
        self.tree = SampleTree()
        self.addCleanup(self.tree.close)

    def found(self) -> list[str]:
        return floors.violations(self.tree.root)

    def assert_one(self, start: str, part: str) -> None:
        found = self.found()
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(start), found[0])
        self.assertIn(part, found[0])

    def test_sample_is_in_order(self):
        self.tree.write("coordinator/a.cpp", '#include "coordinator/protocol/b.h"\n')
        self.tree.write("coordinator/protocol/b.h", "#include <mpi.h>\n")
        self.tree.write("tests/storage/a_test.cpp", "#include <hdf5.h>\n")
        self.tree.write("commands/plan.cpp", '#include "storage/store.h"\n')
        self.assertEqual(self.found(), [])

    def test_climbing_include(self):
        self.tree.write("storage/a.cpp", '// a\n#include "coordinator/b.h"\n')
        self.assert_one("storage/a.cpp:2:", "coordinator/b.h")

    def test_sideways_include(self):
        self.tree.write("coordinator/protocol/a.h", '#include "storage/store.h"\n')
        self.assert_one("coordinator/protocol/a.h:1:", "storage/store.h")

    def test_climb_to_the_room_around(self):
        self.tree.write("coordinator/protocol/a.h", '#include "coordinator/b.h"\n')
        self.assert_one("coordinator/protocol/a.h:1:", "coordinator/b.h")

    def test_misplaced_headers(self):
        for header in ["mpi.h", "hdf5.h", "cuda_runtime.h", "boost/program_options.hpp"]:
            with self.subTest(header=header):
                self.tree.write("experiments/a.h", f"# include <{header}>\n")
                self.assert_one("experiments/a.h:1:", header)

    def test_misplaced_header_in_a_test(self):
        self.tree.write("tests/coordinator/a_test.cpp", "#include <mpi.h>\n")
        self.assert_one("tests/coordinator/a_test.cpp:1:", "mpi.h")

    def test_long_file(self):
        self.tree.write("storage/a.cpp", "\n" * 501)
        self.assert_one("storage/a.cpp:", "501 lines")
        self.tree.write("storage/a.cpp", "\n" * 500)
        self.assertEqual(self.found(), [])

    def test_undocumented_command(self):
        self.tree.write(
            "commands/command.h",
            "int plan_command(const Arguments& arguments);\n"
            "int status_command(const Arguments& arguments);\n"
            "/// Hidden: a child.\nint runner_command(const Arguments& arguments);\n",
        )
        self.assert_one("docs/commands.md:", "'status'")

    def test_unknown_floor_is_an_error(self):
        self.tree.write("DEVELOPERS.md", DEVELOPERS.replace("protocol, storage", "atic, storage"))
        with self.assertRaisesRegex(ValueError, "atic"):
            self.found()


if __name__ == "__main__":
    unittest.main()
