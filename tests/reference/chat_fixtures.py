"""Writes what transformers' apply_chat_template makes of tests/reference/chat/templates.json into the same file.

The file holds chat templates as checkpoints were published with them: `name`, `template`, `bos`, `eos`, and `end`, the
marker behind an answer. This adds `cases`: for each conversation with and without a system message the text, or
`refused` where the template raises. Run with a Python that has transformers.
"""

import json
from pathlib import Path

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

FILE = Path(__file__).parent / "chat" / "templates.json"
# Llama 3.2's own date where it isn't told of another; without it, transformers takes today's.
DATE = "26 Jul 2024"
TURNS = [
    ["Hi"],
    ["Hi", "Hello!"],
    ["  Why 'x' \"y\" \\n? \n", " Because\u00e9.\n", "And <b>?", "So.", "So?"],
    ["Hi", "Hello!", "Why?", "Because."],
]


def messages_of(system, turns):
    messages = [{"role": "system", "content": system}] if system else []
    return messages + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]


def case_of(tokenizer, entry, system, turns):
    case = {"system": system, "turns": turns}
    try:
        case["text"] = tokenizer.apply_chat_template(
            messages_of(system, turns), chat_template=entry["template"], tokenize=False,
            add_generation_prompt=len(turns) % 2 == 1, date_string=DATE)
    except jinja2.exceptions.TemplateError as error:
        case["refused"] = str(error)
    return case


def main():
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    for entry in entries:
        tokens = {key: entry[short] for key, short in (("bos_token", "bos"), ("eos_token", "eos")) if entry[short]}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **tokens)
        entry["cases"] = [case_of(tokenizer, entry, system, turns)
                          for system in ("", "Be brief. ") for turns in TURNS]
    FILE.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
