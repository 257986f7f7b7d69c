#!/usr/bin/env python3
"""Makes tests/reference/llama/: small random Llamas with transformers' and PyTorch's figures inside.

Run it with a Python that has torch, transformers and safetensors:  python3 tests/reference/llama_fixtures.py

Per shape (multi_head, grouped_tied, head_96):
  SHAPE/config.json, model.safetensors     the model; bf16 numbers, so that f32 and bf16 start equal
  SHAPE/expected.safetensors               logits.SCHEME.LENGTH [positions, V] in f32; gradient.WEIGHT
  SHAPE/expected.json                      positions; PyTorch's own bf16 deviation; AdamW losses and norms
types/{f32,bf16,f16,sharded}/              one tiny model, equal in all storage types

Token ids come from a linear congruential generator that the C++ tests have too (`token_ids`).
"""

import json
import math
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).resolve().parent / "llama"
VOCABULARY = 96
ORIGINAL = 256
SHAPES = {
    "multi_head": dict(hidden_size=64, num_attention_heads=2, num_key_value_heads=2, head_dim=32),
    "grouped_tied": dict(hidden_size=72, num_attention_heads=9, num_key_value_heads=3, head_dim=32,
                         tie_word_embeddings=True),
    "head_96": dict(hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=96),
}
SCHEMES = {
    "none": None,
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic-ntk": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL},
}
LENGTHS = [32, 257, 1024, 4096]
STEPS, BATCH, TOKENS = 20, 2, 48
OPTIMIZER = dict(learning_rate=3e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip=1.0,
                 warmup_steps=5, schedule="cosine")


def token_ids(count, seed):
    """x ← (1103515245 x + 12345) mod 2^31; the id is x / 2^16 mod V."""
    ids, x = [], seed
    for _ in range(count):
        x = (1103515245 * x + 12345) % 2**31
        ids.append((x >> 16) % VOCABULARY)
    return ids


def make_model(shape, layers=2, intermediate=96, vocabulary=VOCABULARY):
    torch.manual_seed(7)
    config = LlamaConfig(num_hidden_layers=layers, intermediate_size=intermediate,
                         vocab_size=vocabulary, max_position_embeddings=ORIGINAL,
                         rms_norm_eps=1e-5, rope_theta=10000.0, attn_implementation="sdpa",
                         bos_token_id=1, eos_token_id=2, **shape)
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:  # wide enough that attention is far from uniform
                weight.normal_(0, 1.3 / math.sqrt(weight.shape[1]))
            else:
                weight.normal_(1, 0.2)
            weight.copy_(weight.bfloat16().float())
    return model


def with_scheme(model, keys):
    """The same weights under other positions, of whatever family (family_fixtures.py)."""
    config = type(model.config).from_dict(model.config.to_dict())
    config._attn_implementation = "sdpa"
    share = {key: value for key, value in (config.rope_parameters or {}).items()
             if key == "partial_rotary_factor"}
    config.rope_parameters = {"rope_theta": 10000.0, "rope_type": "default", **share, **(keys or {})}
    if keys and keys["rope_type"] == "yarn":
        config.max_position_embeddings = int(keys["factor"] * ORIGINAL)
    other = type(model)(config).float()
    other.load_state_dict(model.state_dict())
    return other.eval()


def in_bf16(model):
    """As from_pretrained(dtype=bfloat16) does it: the frequencies stay in f32."""
    frequencies = model.base_model.rotary_emb
    model.base_model.rotary_emb = None
    model = model.bfloat16()
    model.base_model.rotary_emb = frequencies
    return model


def logit_figures(model, expected, facts):
    facts["positions"], facts["bf16_deviation"] = {}, {}
    for scheme, keys in SCHEMES.items():
        for length in LENGTHS:
            ids = torch.tensor([token_ids(length, 1)])
            with torch.no_grad():
                exact = with_scheme(model, keys)(ids).logits[0]
                rounded = in_bf16(with_scheme(model, keys))(ids).logits[0].float()
            positions = sorted({0, 1, length // 3, length // 2, length - 2, length - 1})
            key = f"{scheme}.{length}"
            expected[f"logits.{key}"] = exact[positions].contiguous()
            facts["positions"][str(length)] = positions
            chosen = exact[positions]
            facts["bf16_deviation"][key] = float((rounded[positions] - chosen).norm() / chosen.norm())


def batch_of(step):
    ids = torch.tensor(token_ids(BATCH * TOKENS, 100 + step)).view(BATCH, TOKENS)
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:]
    return ids, targets


def mean_loss(model, ids, targets):
    logits = model(ids).logits
    return torch.nn.functional.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1),
                                             ignore_index=-100)


