//! What the program answers.

use std::fs;

use crate::common::{albert, golden, root, stdout, text};
use serde_json::{Value, json};

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn one_command_completes_a_sentence_and_judges_an_order() {
    let people = stdout(&["try", "The ship sailed across the [MASK]."]);
    assert!(
        people.contains("share") && people.contains("swapped"),
        "{people}"
    );

    let answer = parse(&stdout(&["try", "--json", "--order", "One.", "Two."]));
    let candidates = answer["fill_mask"][0]["masks"][0]["candidates"]
        .as_array()
        .unwrap();
    assert_eq!(candidates.len(), 5);
    assert_eq!(answer["order"]["text_b"], "Two.");
}

#[test]
fn fill_mask_gives_sorted_probabilities_and_the_place_of_each_mask() {
    let sentence = "The [MASK] of England was [MASK] in London.";
    let output = stdout(&[
        "fill-mask",
        sentence,
        "Hello [MASK]",
        "--top",
        "7",
        "--json",
    ]);
    let rows: Vec<Value> = output.lines().map(parse).collect();
    assert_eq!(rows.len(), 2);
    let masks = rows[0]["masks"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    for mask in masks {
        let start = mask["offsets"][0].as_u64().unwrap() as usize;
        let end = mask["offsets"][1].as_u64().unwrap() as usize;
        assert_eq!(&sentence[start..end], "[MASK]");
        let shares: Vec<f64> = mask["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|candidate| candidate["probability"].as_f64().unwrap())
            .collect();
        assert_eq!(shares.len(), 7);
        assert!(shares.is_sorted_by(|a, b| a >= b));
        assert!(shares.iter().sum::<f64>() <= 1.0 && shares[0] > 0.0);
    }
}

#[test]
fn fill_mask_answers_masks_beyond_the_position_limit_from_windows() {
    let long = format!("[MASK] {} [MASK]", "word ".repeat(2000));
    let answer = parse(&stdout(&["fill-mask", &long, "--json"]));
    assert_eq!(answer["windowed"], true);
    assert_eq!(answer["masks"].as_array().unwrap().len(), 2);
}

#[test]
fn order_shares_sum_to_one_and_truncation_is_said() {
    let answer = parse(&stdout(&["order", "He was born.", "He died.", "--json"]));
    let sum = answer["in_order"].as_f64().unwrap() + answer["swapped"].as_f64().unwrap();
    assert!((sum - 1.0).abs() < 1e-6);
    assert_eq!(answer["truncated"], 0);

    let long = "word ".repeat(1000);
    let answer = parse(&stdout(&["order", &long, "He died.", "--json"]));
    assert!(answer["truncated"].as_u64().unwrap() > 0);
}

#[test]
fn tokenize_reads_rows_and_texts() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(
        &rows,
        "{\"text\": \"Hello, world\", \"id\": 7}\n{\"text\": \"A [MASK].\", \"text_pair\": \"B\"}\n",
    )
    .unwrap();
    let output = stdout(&["tokenize", "--input", text(&rows), "--json"]);
    let lines: Vec<Value> = output.lines().map(parse).collect();
    assert_eq!(lines.len(), 2);
    let (first, second) = (&lines[0], &lines[1]);
    assert_eq!(first["pieces"][0], "[CLS]");
    assert_eq!(first["offsets"][0], serde_json::json!([0, 0]));
    assert_eq!(
        first["ids"].as_array().unwrap().len(),
        first["pieces"].as_array().unwrap().len()
    );
    let mask = second["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .position(|piece| piece.as_str().unwrap().trim() == "[MASK]");
    let span = &second["offsets"][mask.unwrap()];
    assert_eq!(
        span[1], 8,
        "the span of a typed [MASK] ends where it ends in the text: {span}"
    );
    assert_eq!(second["type_ids"].as_array().unwrap().last().unwrap(), 1);

    let unknown = parse(&stdout(&["tokenize", "a 你", "--json"]));
    assert_eq!(
        unknown["pieces"][3], "你",
        "what the vocabulary lacks is shown as it stands"
    );

    let plain = parse(&stdout(&["tokenize", "A [MASK].", "--plain", "--json"]));
    assert!(
        !plain["pieces"]
            .as_array()
            .unwrap()
            .contains(&"[MASK]".into())
    );
}

/// PyTorch's own f32 outputs move by up to 2e-6 of the range between builds; 1e-5 is the
/// project's bound for parity.
const PARITY: f32 = 1e-5;

#[test]
fn encode_equals_transformers_on_every_architecture() {
    for case in [
        "base",
        "pretraining",
        "masked_lm",
        "sequence_classes3",
        "sequence_regression",
        "token_classes5",
        "question",
        "multiple_choice",
    ] {
        let dir = golden(case);
        let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (rows, out) = (
            folder.path().join("rows.jsonl"),
            folder.path().join("out.safetensors"),
        );
        let integers = |name: String| -> Option<Vec<i64>> {
            let tensor = expected.tensor(&name).ok()?;
            let numbers = tensor.data().chunks_exact(8);
            Some(
                numbers
                    .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
                    .collect(),
            )
        };
        let mut lines = String::new();
        let mut count = 0;
        while let Some(ids) = integers(format!("input_ids.{count}")) {
            let types = integers(format!("token_type_ids.{count}"));
            let row = serde_json::json!({ "input_ids": ids, "token_type_ids": types });
            lines += &format!("{row}\n");
            count += 1;
        }
        std::fs::write(&rows, lines).unwrap();
        let model = text(&dir);
        stdout(&[
            "encode",
            "--model",
            model,
            "--input",
            text(&rows),
            "--output",
            text(&out),
            "--hidden-states",
        ]);

        let bytes = std::fs::read(&out).unwrap();
        let ours = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut compared = 0;
        for (name, want) in expected.tensors() {
            if name.starts_with("input_ids") || name.starts_with("token_type_ids") {
                continue;
            }
            let got = ours
                .tensor(&name)
                .unwrap_or_else(|_| panic!("{case}: {name} is missing"));
            assert_eq!(got.shape(), want.shape(), "{case}: {name}");
            let (got, want) = (floats(got.data()), floats(want.data()));
            // An output's range is that over all rows: a pair of logits has none of its own.
            let output = name.rsplit_once('.').unwrap().0;
            let all: Vec<f32> = (0..count)
                .flat_map(|row| floats(expected.tensor(&format!("{output}.{row}")).unwrap().data()))
                .collect();
            let low = all.iter().copied().fold(f32::INFINITY, f32::min);
            let high = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (a, b) in got.iter().zip(&want) {
                assert!(
                    (a - b).abs() <= PARITY * (high - low),
                    "{case}: {name}: {a} against {b}"
                );
            }
            compared += 1;
        }
        assert!(
            count == 5 && compared >= 4 * count,
            "{case}: {compared} outputs compared"
        );
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

#[test]
fn inspect_counts_what_sharing_saves() {
    let report = parse(&stdout(&["inspect", "mini", "--json"]));
    let total = report["parameters"]["total"].as_u64().unwrap();
    assert!(
        total < 6_000_000,
        "what ships has at most 6 million parameters"
    );
    assert!(report["parameters"]["unshared"].as_u64().unwrap() > total);
    assert!(stdout(&["inspect", text(&root().join("models/mini"))]).contains("shared layer"));
}

#[test]
fn models_and_doctor_report() {
    let models = parse(&stdout(&["models", "--json"]));
    let models = models.as_array().unwrap();
    let mini = models.iter().find(|model| model["name"] == "mini").unwrap();
    assert!(!mini["summary"].as_str().unwrap().is_empty());
    let doctor = parse(&stdout(&["doctor", "--json"]));
    assert!(doctor["threads"].as_u64().unwrap() >= 1);
    assert!(doctor["default_model"].as_str().unwrap().ends_with("mini"));
}

#[test]
fn every_command_has_help_with_an_example() {
    let mut commands = vec![
        vec!["try"],
        vec!["fill-mask"],
        vec!["order"],
        vec!["tokenize"],
        vec!["encode"],
        vec!["inspect"],
        vec!["classify"],
        vec!["tag"],
        vec!["answer"],
        vec!["choose"],
        vec!["embed"],
        vec!["similarity"],
        vec!["zero-shot"],
        vec!["evaluate"],
        vec!["models"],
        vec!["doctor"],
        vec!["quantize"],
    ];
    if cfg!(feature = "train") {
        let learning = [
            vec!["tokenizer", "train"],
            vec!["pretrain"],
            vec!["score"],
            vec!["finetune"],
        ];
        commands.extend(learning);
    }
    for mut command in commands {
        command.push("--help");
        let help = stdout(&command);
        assert!(
            help.contains("Example") && help.contains("--json"),
            "{command:?}: {help}"
        );
    }
}

#[test]
fn rows_begin_behind_a_byte_order_mark_and_have_the_names_of_data_sets() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rows.jsonl");
    let rows = "\u{feff}{\"text\": \"A lovely film.\"}\r\n{\"sentence\": \"An awful film.\"}\r\n";
    fs::write(&path, rows).unwrap();
    let said = stdout(&["classify", "--input", text(&path)]);
    let labels: Vec<Value> = said
        .lines()
        .map(|line| parse(line)["label"].take())
        .collect();
    assert_eq!(labels, ["positive", "negative"]);
}

/// What was learnt under other names is scored under them.
#[test]
fn unsure_words_need_a_person_and_vectors_may_be_those_of_cls() {
    let tagged = |threshold: &str| {
        let said = stdout(&["tag", "play blue moon", "--json", "--abstain", threshold]);
        parse(&said)["needs_a_person"].clone()
    };
    assert_eq!((tagged("0"), tagged("1")), (false.into(), true.into()));
    let vector = |pooling: &[&str]| {
        let said = stdout(&[&["embed", "A plane."], pooling].concat());
        parse(&said)["vector"].clone()
    };
    assert_eq!(vector(&[]), vector(&["--pooling", "mean"]));
    assert_ne!(vector(&[]), vector(&["--pooling", "cls"]));
}

#[test]
fn labels_are_scored_by_other_names() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data.csv");
    fs::write(&data, "text,label\nA lovely film.,yes\nAn awful film.,no\n").unwrap();
    let said = stdout(&[
        "evaluate",
        "--data",
        text(&data),
        "--json",
        "--label-names",
        "yes=positive",
        "no=negative",
    ]);
    assert_eq!(parse(&said)["metrics"]["accuracy"], 1.0);
}

#[test]
fn a_model_is_scored_beside_another() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data.csv");
    fs::write(
        &data,
        "text,label\nA lovely film.,positive\nAn awful film.,negative\n",
    )
    .unwrap();
    let evaluate = ["evaluate", "--data", text(&data), "--against"];
    let said = stdout(&[&evaluate[..], &["sentiment", "--json"]].concat());
    let against = &parse(&said)["against"];
    assert_eq!(against["model"], "sentiment");
    assert_eq!(against["metrics"], parse(&said)["metrics"]);
    assert_eq!(against["leads"]["accuracy"]["value"], 0.0);
    assert_eq!(against["leads"]["accuracy"]["interval"], json!([0.0, 0.0]));
    let said = stdout(&[&evaluate[..], &["sentiment"]].concat());
    assert!(said.contains("above sentiment"), "{said}");

    // What the first model scored is not lost when the other cannot be asked.
    let kept = home.path().join("said.jsonl");
    let output = albert(
        &[
            &evaluate[..],
            &["slots", "--json", "--predictions", text(&kept)],
        ]
        .concat(),
    );
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(parse(&said)["metrics"]["accuracy"], 1.0);
    assert_eq!(fs::read_to_string(&kept).unwrap().lines().count(), 2);

    // One that is not there is missed before anything is scored.
    let output = albert(&[&evaluate[..], &["nowhere"]].concat());
    assert!(!output.status.success() && output.stdout.is_empty());
}
