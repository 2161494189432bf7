//! Pairs, truncation, windows, options, folders, and what is refused.

mod common;
#[path = "common/spiece.rs"]
mod spiece;

use std::path::Path;

use albert_text::{EncodeOptions, Encoding, Error, Tokenizer, Truncation};

fn both() -> [Tokenizer; 2] {
    [
        Tokenizer::from_bytes(spiece::small_model(), Path::new("small.model")).unwrap(),
        Tokenizer::from_file(common::shipped()).unwrap(),
    ]
}

/// Every vector has an entry a piece.
fn even(encoding: &Encoding) {
    assert_eq!(encoding.type_ids.len(), encoding.len());
    assert_eq!(encoding.offsets.len(), encoding.len());
    assert_eq!(encoding.special.len(), encoding.len());
    assert_eq!(encoding.pieces().len(), encoding.len());
}

#[test]
fn pairs_have_alberts_layout() {
    for tokenizer in both() {
        let options = EncodeOptions::default();
        let a = tokenizer.tokens("the world", true).unwrap();
        let b = tokenizer.tokens("the s", true).unwrap();
        let pair = tokenizer
            .encode_pair("the world", "the s", &options)
            .unwrap();
        even(&pair);
        assert_eq!(pair.ids, [&[2], &a.ids[..], &[3], &b.ids, &[3]].concat());
        let first = a.len() + 2;
        assert!(pair.type_ids[..first].iter().all(|&id| id == 0));
        assert!(pair.type_ids[first..].iter().all(|&id| id == 1));
        let added: Vec<usize> = (0..pair.len()).filter(|&at| pair.special[at]).collect();
        assert_eq!(added, [0, first - 1, pair.len() - 1]);
        assert!(added.iter().all(|&at| pair.offsets[at] == (0, 0)));
        assert_eq!(pair.offsets[first], b.offsets[0]);

        let single = tokenizer.encode("the world", &options).unwrap();
        assert_eq!(single.ids, [&[2], &a.ids[..], &[3]].concat());
        let empty = tokenizer.encode(" \n", &options).unwrap();
        assert_eq!(empty.ids, [2, 3]);
        let bare = EncodeOptions {
            add_special: false,
            ..options
        };
        assert_eq!(tokenizer.encode("the world", &bare).unwrap(), a);
    }
}

#[test]
fn special_pieces_in_the_text_are_an_option() {
    for tokenizer in both() {
        let typed = tokenizer.tokens("the [MASK] <pad>[SEP]", true).unwrap();
        assert!(
            [4, 0, 3].iter().all(|id| typed.ids.contains(id)),
            "{:?}",
            typed.pieces()
        );
        assert!(!typed.special.contains(&true));
        let plain = tokenizer.tokens("the [MASK] <pad>[SEP]", false).unwrap();
        assert!(
            plain.ids.iter().all(|id| ![0, 2, 3, 4].contains(id)),
            "{:?}",
            plain.pieces()
        );
    }
}

