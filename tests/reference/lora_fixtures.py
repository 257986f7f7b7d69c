#!/usr/bin/env python3
"""Makes tests/reference/llama/grouped_tied/lora/: PEFT adapters over that fixture, with PEFT's figures.

Run it with a Python that has torch, transformers, peft and safetensors, after llama_fixtures.py:
    python3 tests/reference/lora_fixtures.py

  adapter/       random A and B on all matrices of a layer, as PeftModel.save_pretrained writes them
  attention/     the same with rank-stabilised scaling, on q and v only
  expected.safetensors   logits.NAME [T, V]; gradient.TENSOR (of adapter/, over one batch)
  expected.json          the batch's loss; ten AdamW steps' losses and gradient norms, dropout 0
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from llama_fixtures import BATCH, HERE, TOKENS, batch_of, mean_loss, token_ids

BASE = HERE / "grouped_tied"
OUT = BASE / "lora"
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEPS = 10
OPTIMIZER = dict(learning_rate=3e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip=1.0)


def adapted(**settings):
    model = LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="sdpa")
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings)
    model = get_peft_model(model, config)
    torch.manual_seed(11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:  # B as well: with zeros A would have no gradient
                weight.normal_(0, 0.15)
    return model


def trained(model):
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model, directory):
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = "../.."  # beside the adapter, wherever the tree lies
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([token_ids(TOKENS, 1)])).logits[0].contiguous()


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    expected, facts = {}, dict(OPTIMIZER, steps=STEPS, losses=[], norms=[])

    narrow = adapted(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj"])
    save_adapter(narrow, OUT / "attention")
    expected["logits.attention"] = logits(narrow)

    model = adapted(r=4, lora_alpha=6, target_modules=MATRICES)
    save_adapter(model, OUT / "adapter")
    expected["logits.adapter"] = logits(model)
    loss = mean_loss(model, *batch_of(0))
    loss.backward()
    facts["gradient_loss"] = float(loss)
    for name, weight in trained(model).items():
        expected["gradient." + name.replace(".default.", ".")] = weight.grad.clone()
    model.zero_grad()

    adamw = torch.optim.AdamW(trained(model).values(), lr=OPTIMIZER["learning_rate"],
                              betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]), eps=OPTIMIZER["epsilon"],
                              weight_decay=OPTIMIZER["weight_decay"])
    for step in range(1, STEPS + 1):
        loss = mean_loss(model, *batch_of(step % 4))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained(model).values(), OPTIMIZER["clip"])
        adamw.step()
        adamw.zero_grad()
        facts["losses"].append(float(loss))
        facts["norms"].append(float(norm))

    facts["batch"] = [BATCH, TOKENS]
    save_file(expected, OUT / "expected.safetensors")
    (OUT / "expected.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
