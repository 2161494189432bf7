#!/usr/bin/env python3
"""Reference ids and pieces for `spiece.model`, by transformers' slow AlbertTokenizer.

Made with Python 3.11 (Unicode 14), transformers 4.57.1, sentencepiece 0.2.3, tokenizers 0.22.2 and
the `zstd` program:

    python golden/text/generate.py [--data shared/data] [--tokenizer-json models/mini/tokenizer.json]

Writes beside itself
- data.json: for lines of the data folder, picked by the rule in `RULE`, a 64-bit hash of the ids and
  pieces. The lines themselves are not in it.
- awkward.jsonl.zst: generated text that is hard on tokenizers, with its ids and pieces: as usual,
  with special pieces as plain text where that differs, and as hashes with `do_lower_case=False,
  keep_accents=True` (`cased`) and with `remove_space=False` (`spaced`).
- json.jsonl.zst: the same texts through a `tokenizer.json` by the `tokenizers` library: ids, pieces,
  offsets.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent

# file, kind, take every n-th string, stop after so many. The kinds: `lines` (every line), `strings`
# (every string value of every JSON line, depth first), `document` (the same of one JSON file).
RULE = [
    ("pretrain/heldout.jsonl.zst", "strings", 1, 4000),
    ("pretrain/wikipedia.jsonl.zst", "strings", 41, 4000),
    ("pretrain/wikinews.jsonl.zst", "strings", 29, 1500),
    ("pretrain/books.jsonl.zst", "strings", 101, 1500),
    ("glue/SST-2/dev.tsv", "lines", 1, 800),
    ("glue/CoLA/train.tsv", "lines", 5, 1000),
    ("glue/MRPC/train.tsv", "lines", 3, 800),
    ("glue/QNLI/dev.tsv", "lines", 7, 500),
    ("glue/STS-B/dev.tsv", "lines", 2, 500),
    ("glue/MNLI/sample-dev.jsonl", "strings", 1, 1000),
    ("glue/QQP/sample-dev.jsonl", "strings", 1, 1000),
    ("glue/SNLI/sample-dev.jsonl", "strings", 2, 1000),
    ("squad/dev-v1.1.json", "document", 3, 1500),
    ("imdb/test-2000.jsonl.zst", "strings", 3, 500),
    ("race/dev-middle.jsonl.zst", "strings", 2, 500),
    ("intents/clinc150.json", "document", 17, 1000),
    ("intents/banking77-train.csv", "lines", 11, 500),
    ("retrieval/cranfield/cran.all.1400", "lines", 13, 500),
    ("summaries/scitldr/dev.jsonl", "strings", 5, 800),
]


def open_lines(path):
    if path.suffix == ".zst":
        process = subprocess.Popen(["zstd", "-dc", str(path)], stdout=subprocess.PIPE)
        yield from (line.decode() for line in process.stdout)
        return
    with open(path, "rb") as file:
        yield from (line.decode() for line in file)


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)


def pick(folder, file, kind, step, limit):
    path = folder / file
    if kind == "lines":
        texts = (line.rstrip("\n") for line in open_lines(path))
    elif kind == "strings":
        texts = (text for line in open_lines(path) for text in strings(json.loads(line)))
    else:
        texts = strings(json.loads(path.read_text()))
    taken = 0
    for index, text in enumerate(texts):
        if index % step:
            continue
        yield text
        taken += 1
        if taken == limit:
            break


def fnv(ids, pieces):
    """FNV-1a, 64 bits, of the ids as little-endian u32 and of the pieces, each ended by a 0xFF."""
    value = 0xCBF29CE484222325
    data = b"".join(i.to_bytes(4, "little") for i in ids)
    data += b"".join(piece.encode() + b"\xff" for piece in pieces)
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


WORDS = """hello world the naïve café Zürich façade coöperate résumé e-mail hello.world U.S.A. don't it's
can't 3.14 2,000 2,000, 1,234,567 10, 1990s 50% $5.00 £20 €7 5€ (a) [b] {c} "quoted" ``old'' ''two``
quotes 'single' – — … «x» „y“ “z” x² H₂O ½ ¾ ﬁnd ﬂow eﬃcient ﬆop №5 ™ © ™x ℌello 𝓗𝓮𝓵𝓵𝓸 ｆｕｌｌ Ⅷ ① ㎏ ℃ ﷺ
ΑΣ ΣΑΣ Σ 𝚺𝚺 ᾳ İstanbul ISTANBUL straße ẞ Ǆ ǅ ŉ ﬀ 日本語 中文 한국어 가 각 Привет Ёлка й שלום עִבְרִית
العربية مُحَمَّد हिन्दी ไทย தமிழ் 😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ☃ 1️⃣ a\u0301 e\u0327\u0301 o\u0302\u0323 \u0301 q\u0307\u0323
[CLS] [SEP] [MASK] <pad> <unk> <UNK> <Pad> [mask] [cls] [UNK] [PAD] <s> </s> <un\u212a> [MASK]. x[MASK]y [[MASK]]
[CL[CLS] <<unk>> ▁ ▁a a▁b ▁▁ \u200b a\u200bb a\u200cb a\u200db \ufeff a\ufeffb soft\u00adhyphen \u2060 \u180e
\u0000 a\u0000b \u0007 \u001b[0m \u007f \u0085 \u001c a\u001fb \u00a0 a\u00a0b \u2003 \u3000 \u2028 \u2029 \u202e \u2066
\ufffd \ue000 \U000f0000 \ufffe \uffff ' '' ''' '''' ` `` ``` ```` '` `' \uff40` '\uff07 ´ ¨ ¸ a¨b ˜ ¯ ‗ ‾ - -- --- . .. ...
, ,, 1, 1,, ,1 a1, 1a, ١, ١٢٣ 1١, ², 2², ①, ½, 0, 00, 000, 0000, 2010, 2018, 12,5 x3, -3, (3, .5, 3., 3.., http://a.b/c?d=e&f=g
user@example.com C++ #1 @x A/B a_b \\n \\ | ~ ^ * + = < > a<b>c &amp; &#39; %d""".split(" ")
WORDS = [word for line in WORDS for word in line.split("\n") if word]

SPACES = [" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u001d", "\u0085", ""]

RANGES = [
    (0x00, 0x7F), (0x00, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x530, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x1D00, 0x1DBF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x214F), (0x2150, 0x218F),
    (0x2190, 0x25FF), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x3000, 0x30FF), (0x3130, 0x318F), (0x3200, 0x33FF),
    (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFB50, 0xFDFF),
    (0xFE00, 0xFE6F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF), (0x10400, 0x1044F), (0x1D400, 0x1D7FF),
    (0x1F100, 0x1F2FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x2F800, 0x2FA1F), (0xE0000, 0xE007F),
]


def assigned(c):
    return unicodedata.category(c) not in ("Cn", "Cs")


def awkward(count, seed):
    """Texts, or (text, times) for long ones."""
    draw = random.Random(seed)
    yield from ("", " ", "\n", "\t \u3000", "\u200b", "\u0000", "▁", ".", ",", "1,", "[MASK]", "[CLS][SEP]")
    yield from WORDS
    for _ in range(count):
        shape = draw.random()
        if shape < 0.35:
            text = "".join(draw.choice(WORDS) + draw.choice(SPACES) for _ in range(draw.randint(1, 9)))
        elif shape < 0.5:
            text = "".join(draw.choice(WORDS) for _ in range(draw.randint(2, 5)))
        elif shape < 0.6:
            text = "".join(draw.choice("0123456789,,..-$%() ") for _ in range(draw.randint(1, 16)))
        elif shape < 0.7:
            text = "".join(draw.choice("ab`'\" \u0301\u200d.,Σσs[]<>") for _ in range(draw.randint(1, 16)))
        else:
            text = ""
            for _ in range(draw.randint(1, 4)):
                low, high = draw.choice(RANGES)
                chars = [chr(draw.randint(low, high)) for _ in range(draw.randint(1, 8))]
                text += "".join(c for c in chars if assigned(c)) + draw.choice(SPACES + WORDS)
        yield text
    for unit, times in [
        ("a", 100_000), ("a ", 50_000), ("ab1,", 25_000), ("日", 100_000), ("hello world. ", 7_700), (".", 100_000),
        ("2,000, ", 14_300), (" ", 100_000), ("e\u0301", 50_000), ("\U0001F600x", 50_000), ("[MASK]", 16_000), ("'", 100_001),
    ]:
        yield (unit, times)


def write_zst(path, lines):
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    subprocess.run(["zstd", "-19", "-q", "-f", "-o", str(path)], input=data, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument(
        "--tokenizer-json", type=pathlib.Path, default=HERE.parents[1] / "models" / "mini" / "tokenizer.json"
    )
    parser.add_argument("--only-json", action="store_true", help="leave the spiece.model files alone")
    args = parser.parse_args()

    texts = list(awkward(4000, seed=1))
    full = [text if isinstance(text, str) else text[0] * text[1] for text in texts]

    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(args.tokenizer_json))
    lines = []
    for text, whole in zip(texts, full):
        encoding = fast.encode(whole, add_special_tokens=False)
        if isinstance(text, str):
            line = {"text": text, "ids": encoding.ids, "pieces": encoding.tokens, "offsets": encoding.offsets}
        else:
            line = {"unit": text[0], "times": text[1], "hash": fnv(encoding.ids, encoding.tokens)}
        lines.append(line)
    write_zst(HERE / "json.jsonl.zst", lines)
    if args.only_json:
        return

    from transformers import AlbertTokenizer

    model = str(args.data / "tokenizer" / "spiece.model")
    slow = AlbertTokenizer(model)
    others = {
        "cased": AlbertTokenizer(model, do_lower_case=False, keep_accents=True),
        "spaced": AlbertTokenizer(model, remove_space=False),
    }

    def encode(text, tokenizer=slow, **options):
        pieces = tokenizer.tokenize(text, **options)
        return tokenizer.convert_tokens_to_ids(pieces), pieces

    lines = []
    for text, whole in zip(texts, full):
        ids, pieces = encode(whole)
        if isinstance(text, str):
            line = {"text": text, "ids": ids, "pieces": pieces}
            plain = encode(whole, split_special_tokens=True)
            if plain != (ids, pieces):
                line["plain_ids"], line["plain_pieces"] = plain
            for name, tokenizer in others.items():
                line[name] = fnv(*encode(whole, tokenizer))
        else:
            line = {"unit": text[0], "times": text[1], "hash": fnv(ids, pieces)}
        lines.append(line)
    write_zst(HERE / "awkward.jsonl.zst", lines)

    files = []
    for file, kind, step, limit in RULE:
        hashes = [fnv(*encode(text)) for text in pick(args.data, file, kind, step, limit)]
        files.append({"file": file, "kind": kind, "step": step, "limit": limit, "hashes": hashes})
        print(f"{file}: {len(hashes)}", file=sys.stderr)
    (HERE / "data.json").write_text(json.dumps(files, indent=0) + "\n")


if __name__ == "__main__":
    main()