#[test]
fn truncation_is_reported_or_refused() {
    for tokenizer in both() {
        let (long, short) = ("the ".repeat(10), "the ".repeat(4));
        let options = |max_length, truncation| EncodeOptions {
            max_length: Some(max_length),
            truncation,
            ..Default::default()
        };
        let sides = |encoding: &Encoding| {
            let side = |id| {
                encoding
                    .type_ids
                    .iter()
                    .zip(&encoding.special)
                    .filter(|&(&a, &b)| a == id && !b)
                    .count()
            };
            (side(0), side(1), encoding.truncated)
        };
        let pair = |max_length, truncation| {
            tokenizer.encode_pair(&long, &short, &options(max_length, truncation))
        };
        assert_eq!(sides(&pair(17, Truncation::Error).unwrap()), (10, 4, 0));
        assert!(matches!(
            pair(16, Truncation::Error),
            Err(Error::TooLong {
                length: 17,
                max_length: 16
            })
        ));
        assert_eq!(
            sides(&pair(12, Truncation::LongestFirst).unwrap()),
            (5, 4, 5)
        );
        assert_eq!(
            sides(&pair(10, Truncation::LongestFirst).unwrap()),
            (4, 3, 7)
        );
        assert_eq!(
            sides(&pair(3, Truncation::LongestFirst).unwrap()),
            (0, 0, 14)
        );
        assert_eq!(sides(&pair(9, Truncation::OnlyFirst).unwrap()), (2, 4, 8));
        assert_eq!(
            sides(&pair(14, Truncation::OnlySecond).unwrap()),
            (10, 1, 3)
        );
        assert!(matches!(
            pair(12, Truncation::OnlySecond),
            Err(Error::NoRoom { needed: 13, .. })
        ));
        assert!(matches!(
            pair(2, Truncation::LongestFirst),
            Err(Error::NoRoom { needed: 3, .. })
        ));
        let single = tokenizer
            .encode(&long, &options(5, Truncation::LongestFirst))
            .unwrap();
        even(&single);
        assert_eq!(sides(&single), (3, 0, 7));
        assert_eq!(single.ids.last(), Some(&3));
    }
}

#[test]
fn truncation_one_piece_at_a_time_is_the_same() {
    let [tokenizer, _] = both();
    for first in 0..7 {
        for second in 0..7 {
            for max_length in 3..first + second + 3 {
                let (mut a, mut b) = (first, second);
                while a + b + 3 > max_length {
                    if a > b { a -= 1 } else { b -= 1 }
                }
                let options = EncodeOptions {
                    max_length: Some(max_length),
                    truncation: Truncation::LongestFirst,
                    ..Default::default()
                };
                let (one, two) = ("the ".repeat(first), "the ".repeat(second));
                let encoding = tokenizer.encode_pair(&one, &two, &options).unwrap();
                let ones = encoding.type_ids.iter().filter(|&&id| id == 1).count();
                assert_eq!(
                    (encoding.len() - ones - 2, ones - 1),
                    (a, b),
                    "{first} {second}"
                );
            }
        }
    }
}

#[test]
fn windows_cover_the_text_and_overlap_by_the_stride() {
    for tokenizer in both() {
        let text = "the world s ".repeat(9);
        let all = tokenizer.tokens(&text, true).unwrap();
        let options = EncodeOptions::default();
        let asked = tokenizer.tokens("the s", true).unwrap().len();
        for (question, added) in [(None, 2), (Some("the s"), 3 + asked)] {
            for stride in [0, 1, 4] {
                let windows = tokenizer
                    .windows(question, &text, 12, stride, &options)
                    .unwrap();
                let mut joined: Vec<u32> = Vec::new();
                let mut spans = Vec::<(usize, usize)>::new();
                for (at, window) in windows.iter().enumerate() {
                    even(window);
                    assert!(window.len() <= 12 && window.truncated == 0);
                    let from = added - 1;
                    let to = window.len() - 1;
                    let skip = if at == 0 { 0 } else { stride };
                    if at > 0 {
                        assert_eq!(
                            joined[joined.len() - stride..],
                            window.ids[from..from + stride]
                        );
                    }
                    joined.extend(&window.ids[from + skip..to]);
                    spans.extend(&window.offsets[from + skip..to]);
                }
                assert_eq!(joined, all.ids);
                assert_eq!(spans, all.offsets);
                assert!(
                    windows[..windows.len() - 1]
                        .iter()
                        .all(|window| window.len() == 12)
                );
            }
        }
        assert_eq!(
            tokenizer.windows(None, "", 12, 4, &options).unwrap().len(),
            1
        );
        assert!(matches!(
            tokenizer.windows(Some("the s"), &text, 7 + asked, 4, &options),
            Err(Error::NoRoom { max_length, needed }) if max_length == needed
        ));
    }
}

