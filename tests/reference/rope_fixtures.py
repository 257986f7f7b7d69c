"""Makes tests/reference/rope/: what tests/experiments/position_encoding_test.cpp compares with.

exact.json         maps from the formulas in 50-digit arithmetic (mpmath), rounded once to a double,
                   and cosines and sines of a few angles
hugging_face.json  inverse frequencies of transformers in float32, bits in hexadecimal, from a
                   process limited to AVX2 and one with AVX-512 (PyTorch's last bits differ)

Run with a Python that has torch, transformers and mpmath; hugging_face.json needs an AVX-512 machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import mpmath as mp

mp.mp.dps = 50
OUTPUT = Path(__file__).parent / "rope"

SHAPES = [(128, 10000, 4096), (64, 100000, 8192), (96, 500000, 2048), (32, 10000, 256)]
# scheme text, scale, current length in original lengths
EXACT = [
    ("none", 1, 1), ("linear", 4, 1), ("linear", 3.7, 1), ("ntk", 4, 1), ("ntk", 2.5, 1),
    ("dynamic-ntk", 2, 1), ("dynamic-ntk", 2, 3), ("dynamic-ntk", 1, 2.5),
    ("dynamic-ntk(factor=4)", 1, 2), ("yarn", 16, 1), ("yarn", 2, 1),
    ("yarn(beta_fast=20, beta_slow=2, truncate=false)", 4, 1), ("yarn(attention_factor=1.5)", 4, 1),
    ("yarn(mscale=0.7, mscale_all_dim=1.2)", 8, 1), ("power(0.5)", 1, 1), ("power(2)", 1, 1),
    ("truncated", 1, 1), ("truncated(1000)", 1, 1),
]  # fmt: skip
POSITIONS = [0, 1, 1000, 16383, 131071]


def parse(text):
    """Name and options of a scheme's text."""
    name, _, rest = text.partition("(")
    options, positional = {}, []
    for part in filter(None, rest.rstrip(")").split(", ")):
        key, equals, value = part.partition("=")
        if equals:
            options[key] = value
        else:
            positional.append(part)
    return name, options, positional


