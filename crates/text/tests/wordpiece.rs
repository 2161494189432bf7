//! `vocab.txt` against transformers' BertTokenizer (`golden/text/wordpiece.py`).

use std::path::{Path, PathBuf};

use albert_text::{EncodeOptions, Tokenizer};
use serde_json::Value;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/text/wordpiece.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A folder with the reference vocabulary, changed, and a configuration.
fn folder(
    change: impl FnOnce(&mut Vec<String>),
    config: Option<&str>,
) -> (tempfile::TempDir, PathBuf) {
    let golden = golden();
    let pieces = golden["vocab"].as_array().unwrap().iter();
    let mut pieces: Vec<String> = pieces.map(|p| p.as_str().unwrap().to_owned()).collect();
    change(&mut pieces);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.txt");
    std::fs::write(&path, pieces.join("\n") + "\n").unwrap();
    if let Some(config) = config {
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    }
    (dir, path)
}

#[test]
fn ids_and_offsets_are_those_of_transformers() {
    let golden = golden();
    let mut count = 0;
    for case in golden["cases"].as_array().unwrap() {
        let config = case["config"].to_string();
        let (dir, _) = folder(|_| {}, Some(&config));
        let tokenizer = Tokenizer::from_folder(dir.path()).unwrap();
        for row in case["rows"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let encoding = tokenizer.encode(text, &EncodeOptions::default()).unwrap();
            let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
            assert_eq!(encoding.ids, ids, "{config}: {text:?}");
            let offsets: Vec<(usize, usize)> =
                serde_json::from_value(row["offsets"].clone()).unwrap();
            assert_eq!(encoding.offsets, offsets, "{config}: {text:?}");
            count += 1;
        }
    }
    assert!(count > 90, "{count}");
}

#[test]
fn the_vocabulary_is_the_files() {
    let (dir, path) = folder(|_| {}, None);
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    assert_eq!(tokenizer.piece_to_id("[MASK]"), Some(4));
    assert_eq!(tokenizer.specials().all(), [0, 1, 2, 3, 4]);
    let start = |piece: &str| tokenizer.is_word_start(tokenizer.piece_to_id(piece).unwrap());
    assert!(start("play") && start("中") && start("a") && !start("##ing") && !start("##a"));
    let pair = tokenizer
        .encode_pair("我爱", "play", &EncodeOptions::default())
        .unwrap();
    assert_eq!(pair.type_ids, [0, 0, 0, 0, 1, 1]);

    // Saved, it is the tokenizer.json that cuts text in the same way.
    let saved = dir.path().join("saved");
    let name = tokenizer.save(&saved).unwrap();
    assert_eq!(name.file_name().unwrap(), "tokenizer.json");
    let again = Tokenizer::from_folder(&saved).unwrap();
    let text = "我爱 Playground, Café!";
    let encode = |tokenizer: &Tokenizer| tokenizer.encode(text, &EncodeOptions::default()).unwrap();
    assert_eq!(encode(&again), encode(&tokenizer));
    // Typed by a stranger, a special piece is text.
    let plain = tokenizer.tokens("[MASK]", false).unwrap();
    assert!(!plain.ids.contains(&4));
}

#[test]
fn a_bad_vocabulary_is_named_by_line() {
    let refusal = |change: &dyn Fn(&mut Vec<String>), config: Option<&str>| {
        let (dir, _) = folder(change, config);
        Tokenizer::from_folder(dir.path()).unwrap_err().to_string()
    };
    let message = refusal(&|pieces| pieces[9] = pieces[7].clone(), None);
    assert!(
        message.contains("vocab.txt") && message.contains("line 10"),
        "{message}"
    );
    assert!(message.contains("of line 8 again"), "{message}");
    let message = refusal(&|pieces| pieces[5].clear(), None);
    assert!(message.contains("line 6 has no piece"), "{message}");
    let message = refusal(&|pieces| pieces[4] = "<mask>".into(), None);
    assert!(message.contains("lacks the piece [MASK]"), "{message}");
    let message = refusal(&|_| {}, Some("{\"do_lower_case\": \"no\"}"));
    assert!(
        message.contains("tokenizer_config.json") && message.contains("do_lower_case"),
        "{message}"
    );
}