#[test]
fn pieces_know_what_they_are() {
    let [small, shipped] = both();
    for tokenizer in [&small, &shipped] {
        assert_eq!(tokenizer.specials().all(), [0, 1, 2, 3, 4]);
        for id in 0..5 {
            assert!(tokenizer.is_special(id) && !tokenizer.is_ordinary(id));
            assert!(tokenizer.is_word_start(id));
        }
        for id in 5..tokenizer.vocab_size() as u32 {
            assert!(tokenizer.is_ordinary(id) && !tokenizer.is_special(id));
            let piece = tokenizer.id_to_piece(id).unwrap();
            assert_eq!(tokenizer.piece_to_id(piece), Some(id));
        }
        let beyond = tokenizer.vocab_size() as u32;
        assert_eq!(tokenizer.id_to_piece(beyond), None);
        assert!(!tokenizer.is_ordinary(beyond));
    }
    let start = |piece: &str| small.is_word_start(small.piece_to_id(piece).unwrap());
    assert!(["▁the", "▁", ".", ",", "\"", "1"].into_iter().all(start));
    assert!(!["s", "lo", "fi"].into_iter().any(start));
    assert!(shipped.vocab_size() >= 16_000);
}

#[test]
fn decoding_gives_the_normalised_text() {
    let [small, shipped] = both();
    for (tokenizer, text) in [
        (&small, "the hello world."),
        (&shipped, "the quick brown fox"),
    ] {
        let encoding = tokenizer.encode(text, &EncodeOptions::default()).unwrap();
        assert_eq!(tokenizer.decode(&encoding.ids), text);
        assert_eq!(tokenizer.decode(&[2, 3, u32::MAX]), "");
    }
}

#[test]
fn folders_prefer_the_json_file_and_saving_keeps_the_form() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Tokenizer::from_folder(folder.path()),
        Err(Error::NoTokenizer(_))
    ));
    let [small, shipped] = both();
    assert_eq!(
        small.save(folder.path()).unwrap(),
        folder.path().join("spiece.model")
    );
    let read = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(read.vocab_size(), small.vocab_size());
    assert_eq!(
        shipped.save(folder.path()).unwrap(),
        folder.path().join("tokenizer.json")
    );
    let read = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(read.vocab_size(), shipped.vocab_size());
    assert_eq!(
        std::fs::read(folder.path().join("tokenizer.json")).unwrap(),
        std::fs::read(common::shipped()).unwrap(),
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "no temporary file stays");
    let saved = shipped.save(folder.path().join("new/folder")).unwrap();
    assert!(saved.starts_with(folder.path().join("new/folder")) && saved.is_file());
    let error = shipped.save(&saved).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&saved), mode(&plain));
    }
}

#[test]
fn the_rules_beside_a_model_are_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(folder.path().join("spiece.model"), spiece::small_model()).unwrap();
    let pieces = |text: &str| -> Vec<String> {
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        let encoding = tokenizer.tokens(text, true).unwrap();
        encoding.pieces().iter().map(ToString::to_string).collect()
    };
    assert_eq!(pieces("The á <PAD>"), ["▁the", "▁", "a", "<pad>"]);
    std::fs::write(&config, r#"{"do_lower_case": false, "keep_accents": true}"#).unwrap();
    assert_eq!(pieces("the á"), ["▁the", "▁", "á"]);
    assert_eq!(pieces("Thes"), ["▁", "The", "s"]);
    // Saving keeps them.
    let other = tempfile::tempdir().unwrap();
    Tokenizer::from_folder(folder.path())
        .unwrap()
        .save(other.path())
        .unwrap();
    let read = Tokenizer::from_folder(other.path()).unwrap();
    assert_eq!(read.tokens("á", true).unwrap().pieces(), ["▁", "á"]);
    for bad in ["{", "[1]", r#"{"do_lower_case": "no"}"#] {
        std::fs::write(&config, bad).unwrap();
        let error = Tokenizer::from_folder(folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("tokenizer_config.json"), "{error}");
    }
}

