#!/usr/bin/env python3
"""Files from elsewhere are checked before they are believed: each of these, read by the real program under a
memory limit, must end in one clear line and exit code 1 or 2, never in a crash or a giant allocation, and
must touch nothing outside of its directory.

    hostile_files_test.py --binary build/release/ropesweep [--only NAME] [--go-on]"""

import argparse
import gzip
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ROOT / "experiments" / "tiny" / "model"
SENTENCEPIECE = ROOT / "tests" / "reference" / "tokenizer" / "sentencepiece"
STORE_MAGIC = b"ropeswpJ"
# What the program needs by itself, with a model of a few MB, and room for one record (256 MiB) twice.
MEMORY = 3 << 29


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def nested(depth=400_000, left="[", right="]"):
    return left * depth + right * depth


def edited(file, **changes):
    value = json.loads((TINY / file).read_text())
    value.update(changes)
    return json.dumps(value)


def tokenizer_with(change):
    value = json.loads((TINY / "tokenizer.json").read_text())
    change(value)
    return json.dumps(value)


def cbor(value):
    """Enough of CBOR for events."""
    if isinstance(value, dict):
        return cbor_head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    return cbor_head(0, value)


def cbor_head(major, number):
    return bytes([major << 5 | 27]) + struct.pack(">Q", number)


def journal(record=b"", frame_length=None, record_length=None):
    """One frame with one record, checksums right."""
    identity = bytes(16)
    version = struct.pack("<I", 1)
    header = STORE_MAGIC + version + struct.pack("<I", zlib.crc32(version + identity)) + identity
    payload = struct.pack("<I", len(record) if record_length is None else record_length) + record
    length = struct.pack("<Q", len(payload) if frame_length is None else frame_length)
    crc = struct.pack("<I", zlib.crc32(length + payload))
    return header + struct.pack("<I", 0x46575352) + crc + length + payload


def h5_files():
    """Name → what fills an HDF5 file; none where there is no h5py (the report's, install.sh)."""
    try:
        import h5py
        import numpy
    except ImportError:
        return {}

    def stamped(file, version=1):
        file.attrs["schema_version"] = numpy.int64(version)
        return file.create_group("attempts")

    def rows(count, kind):
        return lambda file: stamped(file).create_dataset("task", (count,), kind, chunks=(min(count, 1024),))

    def attribute(name, value, kind=None):
        def fill(file):
            stamped(file)
            file.attrs.create(name, value, dtype=kind)
        return fill

    text = h5py.string_dtype()
    return {
        "rows-2^40": rows(1 << 40, text),
        "rows-2^28": rows(1 << 28, text),
        "rows-of-numbers": rows(4, "f8"),
        "rows-of-compounds": rows(4, numpy.dtype([("a", "i4"), ("b", "f8")])),
        "version-array": attribute("schema_version", numpy.ones(6000, "i8")),
        "version-text": attribute("schema_version", "1"),
        "version-newer": attribute("schema_version", numpy.int64(1 << 40)),
        "table-no-group": lambda file: (stamped(file), file.pop("attempts"), file.create_dataset("attempts", data=[1, 2])),
        "nothing": lambda file: None,
    }


def h5_file(fill):
    import h5py
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file.h5")
        with h5py.File(path, "w") as file:
            fill(file)
        return pathlib.Path(path).read_bytes()


