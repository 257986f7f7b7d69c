"""Fixtures of tokenizer_test: mixed text and what the package `tokenizers` makes of it.

    python3 tests/reference/tokenizer_fixtures.py      (tokenizers 0.23)

writes, under tests/reference/tokenizer/:
  lines.bin              10,000 lines, each a little-endian uint16 length and that many bytes (some of
                         them not UTF-8: those are decoded with errors="replace" before encoding)
  digits/, split/        tokenizers trained here: pre-tokenizers as SmolLM2's and as Llama 3's
  digits.ids, split.ids, tiny.ids
                         FNV-1a (32 bits) of each line's ids as little-endian int32, one after the other;
                         tiny: experiments/tiny
  samples.json           whole ids of every hundredth line, for messages and for decoding
  variants.json          small cases: fields changed in digits/tokenizer.json, texts, ids
"""

import copy
import json
import pathlib
import random
import struct

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE / "tokenizer"
TINY = HERE.parents[1] / "experiments" / "tiny"
LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                  r"|\s*[\r\n]+|\s+(?!\S)|\s+")

WORDS = ("the of and to in is that it was for on are as with his they at be this from have or by one had not "
         "position encoding rotary frequency wavelength attention context length scale training token "
         "it's I'm we've they'll he'd don't O'Neil IT'S I'M WE'VE rock'n'roll can't CAN'T ain't").split()
CODE = ["for (int i = 0; i < n; ++i) {", "    return x[i] * 0x1F;", "def f(self, *args):", "\t\tif a != b:",
        "std::vector<std::string>", "#include <cstdint>", "a->b.c(d)[e]", "$HOME/.cache", "// TODO(x): y",
        '{"key": [1, 2.5e-3, null]}', "SELECT * FROM t WHERE a='b';", "x_1 += y__2", "&&||!~^%", "0b1010_1111"]
SPACES = ["  ", "    ", "\t", "\r", "\n", "\r\n", "\n\n", " \n ", "\x0b", "\x0c", "\u00a0", "\u0085", "\u1680",
          "\u2003", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u180e", "\u200b",
          "\ufeff"]
SPECIAL = ["<s>", "</s>", " <s> ", "<s><s>", "<|im_start|>", "<|im_end|>", "<|im_start|>user\n", "<|im_", "<s"]
DIGITS = ["²", "³", "¹", "¼", "½", "Ⅷ", "ⅻ", "٣", "٤٥", "१२", "１２３", "〇", "①", "𝟘𝟙", "߉"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "☃", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🧑🏿‍🚀", "©️", "✈︎"]
ODD = ["\u0301", "e\u0301", "n\u0303\u0323", "\u1100\u1161\u11a8", "ſ", "'ſ", "İ", "ß", "ŉ", "ﬁ", "ﷺ", "\u200d",
       "\u202e", "\ue000", "\ufffd", "\ufffe", "\U0010ffff", "\x00", "\x01", "\x1b[0m", "\x7f", "\u0080", "\u009f",
       "a\u0308\u0304", "ا\u064bل", "क्षि", "ก็", "ׁש"]
BLOCKS = [(0xC0, 0x17F), (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
          (0xE01, 0xE2E), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x2200, 0x22FF),
          (0x2500, 0x257F), (0x1F300, 0x1F5FF), (0x20000, 0x2A6D6), (0x1D400, 0x1D454)]
INVALID = [b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
           b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"]


def block_text(rng):
    first, last = rng.choice(BLOCKS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4)))


def number(rng):
    return rng.choice([str(rng.randrange(10 ** rng.randint(1, 8))), f"{rng.random():.3f}", f"{rng.randrange(99)}%",
                       f"1,{rng.randrange(1000):03d}", f"x{rng.randrange(100)}", f"{rng.randrange(100)}th"])


def piece(rng):
    kind = rng.choices(range(9), [30, 8, 10, 10, 4, 5, 5, 5, 8])[0]
    if kind == 0:
        word = rng.choice(WORDS)
        return rng.choice([word, word, word, word.upper(), word.title()]) + rng.choice(["", "", "", ",", ".", "!?"])
    if kind == 1:
        return rng.choice(CODE)
    if kind == 2:
        return number(rng)
    return [lambda: rng.choice(SPACES) * rng.choice([1, 1, 2, 5]), lambda: rng.choice(SPECIAL),
            lambda: rng.choice(DIGITS), lambda: rng.choice(EMOJI), lambda: rng.choice(ODD),
            lambda: block_text(rng)][kind - 3]()


def line(rng):
    parts = []
    for _ in range(rng.randint(1, 9)):
        parts.append(piece(rng))
        if rng.random() < 0.6:
            parts.append(" ")
    text = "".join(parts).encode("utf-8")
    if rng.random() < 0.05:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(INVALID) + text[at:]
    return text


def all_lines():
    rng = random.Random(20)
    fixed = [b"", b" ", b"\n", b"   a", b"a   ", b"a" * 300, b" " * 200 + b"x", "ab" * 150, "的" * 60, b"\t" * 70]
    lines = [text.encode() if isinstance(text, str) else text for text in fixed]
    while len(lines) < 10000:
        lines.append(line(rng))
    return lines


