#!/usr/bin/env python3
"""Perplexity by transformers under ropesweep's own window rules, to hold `ropesweep eval` against.

    transformers_perplexity.py --model DIR --data FILE.jsonl --context-length 4096 \
        [--scheme none|linear|dynamic|yarn] [--scale 2] [--window truncated|sliding] [--stride 256]
        [--documents 1] [--last-tokens 0] [--type f32|bf16] [--threads 1] [--per-token FILE.csv]

One JSON object goes to standard output: sum_nll (natural logarithms), tokens, ppl_token, and what
was run. The rules (docs/commands.md): a window of N positions begins with BOS when the tokenizer
names one, so it holds N − 1 tokens of the document; windows start at 0, S, 2S, …; each token is
scored once, in the first window that holds it. Needs torch and transformers; ropesweep does not.
"""

import argparse
import csv
import json
import sys

import torch
import transformers
from tokenizers import Tokenizer

ROWS_A_CHUNK = 512  # of logits; all at once would be N × V


def windows(tokens: int, room: int, stride: int, truncated: bool):
    """(first token, one past the last, first scored) of each window; `room`: document tokens in it."""
    if truncated or tokens <= room:
        yield 0, min(tokens, room), 0
        return
    scored = 0
    for first in range(0, tokens, stride):
        end = min(first + room, tokens)
        yield first, end, scored
        scored = end
        if end == tokens:
            return


@torch.inference_mode()
def token_losses(model, ids: list[int]) -> list[float]:
    """Natural-log losses of ids[1:], each given all before it; logits in chunks, in f32."""
    inputs = torch.tensor([ids])
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[0]
    losses = []
    for first in range(0, len(ids) - 1, ROWS_A_CHUNK):
        rows = hidden[first : min(first + ROWS_A_CHUNK, len(ids) - 1)]
        targets = inputs[0, first + 1 : first + 1 + len(rows)]
        logits = model.lm_head(rows).float()
        losses += torch.nn.functional.cross_entropy(logits, targets, reduction="none").tolist()
    return losses


def load(arguments) -> transformers.PreTrainedModel:
    """The model with the scheme's rope parameters in place of its own."""
    config = transformers.AutoConfig.from_pretrained(arguments.model)
    if arguments.scheme != "none":
        original = config.max_position_embeddings
        parameters = dict(config.rope_parameters)
        parameters.update(rope_type=arguments.scheme, factor=arguments.scale)
        if arguments.scheme == "yarn":
            parameters["original_max_position_embeddings"] = original
            config.max_position_embeddings = int(original * arguments.scale)
        config.rope_parameters = parameters
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.type]
    return transformers.AutoModelForCausalLM.from_pretrained(
        arguments.model, config=config, dtype=dtype, attn_implementation="sdpa"
    ).eval()


def score_document(model, ids: list[int], bos: int | None, arguments):
    """(position in the document, id, nll) of every scored token."""
    room = arguments.context_length - (bos is not None)
    for first, end, scored in windows(
        len(ids), room, arguments.stride, arguments.window == "truncated"
    ):
        window = ([bos] if bos is not None else []) + ids[first:end]
        first_loss = first if bos is not None else first + 1
        least = max(scored, end - arguments.last_tokens if arguments.last_tokens else 0)
        for offset, nll in enumerate(token_losses(model, window)):
            if first_loss + offset >= least:
                yield first_loss + offset, ids[first_loss + offset], nll


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--scheme", default="none", choices=["none", "linear", "dynamic", "yarn"])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--window", default="truncated", choices=["truncated", "sliding"])
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--documents", type=int, default=1)
    parser.add_argument("--last-tokens", type=int, default=0)
    parser.add_argument("--type", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--per-token", help="CSV: document,position,id,nll")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    model = load(arguments)
    tokenizer = Tokenizer.from_file(f"{arguments.model}/tokenizer.json")
    with open(f"{arguments.model}/tokenizer_config.json", encoding="utf-8") as file:
        bos_token = json.load(file).get("bos_token")
    bos = tokenizer.token_to_id(bos_token) if bos_token else None
    rows = []
    with open(arguments.data, encoding="utf-8") as file:
        for document, line in zip(range(arguments.documents), file):
            ids = tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
            rows += [
                (document, *scored) for scored in score_document(model, ids, bos, arguments)
            ]
    if arguments.per_token:
        with open(arguments.per_token, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["document", "position", "id", "nll"])
            writer.writerows(rows)
    total = sum(nll for *_, nll in rows)
    result = {key: value for key, value in vars(arguments).items() if key != "per_token"}
    result.update(
        sum_nll=total,
        tokens=len(rows),
        ppl_token=float(torch.tensor(total / len(rows), dtype=torch.float64).exp()),
        torch=torch.__version__,
        transformers=transformers.__version__,
    )
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