class Cases:
    """Name → (command, files to write over the model's directory; None removes one)."""

    def __init__(self):
        self.all = {}
        self.weights()
        self.configs()
        self.tokenizers()
        self.data()
        self.stores()

    def model(self, name, files, *command):
        command = command or ("generate", "--model", "model", "--prompt", "a", "--max-new-tokens", "1")
        self.all[name] = (command, {f"model/{file}": content for file, content in files.items()})

    def weights(self):
        whole = "model.safetensors"
        names = {
            "header-length-2^63": struct.pack("<Q", 1 << 63) + b"{}",
            "header-longer-than-the-file": struct.pack("<Q", 99_000_000) + b"{}",
            "header-nested": safetensors(nested().encode()),
            "header-no-object": safetensors(b"[]"),
            "header-cut": b"\x01\x02",
            "shape-overflow": safetensors({"a": tensor([1 << 62, 1 << 62, 4], 0, 0)}),
            "shape-wraps-to-size": safetensors({"a": tensor([1 << 32, 1 << 32], 0, 4)}, b"abcd"),
            "shape-negative": safetensors({"a": tensor([-1, -4], 0, 16)}, bytes(16)),
            "shape-text": safetensors({"a": tensor(["9"], 0, 4)}, bytes(4)),
            "shape-huge-number": safetensors(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', bytes(4)),
            "offsets-overlap": safetensors({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, bytes(24)),
            "offsets-backwards": safetensors({"a": tensor([4], 16, 0)}, bytes(16)),
            "offsets-overflow": safetensors({"a": tensor([4], (1 << 64) - 16, (1 << 64) - 1)}, bytes(16)),
            "offsets-negative": safetensors({"a": tensor([4], -16, 0)}, bytes(16)),
            "type-unknown": safetensors({"model.embed_tokens.weight": tensor([4], 0, 16, "F7")}, bytes(16)),
        }
        for name, content in names.items():
            self.model(f"safetensors-{name}", {whole: content})
        for name, shard in {"climbs": "../secret", "absolute": "/etc/passwd", "below": "a/b", "dots": "..",
                            "empty": "", "nul": "a\0b", "directory": "."}.items():
            index = {"weight_map": {"model.embed_tokens.weight": shard}}
            self.model(f"index-{name}", {whole: None, "model.safetensors.index.json": json.dumps(index)})
        self.model("index-nested", {whole: None, "model.safetensors.index.json": '{"weight_map":' + nested() + "}"})

    def configs(self):
        for key, value in (("hidden_size", 1 << 40), ("vocab_size", 1 << 40), ("num_hidden_layers", 10**9),
                           ("num_attention_heads", 1 << 31), ("num_key_value_heads", 0), ("head_dim", 1 << 50),
                           ("intermediate_size", 1 << 62), ("hidden_size", -64),
                           ("num_hidden_layers", 1.5), ("rms_norm_eps", "x"),
                           ("rope_parameters", {"rope_type": "default", "rope_theta": -1}), ("model_type", nested(5, "[", "]"))):
            self.model(f"config-{key}-{str(value)[:12]}", {"config.json": edited("config.json", **{key: value})})
        self.model("config-nested", {"config.json": '{"x":' + nested() + "}"})
        self.model("config-layers-from-nothing", {"config.json": edited("config.json", num_hidden_layers=10**9)},
                   "finetune", "--init", "model/config.json", "--data", "text.jsonl", "--output", "out",
                   "--context-length", "16", "--steps", "1", "--batch-tokens", "16", "--learning-rate", "1e-3")

    def tokenizers(self):
        def added(i):
            return lambda t: t["added_tokens"].append({"id": i, "content": "<x>", "special": True})

        def vocab(i):
            return lambda t: t["model"]["vocab"].update({"zzzz": i})

        changes = {"added-id-2^31": added(2**31 - 1), "added-id-negative": added(-5), "vocab-id-2^31": vocab(2**31 - 1),
                   "vocab-id-2^40": vocab(2**40), "vocab-text": vocab("x"),
                   "merges-unknown": lambda t: t["model"]["merges"].insert(0, "qqqq wwww"),
                   "merges-numbers": lambda t: t["model"].update(merges=[1, 2]),
                   "no-model": lambda t: t.pop("model")}
        for name, change in changes.items():
            self.model(f"tokenizer-{name}", {"tokenizer.json": tokenizer_with(change)})
        self.model("tokenizer-nested", {"tokenizer.json": '{"model":' + nested() + "}"})
        piece = (SENTENCEPIECE / "tokenizer.model").read_bytes()
        settings = {"tokenizer.json": None}
        for name, content in {"cut": piece[:5000], "zeros": bytes(1 << 16), "length": b"\x0a\xff\xff\xff\xff\x0f" + piece,
                              "text": b"hello" * 1000}.items():
            self.model(f"sentencepiece-{name}", {**settings, "tokenizer.model": content})
        huge = {"added_tokens_decoder": {str(2**31 - 1): {"content": "<x>", "special": True}}}
        self.model("sentencepiece-added-id", {**settings, "tokenizer.model": piece,
                                              "tokenizer_config.json": json.dumps(huge)})
        self.model("sentencepiece-added-file", {**settings, "tokenizer.model": piece, "tokenizer_config.json": "{}",
                                                "added_tokens.json": json.dumps({"<x>": 2**31 - 1})})

    def data(self):
        def text(name, content, suffix="jsonl"):
            file = f"data.{suffix}"
            self.all[f"data-{name}"] = (("eval", "--model", "model", "--task", "perplexity", "--data", file,
                                         "--context-length", "16"), {file: content})

        text("line-without-end", lambda: gzip.compress(b'{"text": "' + b"a" * (1 << 29), 1), "jsonl.gz")
        text("element-without-end", lambda: gzip.compress(b'[{"text": "' + b"a" * (1 << 29), 1), "json.gz")
        text("zstd-window", b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00abc", "jsonl.zst")
        text("zstd-cut", b"\x28\xb5\x2f\xfd", "jsonl.zst")
        text("gzip-cut", gzip.compress(b'{"text": "hello"}\n' * 1000)[:-20], "jsonl.gz")
        text("nested", '{"text": ' + nested() + "}\n")
        text("nested-maps", '{"text": ' + nested(400_000, '{"a":', "}").replace(":}", ":1}") + "}\n")
        text("numbers", '{"text": 1e99999}\n')
        text("no-utf8", b'{"text": "\xff\xfe"}\n')

    def stores(self):
        def event(**fields):
            return cbor([1, fields])

        nothing = {"cells": [], "fine_tunes": []}
        journals = {
            "frame-length": journal(b"x", frame_length=1 << 62),
            "record-length": journal(b"x", record_length=0xFFFFFFFF),
            "cbor-array-length": journal(b"\x9b" + b"\x7f" + b"\xff" * 7),
            "cbor-text-length": journal(b"\x82\x01\x7b" + b"\x7f" + b"\xff" * 7),
            "cbor-nested": journal(b"\x81" * 2_000_000),
            "cbor-nested-texts": journal(b"\x82\x01" + b"\x7f" * 2_000_000),
            "event-unknown": journal(event(event="nonsense")),
            "event-wrong-types": journal(event(event="planned", cells="x", fine_tunes=7)),
            "version-newer": journal(cbor([99, {"event": "planned", **nothing}])),
        }
        for name, content in journals.items():
            for command in (("query", "t.h5"), ("check", "t.h5"), ("rerun", "t.h5", "--failed"), ("status", "t.h5")):
                self.all[f"journal-{name}-{command[0]}"] = (command, {"t.d/journal": content})
        for name, content in {"text": b"no HDF5", "magic-only": b"\x89HDF\r\n\x1a\n" + bytes(200)}.items():
            self.all[f"h5-{name}"] = (("query", "t.h5"), {"t.h5": content})
        for name, fill in h5_files().items():
            self.all[f"h5-{name}"] = (("query", "t.h5"), {"t.h5": lambda fill=fill: h5_file(fill)})


# Found to be no damage: a torn tail of the journal was never acknowledged.
ACCEPTED = {f"journal-frame-length-{command}" for command in ("query", "check", "rerun", "status")}


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content() if callable(content) else content
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def problem_of(binary, directory, command, accepted):
    try:
        run = subprocess.run([binary, *command], cwd=directory, preexec_fn=limit, capture_output=True, timeout=300,
                             env=dict(os.environ, OMP_NUM_THREADS="1"), stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "no end within 300 s", ""
    text = run.stderr.decode(errors="replace")
    if run.returncode not in ((0, 1, 2) if accepted else (1, 2)):
        return f"exit code {run.returncode}", text
    if run.returncode and ("out of memory" in text or "bad_alloc" in text or "terminate" in text):
        return "it believed a size", text
    if run.returncode and not run.stdout and "ropesweep: " not in text:
        return "no line that says what is wrong", text
    if (directory.parent / "secret").read_text() != "secret":
        return "something outside was changed", text
    return "", text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--go-on", action="store_true", help="print what fails and go on")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    binary = str(pathlib.Path(options.binary).resolve())
    bad, count = 0, 0
    with tempfile.TemporaryDirectory(prefix="ropesweep-hostile-") as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "secret").write_text("secret")
        for name, (command, files) in Cases().all.items():
            if not name.startswith(options.only):
                continue
            count += 1
            directory = scratch / "case"
            directory.mkdir()
            shutil.copytree(TINY, directory / "model")
            (directory / "text.jsonl").write_text('{"text": "hello hello hello hello hello hello"}\n')
            write(directory, files)
            problem, text = problem_of(binary, directory, command, name in ACCEPTED)
            if problem or options.verbose:
                print(f"{'FAILED: ' if problem else ''}{name}: {problem}\n    {text.strip()[:600]}", flush=True)
            bad += bool(problem)
            if problem and not options.go_on:
                sys.exit(1)
            shutil.rmtree(directory)
    print(f"{count} hostile files: {bad} failed")
    sys.exit(1 if bad or not count else 0)


if __name__ == "__main__":
    main()
