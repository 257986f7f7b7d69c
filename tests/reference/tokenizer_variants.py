"""Small cases for tokenizer_test: a tokenizer.json changed by a merge patch (RFC 7396), and texts."""

SPACE = "\u2581"


def byte_level_variants(base):
    """(name, patch, texts): every behaviour that the trained ones don't show."""
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


def character_variants(base):
    texts = ["Hello world", " Hello  world ", "the</s>the", "the</s> the", "<s>the <s> the", "", " ", "   ", "a\u2581b",
             "\u2581the", "é的é é", "的的的", "<0x41>", "x<y>z <y> the", "\n\tq\n", "the position encoding of the rotary"]
    plain = {"normalizer": None}

    def metaspace(**fields):
        return dict(plain, pre_tokenizer=dict({"type": "Metaspace", "replacement": SPACE}, **fields))

    def added(**flags):
        token = {"id": 1000, "content": "<y>", "special": False, "single_word": False, "lstrip": False, "rstrip": False}
        return {"added_tokens": base["added_tokens"] + [dict(token, **flags)]}

    for scheme in ("always", "first", "never"):
        for split in (False, True):
            yield f"metaspace {scheme} {split}", metaspace(prepend_scheme=scheme, split=split), texts
    yield "older metaspace", metaspace(add_prefix_space=True), texts
    for replacement in (SPACE, "_"):
        yield f"metaspace decoder {replacement}", dict(
            metaspace(prepend_scheme="first", split=False),
            decoder={"type": "Metaspace", "replacement": replacement, "prepend_scheme": "first", "split": False}), texts
    yield "metaspace decoder never", {"decoder": {
        "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "never", "split": True}}, texts
    yield "split, then metaspace", dict(plain, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "[aeo]"}, "behavior": "Isolated", "invert": False},
        {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": True}]}), texts
    yield "no decoder", {"decoder": None}, texts
    yield "byte-level decoder", {"decoder": {
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}, texts
    yield "strip both ends", {"decoder": {"type": "Sequence", "decoders": [
        {"type": "Fuse"}, {"type": "Strip", "content": SPACE, "start": 2, "stop": 1}]}}, [
            "Hello ", "  the "]  # the library fails on texts that are nothing else
    for fuse in (False, True):
        yield f"unknown, fused {fuse}", {"model": {"byte_fallback": False, "fuse_unk": fuse}}, texts
        yield f"some bytes, fused {fuse}", {"model": {"fuse_unk": fuse, "vocab": {"<0xE7>": None}}}, \
            texts + ["的é", "的é的", "的é的é x", "é的的"]
    yield "unknown left out", {"model": {"byte_fallback": False, "unk_token": None}}, texts
    yield "whole words", {"model": {"ignore_merges": True}}, texts + ["the"]
    for flags in ({"normalized": False}, {"normalized": True}, {"normalized": True, "lstrip": True},
                  {"normalized": False, "rstrip": True}):
        yield f"added {flags}", added(**flags), texts
    yield "replace by expression", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": " +"}, "content": SPACE}, {"type": "Prepend", "prepend": SPACE}]}}, texts


def variants(bases):
    """(base, name, patch, texts)."""
    for case in byte_level_variants(bases["digits"]):
        yield ("digits", *case)
    for case in character_variants(bases["llama2"]):
        yield ("llama2", *case)


def patched(value, patch):
    """`patch` applied to `value`: objects by member, null takes a member away, the rest replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), change)
    return result
