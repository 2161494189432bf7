//! `tokenizer.json` against the `tokenizers` library: ids, pieces and offsets.

mod common;

use albert_text::{EncodeOptions, Encoding, Tokenizer};
use proptest::prelude::*;

fn offsets(encoding: &Encoding) -> Vec<(usize, usize)> {
    encoding.offsets.clone()
}

#[test]
fn the_shipped_vocabulary_equals_the_python_library() {
    let tokenizer = Tokenizer::from_file(common::shipped()).unwrap();
    let lines = common::golden_lines("json.jsonl.zst");
    assert!(lines.len() > 4000);
    // Twice: the second time many words are remembered.
    for _ in 0..2 {
        for line in &lines {
            let text = common::line_text(line);
            let encoding = tokenizer.tokens(&text, true).unwrap();
            if let Some(hash) = line["hash"].as_str() {
                assert_eq!(
                    common::hash(&encoding.ids, &encoding.pieces()),
                    hash,
                    "{line}"
                );
                continue;
            }
            assert_eq!(encoding.ids, common::numbers(&line["ids"]), "{text:?}");
            assert_eq!(
                encoding.pieces(),
                common::words(&line["pieces"]),
                "{text:?}"
            );
            let spans: Vec<(usize, usize)> =
                serde_json::from_value(line["offsets"].clone()).unwrap();
            assert_eq!(offsets(&encoding), spans, "{text:?}");
        }
    }
}

/// Holds the tokenizer against the `tokenizers` crate on one text and one pair.
fn equal(ours: &Tokenizer, theirs: &tokenizers::Tokenizer, a: &str, b: &str) {
    for add_special in [false, true] {
        let options = EncodeOptions {
            add_special,
            ..Default::default()
        };
        let single = ours.encode(a, &options).unwrap();
        let pair = ours.encode_pair(a, b, &options).unwrap();
        let wanted = [
            theirs.encode_char_offsets(a, add_special).unwrap(),
            theirs.encode_char_offsets((a, b), add_special).unwrap(),
        ];
        for (encoding, wanted) in [single, pair].iter().zip(&wanted) {
            assert_eq!(encoding.ids, wanted.get_ids(), "{a:?} {b:?}");
            assert_eq!(encoding.type_ids, wanted.get_type_ids(), "{a:?} {b:?}");
            assert_eq!(encoding.pieces(), wanted.get_tokens(), "{a:?} {b:?}");
            assert_eq!(offsets(encoding), wanted.get_offsets(), "{a:?} {b:?}");
            let special: Vec<bool> = wanted
                .get_special_tokens_mask()
                .iter()
                .map(|&mask| mask == 1)
                .collect();
            assert_eq!(encoding.special, special, "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_file_of_another_make_is_followed_as_written() {
    // The rules that transformers writes for ALBERT, with a vocabulary of a few pieces.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "rstrip": false,
            "lstrip": content == "[MASK]", "normalized": false, "special": true})
    };
    let file = serde_json::json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 4,
            "strategy": "LongestFirst", "stride": 0}, "padding": null,
        "added_tokens": [special(0, "<pad>"), special(1, "<unk>"), special(2, "[CLS]"),
            special(3, "[SEP]"), special(4, "[MASK]")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"},
            {"type": "StripAccents"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<pad>", 0.0],
            ["<unk>", 0.0], ["[CLS]", 0.0], ["[SEP]", 0.0], ["[MASK]", 0.0], ["▁", -2.0],
            ["a", -3.0], ["b", -3.5], ["▁ab", -4.0], ["<", -5.0], ["▁a", -5.5]]},
    });
    std::fs::write(&path, file.to_string()).unwrap();
    let ours = Tokenizer::from_file(&path).unwrap();
    let mut theirs = tokenizers::Tokenizer::from_file(&path).unwrap();
    theirs.with_truncation(None).unwrap();
    for (a, b) in [
        ("ab a", "b"),
        ("", "a"),
        ("a [MASK] b", "<pad>"),
        ("áb  xyz ab ", "ab\nab"),
    ] {
        equal(&ours, &theirs, a, b);
    }
    let plain = ours.tokens("a <pad> [MASK] <unk>", false).unwrap();
    assert!(
        plain.ids.iter().all(|&id| id == 1 || id > 4),
        "{:?}",
        plain.pieces()
    );
}

#[test]
fn the_shipped_vocabulary_equals_the_crate_on_data() {
    let Some(data) = common::data() else { return };
    let ours = Tokenizer::from_file(common::shipped()).unwrap();
    let theirs = tokenizers::Tokenizer::from_file(common::shipped()).unwrap();
    let files: serde_json::Value =
        serde_json::from_str(&common::text(&common::golden("data.json"))).unwrap();
    for entry in files.as_array().unwrap() {
        let picked = common::picked(&data, entry);
        for pair in picked[..picked.len().min(300)].windows(2) {
            equal(&ours, &theirs, &pair[0], &pair[1]);
        }
    }
}

/// Compiled rules are checked when a file is read; the official ones must pass.
#[test]
fn the_official_compiled_rules_are_followed() {
    let Some(data) = common::data() else { return };
    let model = std::fs::read(data.join("tokenizer/spiece.model")).unwrap();
    // The field behind the rules' name: a key, a length of three bytes of 7 bits, the rules.
    let name = b"nmt_nfkc\x12";
    let at = model.windows(name.len()).position(|bytes| bytes == name);
    let rest = &model[at.unwrap() + name.len()..];
    let length = (0..3)
        .map(|i| (usize::from(rest[i]) & 0x7F) << (7 * i))
        .sum::<usize>();
    let rules = &rest[3..3 + length];

    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::new();
    for bytes in rules.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| {
            bits << 8 | usize::from(*bytes.get(i).unwrap_or(&0))
        });
        for i in 0..4 {
            let digit = char::from(digits[bits >> (18 - 6 * i) & 63]);
            base64.push(if i <= bytes.len() { digit } else { '=' });
        }
    }
    let mut file: serde_json::Value =
        serde_json::from_str(&common::text(&common::shipped())).unwrap();
    file["normalizer"] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": base64});
    let bytes = file.to_string().into_bytes();
    let theirs = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
    let ours = Tokenizer::from_bytes(bytes, std::path::Path::new("compiled.json")).unwrap();
    for text in ["ｆｕｌｌ width ﬁ", "a\u{301} ½ 日本 ㍿"] {
        equal(&ours, &theirs, text, "\u{1100}\u{1161}");
    }
}

proptest! {
    #[test]
    fn the_shipped_vocabulary_equals_the_crate_on_any_text(
        a in "([a-z]{1,3}|[ \\t\\n\u{a0}\u{200b}\u{ad}\u{1c}]|\\PC|[`'\".,()\u{301}\u{327}é1٣ﬁΣ▁]|\\[MASK\\]|<pad>|\\[CLS\\]){0,30}",
        b in "\\PC{0,12}",
    ) {
        use std::sync::OnceLock;
        static BOTH: OnceLock<(Tokenizer, tokenizers::Tokenizer)> = OnceLock::new();
        let (ours, theirs) = BOTH.get_or_init(|| (
            Tokenizer::from_file(common::shipped()).unwrap(),
            tokenizers::Tokenizer::from_file(common::shipped()).unwrap(),
        ));
        equal(ours, theirs, &a, &b);
    }
}