def train(pre_tokenizer, extra, seed):
    rng = random.Random(seed)
    texts = [line(rng).decode("utf-8", "replace") for _ in range(6000)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1400, show_progress=False, special_tokens=["<|im_start|>", "<|im_end|>"] + extra,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return tokenizer


def digits_tokenizer():
    """SmolLM2's parts."""
    return train(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                          pre_tokenizers.ByteLevel(add_prefix_space=False)]), [], 1)


def split_tokenizer():
    """Llama 3's parts; merges in the older text form, ignore_merges on."""
    tokenizer = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), ["<s>", "</s>"], 2)
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])])
    content = json.loads(tokenizer.to_str())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    content["model"]["ignore_merges"] = True
    # A word that no merge makes: only a whole-word look-up finds it.
    content["model"]["vocab"]["Ġwavelengthscale"] = len(content["model"]["vocab"])
    return Tokenizer.from_str(json.dumps(content)), content


def fnv1a(ids):
    value = 2166136261
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def variants(base):
    """(name, changed fields, texts): every behaviour that the trained ones don't show."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    texts = ["Hello world", " Hello  world ", "a1b22 c333", "x", "don't  stop\n\nnow", "", "12 34,5", "ab--cd---ef-",
             "-a-", "- -", "один два", "<x> y", "a <x>b <x> <x>", "word in words inword in", "IN in.in", "\u00a0<x>\u3000z"]
    splits = [{"type": "Split", "pattern": {"Regex": "-"}, "behavior": behavior, "invert": invert}
              for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
              for invert in (False, True)]
    splits.append({"type": "Split", "pattern": {"String": "--"}, "behavior": "Isolated", "invert": False})
    splits.append({"type": "Split", "pattern": {"Regex": "\\d*"}, "behavior": "Isolated", "invert": False})
    for split in splits:
        sequence = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        yield f"split {split['behavior']} {split['pattern']} {split['invert']}", {"pre_tokenizer": sequence}, texts
    yield "prefix space", {"pre_tokenizer": dict(byte_level, add_prefix_space=True)}, texts
    yield "digits together, prefix space", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False}, dict(byte_level, add_prefix_space=True)]}}, texts
    yield "no expression", {"pre_tokenizer": dict(byte_level, use_regex=False)}, texts
    vocabulary = base["model"]["vocab"]
    contents = ["<x>", "in", "<x>b"]
    fresh = [content for content in contents if content not in vocabulary]
    ids = {content: len(vocabulary) + i for i, content in enumerate(fresh)}
    for flags in ({"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"normalized": True},
                  {"single_word": True}, {"single_word": True, "normalized": True, "lstrip": True}):
        tokens = [dict({"id": vocabulary.get(content, ids.get(content)),
                        "content": content, "special": False, "single_word": False,
                        "lstrip": False, "rstrip": False, "normalized": False}, **flags)
                  for content in contents]
        yield f"added {flags}", {"added_tokens": base["added_tokens"] + tokens}, texts
    yield "normalizer", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]}}, texts
    yield "template at both ends", {"post_processor": {
        "type": "TemplateProcessing", "pair": [], "single": [
            {"SpecialToken": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "B", "type_id": 0}}],
        "special_tokens": {"A": {"id": "A", "ids": [0, 1], "tokens": ["<|im_start|>", "<|im_end|>"]},
                           "B": {"id": "B", "ids": [1], "tokens": ["<|im_end|>"]}}}}, texts[:3]


def write_tokenizer(name, content, config):
    directory = OUTPUT / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


def main():
    lines = all_lines()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "lines.bin").write_bytes(b"".join(struct.pack("<H", len(text)) + text for text in lines))
    digits = digits_tokenizer()
    base = json.loads(digits.to_str())
    write_tokenizer("digits", base, {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"},
                                     "chat_template": "{{ messages }}"})
    split, split_content = split_tokenizer()
    write_tokenizer("split", split_content, {"bos_token": "<s>", "eos_token": "</s>"})
    samples = {}
    texts = [text.decode("utf-8", "replace") for text in lines]
    for name, tokenizer in (("digits", digits), ("split", split),
                            ("tiny", Tokenizer.from_file(str(TINY / "tokenizer.json")))):
        ids = [tokenizer.encode(text).ids for text in texts]
        (OUTPUT / f"{name}.ids").write_bytes(b"".join(struct.pack("<I", fnv1a(line_ids)) for line_ids in ids))
        samples[name] = [{"line": i, "ids": ids[i], "text": tokenizer.decode(ids[i]),
                          "with_special": tokenizer.decode(ids[i], skip_special_tokens=False)}
                         for i in range(0, len(ids), 100)]
    (OUTPUT / "samples.json").write_text(json.dumps(samples))
    cases = []
    for name, fields, case_texts in variants(base):
        tokenizer = Tokenizer.from_str(json.dumps(dict(copy.deepcopy(base), **fields)))
        cases.append({"name": name, "fields": fields,
                      "texts": [{"text": text, "ids": tokenizer.encode(text).ids} for text in case_texts]})
    (OUTPUT / "variants.json").write_text(json.dumps(cases, ensure_ascii=False))
    print(sum(len(text) for text in lines), "bytes in", len(lines), "lines;", len(cases), "variants")


if __name__ == "__main__":
    main()
