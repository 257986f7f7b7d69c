#!/usr/bin/env python3
"""PyTorch's speed on the model shapes that ropesweep is measured on, for a comparison side by side.

    pytorch_benchmark.py --shape tiny|smollm2 --work train|losses
        [--batch B] [--tokens T] [--type f32|bf16] [--threads N] [--repeats 3] [--compile yes|no|both]

transformers' LlamaForCausalLM with scaled-dot-product attention and random weights. `train` is a
step: forward, backward, AdamW. `losses` is one pass that gives each token's loss, with logits for a
chunk of rows at a time. In bf16 the weights are bf16 (no f32 masters: the faster choice for PyTorch).
One JSON object goes to standard output: tokens/s of eager and of torch.compile, by the best of the
repeats after one that is not counted, and the better of the two as `best`.
"""

import argparse
import json
import platform
import sys
import time

import torch
import transformers

SHAPES = {
    "tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 344,
        "vocab_size": 1024,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
    "smollm2": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
}
# (shape, work) → sequences, tokens a sequence, number type, unless options say otherwise
DEFAULTS = {
    ("tiny", "train"): (16, 256, "f32"),
    ("tiny", "losses"): (16, 256, "f32"),
    ("smollm2", "train"): (1, 2048, "bf16"),
    ("smollm2", "losses"): (1, 4096, "bf16"),
}
ROWS_A_CHUNK = 512


def make_model(shape: str, dtype: torch.dtype) -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPES[shape], attn_implementation="sdpa", use_cache=False)
    return transformers.LlamaForCausalLM(config).to(dtype)


def training_step(model: torch.nn.Module, ids: torch.Tensor):
    """A function that does one step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()

    return step


def evaluation_pass(model: torch.nn.Module, ids: torch.Tensor):
    """A function that computes the loss of every token but the first."""
    model.eval()
    targets = ids[:, 1:]

    @torch.inference_mode()
    def evaluate():
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        for first in range(0, targets.shape[1], ROWS_A_CHUNK):
            rows = slice(first, first + ROWS_A_CHUNK)
            logits = model.lm_head(hidden[:, rows]).float().flatten(0, 1)
            torch.nn.functional.cross_entropy(logits, targets[:, rows].flatten(), reduction="none")

    return evaluate


def tokens_per_second(run, tokens: int, repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return tokens / min(seconds)


def measure(arguments, compiled: bool) -> float:
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.type]
    model = make_model(arguments.shape, dtype)
    ids = torch.randint(SHAPES[arguments.shape]["vocab_size"], (arguments.batch, arguments.tokens))
    if compiled:
        model.compile() if arguments.work == "train" else model.model.compile()
    make_run = training_step if arguments.work == "train" else evaluation_pass
    return tokens_per_second(make_run(model, ids), ids.numel(), arguments.repeats)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--work", choices=["train", "losses"], required=True)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--type", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", choices=["yes", "no", "both"], default="both")
    arguments = parser.parse_args()
    batch, tokens, dtype = DEFAULTS[arguments.shape, arguments.work]
    arguments.batch = arguments.batch or batch
    arguments.tokens = arguments.tokens or tokens
    arguments.type = arguments.type or dtype
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    result = {key: value for key, value in vars(arguments).items() if key != "compile"}
    result.update(
        engine="pytorch",
        torch=torch.__version__,
        transformers=transformers.__version__,
        machine=platform.machine(),
    )
    for name, compiled in (("eager", False), ("compiled", True)):
        if arguments.compile == ("no" if compiled else "yes"):
            continue
        try:
            result[name] = measure(arguments, compiled)
        except Exception as error:  # torch.compile lacks some machines; say so and go on
            if not compiled:
                raise
            result["compile_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    result["best"] = max(result[name] for name in ("eager", "compiled") if name in result)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