#[test]
fn bad_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::from_file(&path), Err(Error::Io { .. })));
    let lacking = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
        "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0]],"byte_fallback":false}}"#;
    for (content, wanted) in [
        ("", "empty"),
        ("  \n", "empty"),
        ("hello", "does not start with a brace"),
        ("{\"version\": \"1.0\"", "not a tokenizer.json"),
        ("{}", "not a tokenizer.json"),
        (lacking, "lacks ALBERT's piece <pad>"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(
            error.contains(wanted) && error.contains("tokenizer.json"),
            "{content:?}: {error}"
        );
    }
}

#[test]
fn bad_models_are_refused_and_never_panic() {
    let read = |bytes: Vec<u8>| Tokenizer::from_bytes(bytes, Path::new("bad.model"));
    let with = |more: Vec<u8>| [spiece::small_model(), more].concat();
    for (bytes, wanted) in [
        (b"not a model at all".to_vec(), "not a SentencePiece model"),
        (spiece::small_model()[..100].to_vec(), "ends inside a field"),
        // A field that claims 2^63 bytes.
        (
            with([&[0x0A][..], &[0x80; 8], &[0x80, 0x01]].concat()),
            "ends inside a field",
        ),
        (with(vec![0x0B]), "unknown kind of field"),
        (
            with(spiece::piece("the\u{301}", f32::NAN, spiece::NORMAL)),
            "score",
        ),
        (with(spiece::piece("", 0.0, spiece::NORMAL)), "empty piece"),
        (with(spiece::piece("x", 0.0, 9)), "unknown type"),
        (
            with(spiece::piece("▁the", 0.0, spiece::NORMAL)),
            "are the same",
        ),
        (
            with(spiece::bytes_field(2, &spiece::number_field(3, 2))),
            "BPE",
        ),
        (
            with(spiece::bytes_field(2, &spiece::number_field(35, 1))),
            "byte_fallback",
        ),
        (
            with(spiece::bytes_field(3, &spiece::bytes_field(2, &[1, 2, 3]))),
            "charsmap",
        ),
        (
            spiece::piece("<unk>", 0.0, spiece::UNKNOWN),
            "no pieces for text",
        ),
        (
            [spiece::piece("<unk>", 0.0, 2), spiece::piece("a", 0.0, 1)].concat(),
            "lacks ALBERT's piece <pad>",
        ),
        (spiece::number_field(7, 1), "no pieces in it"),
    ] {
        let error = read(bytes).unwrap_err().to_string();
        assert!(
            error.contains(wanted) && error.contains("bad.model"),
            "{wanted}: {error}"
        );
    }
    let model = spiece::small_model();
    for cut in 0..model.len() {
        let _ = read(model[..cut].to_vec());
        for byte in [0x00, 0x7F, 0xFF] {
            let mut bent = model.clone();
            bent[cut] = byte;
            if let Ok(tokenizer) = read(bent) {
                // Whatever is still a model must encode.
                tokenizer.tokens("the hello 1, \u{fb01} zz", true).unwrap();
            }
        }
    }
}

#[test]
fn a_bent_charsmap_never_panics() {
    let Some(data) = common::data() else { return };
    let model = std::fs::read(data.join("tokenizer/spiece.model")).unwrap();
    let step = model.len() / 60;
    for at in (0..model.len()).step_by(step) {
        let mut bent = model.clone();
        bent[at] ^= 0x5A;
        bent[(at * 7 + 13) % model.len()] ^= 0xFF;
        if let Ok(tokenizer) = Tokenizer::from_bytes(bent, Path::new("bent.model")) {
            tokenizer
                .tokens(
                    "Ünïcödé \u{fb01} ｆｕｌｌ 日本 \u{1100}\u{1161} 2,000,",
                    true,
                )
                .unwrap();
        }
    }
}

