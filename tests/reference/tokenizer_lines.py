"""Mixed text for tokenizers: words, code, numbers, white space, scripts, emoji, bytes that are not UTF-8."""

import pathlib
import random
import unicodedata

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


MARKS = [(0x300, 0x36F), (0x591, 0x5C7), (0x64B, 0x65F), (0x93C, 0x94D), (0x1AB0, 0x1ACE), (0x1DC0, 0x1DFF),
         (0x20D0, 0x20F0), (0x302A, 0x302F), (0x3099, 0x309A), (0xFE20, 0xFE2F), (0x1161, 0x1175), (0x11A8, 0x11C2)]
TOKENS = ["\u2581", "\u2581\u2581the", "<0x0A>", "<0xE2>", "<unk>", "<s>", "</s>", "<|endoftext|>", "<|im_end|>", "<pad>",
          "<pad> ", "e\u0301!", "\u00e9!", " training ", "retraining", "\u0120the", "rotary", "\ufffd"]


def plain_line(rng):
    """A line without special tokens, for training."""
    text = line(rng).decode("utf-8", "replace")
    for special in SPECIAL + TOKENS:
        text = text.replace(special.strip(), "")
    return text.encode("utf-8")


def any_character(rng):
    last = rng.choice([0x7F, 0x7FF, 0xFFFF, 0x3FFFF, 0x10FFFF])
    character = chr(rng.randint(0, last))
    # Expressions know different Unicodes: PCRE2 10.42 has version 14 as Python 3.11, the packages have later ones.
    return character if unicodedata.category(character) not in ("Cn", "Cs") else "\ufdd0"


def marked(rng):
    base = rng.choice([lambda: rng.choice("aeiouAnsx "), lambda: block_text(rng), lambda: any_character(rng)])()
    return base + "".join(chr(rng.randint(*rng.choice(MARKS))) for _ in range(rng.randint(1, 5)))


def wild_line(rng):
    """What prose has not: marks in any order, any character, long runs, texts of tokens."""
    parts = []
    for _ in range(rng.randint(1, 8)):
        parts.append(rng.choice([
            lambda: marked(rng), lambda: any_character(rng), lambda: rng.choice(TOKENS), lambda: piece(rng),
            lambda: rng.choice(" \n\t\u3000") * rng.choice([1, 2, 3, 7, 30, 31, 80]),
            lambda: "".join(block_text(rng) for _ in range(rng.randint(1, 30))), lambda: " "])())
    text = "".join(parts).encode("utf-8")
    if rng.random() < 0.05:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(INVALID) + text[at:]
    return text


def all_lines():
    rng = random.Random(20)
    fixed = [b"", b" ", b"\n", b"   a", b"a   ", b"a" * 300, b" " * 200 + b"x", "ab" * 150, "的" * 60, b"\t" * 70]
    lines = [text.encode() if isinstance(text, str) else text for text in fixed]
    while len(lines) < 8000:
        lines.append(line(rng))
    while len(lines) < 10000:
        lines.append(wild_line(rng))
    return lines


def many_lines(count, seed):
    """`count` lines: prose of this machine (texts of its packages), lines as above, wild ones."""
    rng = random.Random(seed)
    found = sorted(path for folder in ("/usr/share/doc", "/usr/share/common-licenses", "/usr/share/perl")
                   for path in pathlib.Path(folder).rglob("*") if path.is_file() and path.suffix not in (".gz", ".png"))
    prose = (text[:2000] for path in rng.sample(found, len(found)) for text in path.read_bytes().splitlines(True))
    for i in range(count):
        text = next(prose, None) if i % 3 == 0 else None
        yield text if text is not None else rng.choice([line, wild_line])(rng)
