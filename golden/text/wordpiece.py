#!/usr/bin/env python3
"""Reference ids and offsets for `vocab.txt`, by transformers' BertTokenizer and BertTokenizerFast.

Made with Python 3.11, transformers 4.57.1 and tokenizers 0.22.2:

    python golden/text/wordpiece.py

Writes wordpiece.json beside itself: a small vocabulary of Chinese and Latin pieces, and for each of
some awkward texts its ids and character offsets under three settings. The ids are those of both of
transformers' tokenizers where they agree; where the slow one differs (it splits words at other
characters of control) the text is left out, and how many were is printed.
"""

import json
import pathlib
import tempfile

from transformers import BertTokenizer, BertTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent

LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"
SYLLABLES = "the of and in to un ##ing ##ed ##er ##s ##ly ##able word play ##ground cafe eiffel 19 ##90"
CHINESE = "中文的一是不了人我在有他这为之大来以个上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从知使爱漢字測試"
MARKS = "! \" # $ % & ' ( ) * + , - . / : ; < = > ? @ [ \\ ] ^ _ ` { | } ~ 。 ， ！ ？ 、 “ ” … —".split(" ")

TEXTS = [
    "",
    " ",
    "我爱中文。",
    "他说：你好！Hello, world?",
    "The playground was unplayable, wordings!",
    "Café EIFFEL né Élan naïve Å Ångström",
    "cafe\u0301 e\u0301e\u0301",
    "straße Straße İstanbul ıi ﬁne ﬀ",
    "中文word混合Text和123数字",
    "漢字測試，然后 tab\there\nnew line\r\nend",
    "a\u00a0b\u2009c\u3000d\u200be\ufefff",
    "control \u0000 \u0007 \u001f chars \ufffd end",
    "emoji 😀 a👍🏽b 👨‍👩‍👧 end",
    "full－width ＡＢＣ １２３ ！？",
    "quote \"double\" 'single' “curly” ‘odd’",
    "1990 19 90 1,990.50 $5% #tag @user",
    "x" * 100,
    "x" * 101,
    "un" * 60,
    "words-with-dashes and_under_scores a/b\\c",
    "...!!!???",
    "ends with space ",
    "  leading  and   inner  ",
    "일본 日本語 にほんご ไทย العربية עברית हिन्दी",
    "㐀 𠀀 𪜶 豈 丽",
    "é́ combining ạ̈ zalgo t̸e̷s̶t̵",
    "[MASK] and [CLS] typed [SEP] [UNK] [PAD]",
    "[mask] [Mask] [MASK]s",
    "e = mc² ½ ⅓ Ⅳ ① ™ ©",
    "soft\u00adhyphen zero\u200dwidth\u200cjoiner",
    "a,b,c;d:e.f",
    "我在2024年去了The Café。",
    "ΑΒΓ αβγ ΣΊΣΥΦΟΣ",
    "Привет, МИР",
    "\u2028line\u2029para\u0085next",
    "`code` ~tilde~ {brace} |pipe| ^caret",
]

SETTINGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False},
]


def main():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += MARKS + list(LATIN) + [f"##{c}" for c in LATIN]
    pieces += SYLLABLES.split(" ") + list(CHINESE) + ["##文", "é", "##é", "α", "##σ", "при"]
    pieces = list(dict.fromkeys(pieces))
    cases, different = [], 0
    with tempfile.TemporaryDirectory() as folder:
        vocab = pathlib.Path(folder) / "vocab.txt"
        vocab.write_text("\n".join(pieces) + "\n", encoding="utf-8")
        for setting in SETTINGS:
            slow = BertTokenizer(str(vocab), **setting)
            fast = BertTokenizerFast(vocab_file=str(vocab), **setting)
            rows = []
            for text in TEXTS:
                encoding = fast(text, return_offsets_mapping=True)
                if slow(text)["input_ids"] != encoding["input_ids"]:
                    different += 1
                    print("left out:", setting, repr(text))
                    continue
                offsets = [list(pair) for pair in encoding["offset_mapping"]]
                rows.append({"text": text, "ids": encoding["input_ids"], "offsets": offsets})
            cases.append({"config": setting, "rows": rows})
    print(f"{different} of {len(TEXTS) * len(SETTINGS)} left out")
    result = json.dumps({"vocab": pieces, "cases": cases}, ensure_ascii=True)
    (HERE / "wordpiece.json").write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