/// A `tokenizer.json` with ALBERT's special pieces and a few others, its parts replaced as given.
fn bent_json(parts: serde_json::Value) -> Vec<u8> {
    let mut file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<pad>", 0.0],
            ["<unk>", 0.0], ["[CLS]", 0.0], ["[SEP]", 0.0], ["[MASK]", 0.0], ["a", -3.0]]},
    });
    for (name, part) in parts.as_object().unwrap() {
        file[name] = part.clone();
    }
    file.to_string().into_bytes()
}

#[test]
fn hostile_json_files_give_errors_that_name_them() {
    // A trie of one unit, and one that is empty: refused when read.
    for rules in ["BAAAAAAAAAA=", "AAAAAA=="] {
        let normalizer = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": rules});
        let bytes = bent_json(serde_json::json!({"normalizer": normalizer}));
        let error = Tokenizer::from_bytes(bytes, Path::new("bent.json")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("bent.json") && error.contains("precompiled_charsmap"),
            "{error}"
        );
    }
    // Whatever else the file says: an answer or an error that names the file, never a panic.
    let model = |unk: &str, max: usize| {
        serde_json::json!({"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": max, "vocab": {"<pad>": 0, "<unk>": 1, "[CLS]": 2,
            "[SEP]": 3, "[MASK]": 4, "a": 5, "": 6}})
    };
    let added = |content: &str| {
        serde_json::json!([{"id": 6, "content": content, "single_word": false, "lstrip": true,
            "rstrip": true, "normalized": true, "special": false}])
    };
    let replace = |pattern: &str| serde_json::json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
    for parts in [
        serde_json::json!({"model": model("none", 100)}),
        serde_json::json!({"model": model("<unk>", 0)}),
        serde_json::json!({"added_tokens": added("")}),
        serde_json::json!({"added_tokens": added(" ")}),
        serde_json::json!({"normalizer": replace("")}),
        serde_json::json!({"normalizer": replace("(?=a)")}),
        serde_json::json!({"normalizer": replace("(a|a)*\\1b")}),
        serde_json::json!({"normalizer": {"type": "Prepend", "prepend": ""}}),
        serde_json::json!({"decoder": {"type": "Strip", "content": "a", "start": 99, "stop": 99}}),
        serde_json::json!({"decoder": {"type": "CTC", "pad_token": "", "word_delimiter_token": "",
            "cleanup": true}}),
        serde_json::json!({"pre_tokenizer": {"type": "FixedLength", "length": 0}}),
        serde_json::json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?=)"},
            "behavior": "Isolated", "invert": true}}),
        serde_json::json!({"truncation": {"direction": "Right", "max_length": 0,
            "strategy": "LongestFirst", "stride": 9}}),
        serde_json::json!({"post_processor": {"type": "BertProcessing", "sep": ["x", 99],
            "cls": ["y", 98]}}),
        serde_json::json!({"post_processor": {"type": "TemplateProcessing", "single": [],
            "pair": [], "special_tokens": {}}}),
        serde_json::json!({"post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {}}}),
    ] {
        let read = Tokenizer::from_bytes(bent_json(parts.clone()), Path::new("bent.json"));
        let tokenizer = match read {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                assert!(error.to_string().contains("bent.json"), "{parts}: {error}");
                continue;
            }
        };
        let mut failed = false;
        for text in ["", "a", " aa  \u{301}[MASK] ﬁ", &"a".repeat(200)] {
            for parse_specials in [false, true] {
                if let Err(error) = tokenizer.tokens(text, parse_specials) {
                    failed |= error.to_string().contains("bent.json");
                }
            }
        }
        // In chunks of no characters the crate panics.
        assert_eq!(failed, parts["pre_tokenizer"]["length"] == 0, "{parts}");
        let _ = tokenizer.decode(&[5, 6, 5, 1, 99]);
    }
}