def yarn(shape, scale, options):
    dim, base, original = shape
    correction = lambda turns: dim * mp.log(original / (turns * 2 * mp.pi)) / (2 * mp.log(base))
    low = correction(mp.mpf(options.get("beta_fast", "32")))
    high = correction(mp.mpf(options.get("beta_slow", "1")))
    if options.get("truncate", "true") == "true":
        low, high = mp.floor(low), mp.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += mp.mpf("0.001")
    frequencies = []
    for i in range(dim // 2):
        theta = mp.power(base, mp.mpf(-2 * i) / dim)
        ramp = min(max((i - low) / (high - low), 0), 1)
        frequencies.append((1 - ramp) * theta + ramp * theta / scale)
    magnitude = lambda m: mp.mpf("0.1") * mp.mpf(m) * mp.log(scale) + 1
    if "attention_factor" in options:
        factor = mp.mpf(options["attention_factor"])
    elif "mscale" in options:
        factor = magnitude(options["mscale"]) / magnitude(options["mscale_all_dim"])
    else:
        factor = magnitude(1)
    return frequencies, factor


def exact_map(text, scale, shape, length):
    name, options, positional = parse(text)
    dim, base, original = shape
    scale = mp.mpf(str(scale))
    exponent = mp.mpf(dim) / (dim - 2)
    powers = lambda b: [mp.power(b, mp.mpf(-2 * i) / dim) for i in range(dim // 2)]
    if name == "none":
        return powers(base), 1
    if name == "linear":
        return [theta / scale for theta in powers(base)], 1
    if name == "ntk":
        return powers(base * mp.power(scale, exponent)), 1
    if name == "dynamic-ntk":
        factor = mp.mpf(options.get("factor", scale))
        stretch = factor * max(length, original) / original - (factor - 1)
        return powers(base * mp.power(stretch, exponent)), 1
    if name == "yarn":
        return yarn(shape, scale, options)
    if name == "power":
        k = mp.mpf(positional[0])
        return [t * mp.power(1 - mp.mpf(i) / (dim // 2), k) for i, t in enumerate(powers(base))], 1
    cut = 2 * mp.pi / mp.mpf(positional[0] if positional else original)
    return [t if t >= cut else cut / 16 if t >= cut / 8 else 0 for t in powers(base)], 1


def write_exact():
    cases = []
    for shape in SHAPES:
        for text, scale, lengths in EXACT:
            length = int(lengths * shape[2])
            frequencies, factor = exact_map(text, scale, shape, length)
            case = {"scheme": text, "scale": scale, "head_dim": shape[0], "base": shape[1]}
            case |= {"original_length": shape[2], "length": length}
            case |= {"inv_freq": [float(f) for f in frequencies], "attention_factor": float(factor)}
            if shape == SHAPES[0]:
                pair = 5
                angles = [m * frequencies[pair] for m in POSITIONS]
                case |= {"pair": pair, "positions": POSITIONS}
                case |= {"cos": [float(factor * mp.cos(a)) for a in angles]}
                case |= {"sin": [float(factor * mp.sin(a)) for a in angles]}
            cases.append(case)
    write("exact.json", cases)


# rope type, options, factor, current length
HUGGING_FACE = [
    ("default", {}, 1.0, 0), ("linear", {}, 3.0, 0), ("dynamic", {}, 2.0, 9000),
    ("dynamic", {}, 2.0, 1000), ("yarn", {}, 16.0, 0), ("yarn", {}, 3.7, 0),
    ("yarn", {"beta_fast": 20.0, "truncate": False}, 4.0, 0),
    ("yarn", {"mscale": 0.7, "mscale_all_dim": 1.2}, 4.0, 0),
]  # fmt: skip
NAMES = {"default": "none", "linear": "linear", "dynamic": "dynamic-ntk", "yarn": "yarn"}
ORIGINAL = 4096


def hugging_face_cases():
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    cases = []
    for dim in (32, 64, 96, 128, 256):
        for base in (10000.0, 500000.0, 12345.6):
            for kind, options, factor, length in HUGGING_FACE:
                rope = {"rope_type": kind, "rope_theta": base} | options
                longest = ORIGINAL
                if kind != "default":
                    rope["factor"] = factor
                if kind == "yarn":
                    rope["original_max_position_embeddings"] = ORIGINAL
                    longest = round(ORIGINAL * factor)
                config = LlamaConfig(hidden_size=2 * dim, num_attention_heads=2, head_dim=dim,
                                     max_position_embeddings=longest, rope_parameters=rope)  # fmt: skip
                if kind == "default":
                    inv_freq, attention_factor = LlamaRotaryEmbedding(config).inv_freq, 1.0
                else:
                    more = {"seq_len": length} if kind == "dynamic" else {}
                    inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", **more)
                written = ", ".join(f"{k}={str(v).lower()}" for k, v in options.items())
                cases.append({
                    "scheme": NAMES[kind] + (f"({written})" if written else ""),
                    "scale": factor, "head_dim": dim, "base": base, "original_length": ORIGINAL,
                    "length": length, "attention_factor": attention_factor,
                    "inv_freq": inv_freq.numpy().astype(">f4").tobytes().hex(),
                })  # fmt: skip
    return cases


def write_hugging_face():
    both = {}
    for capability in ("avx2", "avx512"):
        environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
        command = [sys.executable, __file__, "--hugging-face"]
        both[capability] = json.loads(subprocess.check_output(command, env=environment))
    # AVX2 differs in single bits: only what differs is kept.
    both["avx2"] = [a for a, b in zip(both["avx2"], both["avx512"]) if a != b]
    write("hugging_face.json", both)


def write(name, content):
    """One case a line."""
    dump = lambda value: json.dumps(value, separators=(",", ":"))
    lines = lambda cases: "[\n" + ",\n".join(map(dump, cases)) + "\n]"
    if isinstance(content, dict):
        text = "{" + ",\n".join(f'"{k}":{lines(v)}' for k, v in content.items()) + "}"
    else:
        text = lines(content)
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / name).write_text(text + "\n")


if __name__ == "__main__":
    if "--hugging-face" in sys.argv:
        print(json.dumps(hugging_face_cases()))
    else:
        write_exact()
        write_hugging_face()
