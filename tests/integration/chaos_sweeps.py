"""The sweeps that chaos_test.py disturbs: small, and with a bit of everything that a kill can hit."""

import dataclasses
import json
import random
import re

from sweep_runs import ROOT


@dataclasses.dataclass
class Kind:
    text: str
    workers: tuple  # numbers to choose from; the first suffices
    chance: int  # of being the next


# Training and scoring from files, whose token caches are built while the run is disturbed; validation; a LoRA stage;
# one recipe that diverges, one that is compared with its siblings; retrieval of several samples.
ALL_KINDS = """
name = "tiny"
[model]
path = "model"
[axes]
scheme         = ["none", "linear", "yarn"]
train_scale    = 2
context_length = [96, 128]
dataset        = ["text", "wiki", "passkey"]
recipe         = ["base", "pairs", "abandoned", "hot"]
[[exclude]]
recipe = ["abandoned", "hot"]
scheme = "yarn"
[recipes.base]
init           = "model/config.json"
data           = "training.jsonl"
validation     = "validation.jsonl"
validate_every = 20
context_length = 64
steps          = 100
batch_tokens   = 512
learning_rate  = 1e-3
save_every     = 10
train_scale    = 1
[recipes.pairs]
from           = "base"
data           = "mix"
context_length = 96
steps          = 40
batch_tokens   = 384
learning_rate  = 1e-2
save_every     = 8
lora           = { rank = 2, alpha = 4, dropout = 0.1 }
[recipes.abandoned]
from           = "base"
data           = "training.jsonl"
context_length = 96
steps          = 40
batch_tokens   = 384
learning_rate  = 1e-3
save_every     = 8
stop_if        = { above_median_of = 1, after = 30 }
[recipes.hot]
from           = "base"
data           = "training.jsonl"
context_length = 96
steps          = 40
batch_tokens   = 384
learning_rate  = 1e-3
stop_if        = { loss_above = 1, after = 10 }
[datasets.mix]
kind      = "synthetic-mix"
samples   = 20
data_seed = 11
[datasets.text]
kind   = "text"
path   = "validation.jsonl"
stride = 16
[datasets.wiki]
kind      = "synthetic-wiki"
window    = "truncated"
samples   = 6
data_seed = 21
[datasets.passkey]
kind           = "passkey"
samples        = 12
data_seed      = 22
max_new_tokens = 16
keep_samples   = true
[workers]
device  = "cpu"
type    = "f32"
threads = 1
[limits]
crash_limit = 1000
"""


def demo_short():
    """The demonstration's short form, which takes about a minute, saving often."""
    text = (ROOT / "experiments" / "sweeps" / "demo-short.toml").read_text()
    text = text.replace('"../tiny/model"', json.dumps(str(ROOT / "experiments/tiny/model")))
    text = text.replace('name = "demo-short"', 'name = "tiny"')
    # Fine-tunes that last longer than the time between two kills come further only if they save.
    text = re.sub(r"(\[recipes\.[^\]]+\]\n)", r"\1save_every = 2\n", text)
    return text + "threads = 1\n[limits]\ncrash_limit = 1000\n"


KINDS = {
    "all-kinds": Kind(ALL_KINDS, (1, 2, 3), 6),
    "groups": Kind(ALL_KINDS.replace("[workers]", "[workers]\ngpus_per_task = 2"), (2, 4), 3),
    "demo-short": Kind(demo_short(), (2, 4), 1),
}


def write_data(directory):
    """Texts of made-up sentences, the same each time."""
    rnd = random.Random(5)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te", "vo") for b in ("da", "ne", "sil", "tor", "x")]
    for name, documents in (("training", 400), ("validation", 8)):
        lines = []
        for _ in range(documents):
            sentences = [" ".join(rnd.choices(words, k=rnd.randint(4, 12))).capitalize() + "."
                         for _ in range(rnd.randint(3, 20))]
            lines.append(json.dumps({"text": " ".join(sentences)}))
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
