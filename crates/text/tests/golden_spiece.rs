//! `spiece.model` against transformers' slow tokenizer: every id and piece, no exceptions.

mod common;

use albert_text::Tokenizer;

#[test]
fn generated_awkward_text_equals_the_slow_tokenizer() {
    let Some(data) = common::data() else { return };
    let tokenizer = Tokenizer::from_file(data.join("tokenizer/spiece.model")).unwrap();
    let lines = common::golden_lines("awkward.jsonl.zst");
    assert!(lines.len() > 4000);
    let mut wrong = Vec::new();
    for line in &lines {
        let text = common::line_text(line);
        let encoding = tokenizer.tokens(&text, true).unwrap();
        if let Some(hash) = line["hash"].as_str() {
            if common::hash(&encoding.ids, &encoding.pieces()) != hash {
                wrong.push(format!("{} x {}", line["unit"], line["times"]));
            }
            continue;
        }
        let (ids, pieces) = (
            common::numbers(&line["ids"]),
            common::words(&line["pieces"]),
        );
        if encoding.ids != ids || encoding.pieces() != pieces {
            wrong.push(format!("{text:?}\n  {:?}\n  {pieces:?}", encoding.pieces()));
        }
        let plain = tokenizer.tokens(&text, false).unwrap();
        let of = |key: &str, other: &str| match line.get(key) {
            Some(value) => value.clone(),
            None => line[other].clone(),
        };
        let (ids, pieces) = (of("plain_ids", "ids"), of("plain_pieces", "pieces"));
        if plain.ids != common::numbers(&ids) || plain.pieces() != common::words(&pieces) {
            wrong.push(format!(
                "plain {text:?}\n  {:?}\n  {pieces}",
                plain.pieces()
            ));
        }
    }
    let shown = &wrong[..wrong.len().min(20)];
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        lines.len(),
        shown.join("\n")
    );
}

#[test]
fn lines_of_the_data_folder_equal_the_slow_tokenizer() {
    let Some(data) = common::data() else { return };
    let tokenizer = Tokenizer::from_file(data.join("tokenizer/spiece.model")).unwrap();
    let files: serde_json::Value =
        serde_json::from_str(&common::text(&common::golden("data.json"))).unwrap();
    let mut wrong = Vec::new();
    let mut lines = 0;
    for entry in files.as_array().unwrap() {
        let picked = common::picked(&data, entry);
        let hashes = common::words(&entry["hashes"]);
        assert_eq!(picked.len(), hashes.len(), "{}", entry["file"]);
        for (at, (text, hash)) in picked.iter().zip(hashes).enumerate() {
            let encoding = tokenizer.tokens(text, true).unwrap();
            if common::hash(&encoding.ids, &encoding.pieces()) != hash {
                wrong.push(format!("{} #{at}: {text:?}", entry["file"]));
            }
        }
        lines += picked.len();
    }
    assert!(lines >= 10_000, "{lines} lines");
    let shown = &wrong[..wrong.len().min(20)];
    assert!(
        wrong.is_empty(),
        "{} of {lines} differ:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

#[test]
fn other_rules_equal_the_slow_tokenizer() {
    let Some(data) = common::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        data.join("tokenizer/spiece.model"),
        folder.path().join("spiece.model"),
    )
    .unwrap();
    let lines = common::golden_lines("awkward.jsonl.zst");
    for (name, config) in [
        ("cased", r#"{"do_lower_case": false, "keep_accents": true}"#),
        ("spaced", r#"{"remove_space": false}"#),
    ] {
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        let mut checked = 0;
        for line in lines.iter().filter(|line| line.get(name).is_some()) {
            let text = common::line_text(line);
            let encoding = tokenizer.tokens(&text, true).unwrap();
            let hash = common::hash(&encoding.ids, &encoding.pieces());
            assert_eq!(line[name].as_str(), Some(hash.as_str()), "{name}: {text:?}");
            checked += 1;
        }
        assert!(checked > 4000, "{checked}");
    }
}