def gradients_of(model, own_names):
    """By the names that named_tensors gives them."""
    return dict(pair for name, weight in model.named_parameters()
                for pair in own_names(name, weight.grad.float()))


def gradient_figures(model, expected, facts, own_names=lambda name, gradient: [(name, gradient)]):
    model = with_scheme(model, SCHEMES["yarn"])
    loss = mean_loss(model, *batch_of(0))
    loss.backward()
    facts["gradient_loss"] = float(loss)
    exact = gradients_of(model, own_names)
    for name, gradient in exact.items():
        expected[f"gradient.{name}"] = gradient.clone().contiguous()
    rounded = in_bf16(with_scheme(model, SCHEMES["yarn"]))
    mean_loss(rounded, *batch_of(0)).backward()
    facts["bf16_gradient_deviation"] = {
        name: float((gradient - exact[name]).norm() / exact[name].norm())
        for name, gradient in gradients_of(rounded, own_names).items()}


def rate_at(step):
    """Warm-up min(1, step / warmup), then cosine to zero; steps count from 1."""
    warmup = OPTIMIZER["warmup_steps"]
    if step < warmup:
        return OPTIMIZER["learning_rate"] * step / warmup
    progress = (step - warmup) / (STEPS - warmup)
    return OPTIMIZER["learning_rate"] * 0.5 * (1 + math.cos(math.pi * progress))


def training_figures(model, facts):
    model = with_scheme(model, None).train()
    matrices = [w for w in model.parameters() if w.dim() == 2]
    vectors = [w for w in model.parameters() if w.dim() != 2]
    adamw = torch.optim.AdamW([{"params": matrices, "weight_decay": OPTIMIZER["weight_decay"]},
                               {"params": vectors, "weight_decay": 0.0}],
                              betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]), eps=OPTIMIZER["epsilon"])
    facts["training"] = dict(OPTIMIZER, steps=STEPS, losses=[], norms=[])
    for step in range(1, STEPS + 1):
        for group in adamw.param_groups:
            group["lr"] = rate_at(step)
        loss = mean_loss(model, *batch_of(step % 4))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["clip"])
        adamw.step()
        adamw.zero_grad()
        facts["training"]["losses"].append(float(loss))
        facts["training"]["norms"].append(float(norm))


def save_model(model, directory, dtype, **options):
    shutil.rmtree(directory, ignore_errors=True)
    model = model.to(dtype)
    model.save_pretrained(directory, **options)
    (directory / "generation_config.json").unlink(missing_ok=True)


def main():
    torch.set_num_threads(1)
    for name, shape in SHAPES.items():
        model = make_model(shape)
        expected, facts = {}, {}
        logit_figures(model, expected, facts)
        gradient_figures(model, expected, facts)
        training_figures(model, facts)
        save_model(model, HERE / name, torch.bfloat16)
        save_file(expected, HERE / name / "expected.safetensors")
        (HERE / name / "expected.json").write_text(json.dumps(facts, indent=1) + "\n")

    tiny = make_model(dict(hidden_size=32, num_attention_heads=1, num_key_value_heads=1, head_dim=32),
                      layers=1, intermediate=32, vocabulary=32)
    with torch.no_grad():
        for weight in tiny.parameters():  # exact in every type
            weight.copy_((weight.clamp(-1, 1) * 64).round() / 64)
    for name, dtype in {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}.items():
        save_model(tiny, HERE / "types" / name, dtype)
    save_model(tiny.float(), HERE / "types" / "sharded", torch.float32, max_shard_size="12KB")


if __name__ == "__main__":
    main()
