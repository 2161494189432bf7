//! The models that ship: they answer by their names, and score what their cards promise.

use std::path::PathBuf;

use serde_json::Value;

use crate::common::{albert, names, root, stdout, text};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

#[test]
fn every_task_has_a_model() {
    let label = |text: &str| json(&["classify", "--json", text])["label"].clone();
    assert_eq!(label("A wonderful, moving film."), "positive");
    assert_eq!(label("A dull and tedious mess."), "negative");
    let intent = json(&[
        "classify",
        "--model",
        "intents",
        "--json",
        "please translate hello into spanish",
    ]);
    assert_eq!(intent["label"], "translate");

    let song = "play blue moon by billie holiday";
    let tagged = json(&["tag", "--json", song]);
    let artist = tagged["entities"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["label"] == "artist");
    assert_eq!(artist.unwrap()["text"], "billie holiday");

    let alike = |a: &str, b: &str| {
        json(&["similarity", "--json", a, b])["similarity"]
            .as_f64()
            .unwrap()
    };
    let near = alike("A plane is taking off.", "An airplane is taking off.");
    let far = alike("A plane is taking off.", "A man is slicing potatoes.");
    assert!(near > far + 0.2, "{near} {far}");

    let classes = [
        "zero-shot",
        "--json",
        "The team won the football match.",
        "--classes",
        "sport",
        "cooking",
    ];
    assert!(json(&classes)["confidence"].as_f64().unwrap() > 0.5);

    let readme = root().join("README.md");
    let question = "What does ALBERT share between its layers?";
    let answered = json(&[
        "answer",
        "--json",
        "--question",
        question,
        "--context",
        text(&readme),
    ]);
    let context: Vec<char> = std::fs::read_to_string(&readme).unwrap().chars().collect();
    let best = &answered["answers"][0];
    let place = |name: &str| best[name].as_u64().unwrap() as usize;
    let there: String = context[place("start")..place("end")].iter().collect();
    assert_eq!(there, best["text"].as_str().unwrap());
}

#[test]
fn answers_that_are_not_sure_enough_ask_for_a_person() {
    let ask = |threshold: &str| {
        let args = [
            "classify",
            "--model",
            "intents",
            "--json",
            "--abstain",
            threshold,
            "hello",
        ];
        json(&args)["needs_a_person"].clone()
    };
    assert_eq!((ask("0"), ask("1")), (false.into(), true.into()));
}

#[test]
fn the_models_together_stay_small() {
    let listed = json(&["models", "--json"]);
    let models = listed.as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|m| m["name"].as_str().unwrap()).collect();
    let expected = [
        "intents",
        "mini",
        "nli",
        "qa",
        "sentences",
        "sentiment",
        "slots",
    ];
    assert_eq!(names, expected);
    let sizes: Vec<u64> = models
        .iter()
        .map(|m| m["bytes"].as_u64().unwrap())
        .collect();
    assert!(sizes.iter().sum::<u64>() <= 40_000_000, "{sizes:?}");
    assert!(
        models
            .iter()
            .all(|m| !m["summary"].as_str().unwrap().is_empty())
    );
}

#[test]
fn they_score_what_was_asked_of_them() {
    let Some(data) = std::env::var_os("ALBERT_DATA").map(PathBuf::from) else {
        eprintln!("skipped: ALBERT_DATA does not name the folder of test data");
        return;
    };
    for (model, file, more, metric, floor) in [
        (
            "sentiment",
            "glue/SST-2/dev.tsv",
            &["--format", "sst2"][..],
            "accuracy",
            0.80,
        ),
        (
            "intents",
            "intents/clinc150.json",
            &["--split", "val"],
            "in_scope_accuracy",
            0.88,
        ),
        (
            "nli",
            "glue/MNLI/sample-dev.jsonl",
            &["--format", "mnli"],
            "accuracy",
            0.48,
        ),
        (
            "sentences",
            "glue/STS-B/dev.tsv",
            &["--format", "stsb"],
            "spearman",
            0.55,
        ),
        ("qa", "squad/dev-v1.1.json", &[], "f1", 0.20),
        ("slots", "intents/snips/valid", &[], "f1", 0.85),
    ] {
        let file = data.join(file);
        let mut args = vec![
            "evaluate",
            "--model",
            model,
            "--data",
            text(&file),
            "--json",
        ];
        args.extend(more);
        let scored = json(&args);
        let value = scored["metrics"][metric].as_f64().unwrap();
        assert!(value >= floor, "{model}: {metric} is {value}, not {floor}");
        let interval = &scored["intervals"][metric];
        assert!(interval[0].as_f64() <= Some(value) && Some(value) <= interval[1].as_f64());
    }
}

#[test]
fn a_folder_of_quantize_answers_as_int8_does_and_is_refused_where_it_costs_too_much() {
    let home = tempfile::tempdir().unwrap();
    let (examples, output) = (home.path().join("dev.jsonl"), home.path().join("int8"));
    let lines = [
        ("A wonderful, moving film.", "positive"),
        ("A dull and tedious mess.", "negative"),
    ];
    let rows =
        lines.map(|(text, label)| format!("{{\"text\":\"{text}\",\"label\":\"{label}\"}}\n"));
    std::fs::write(&examples, rows.concat()).unwrap();
    let quantize = ["quantize", "--model", "sentiment", "--json"];
    let calibrate = ["--calibrate", text(&examples), "--output", text(&output)];
    let report = json(&[&quantize[..], &calibrate[..]].concat());
    assert_eq!(report["scores"]["accuracy"]["int8"], 1.0);
    assert!(report["bytes"].as_u64() < report["bytes_before"].as_u64());

    let film = "An honest film that is far too long.";
    let whole = [
        "classify",
        "--model",
        "sentiment",
        "--precision",
        "int8",
        "--json",
        film,
    ];
    let stored = ["classify", "--model", text(&output), "--json", film];
    assert_eq!(json(&whole), json(&stored));

    let texts = home.path().join("texts.txt");
    std::fs::write(&texts, "The ship sailed across the sea.\nIt rained.\n").unwrap();
    let refused = home.path().join("refused");
    let out = albert(&[
        "quantize",
        "--model",
        "mini",
        "--calibrate",
        text(&texts),
        "--least-cosine",
        "1",
        "--output",
        text(&refused),
    ]);
    assert!(!out.status.success());
    let message = String::from_utf8(out.stderr).unwrap();
    let tried = "trying with attention and ffn in floating point";
    names(&message, &["cosine", "--least-cosine", "--force", tried]);
    assert!(!refused.exists());

    let told = home.path().join("told");
    let skip = ["--skip", "ffn,ffn_output", "--output", text(&told)];
    let report = json(&[&quantize[..], &calibrate[..2], &skip].concat());
    assert_eq!(report["skipped"], serde_json::json!(["ffn", "ffn_output"]));
    let config = std::fs::read_to_string(told.join("config.json")).unwrap();
    names(&config, &["int8_skip_modules", "ffn", "ffn_output"]);
    let stored = ["classify", "--model", text(&told), "--json", film];
    assert_ne!(json(&whole), json(&stored));
    let inspected = albert(&["inspect", text(&told)]).stdout;
    let inspected = String::from_utf8(inspected).unwrap();
    names(&inspected, &["never in int8", "ffn, ffn_output"]);
}

#[test]
fn nothing_need_stay_in_floating_point_if_one_says_so() {
    let home = tempfile::tempdir().unwrap();
    let examples = home.path().join("dev.jsonl");
    std::fs::write(
        &examples,
        "{\"text\":\"A dull mess.\",\"label\":\"negative\"}\n",
    )
    .unwrap();
    let quantize = ["quantize", "--model", "sentiment", "--json", "--force"];
    let calibrate = ["--calibrate", text(&examples)];

    // What ships names attention.
    let output = home.path().join("output");
    let skip = ["--skip", "none", "--output", text(&output)];
    let report = json(&[&quantize[..], &calibrate, &skip].concat());
    assert_eq!(report["skipped"], serde_json::json!([]));
    let config = std::fs::read_to_string(output.join("config.json")).unwrap();
    assert!(!config.contains("int8_skip_modules"), "{config}");

    let refused = home.path().join("refused");
    let wrong = ["--skip", "ffn,heads", "--output", text(&refused)];
    let said = albert(&[&quantize[..], &calibrate, &wrong].concat());
    let said = String::from_utf8(said.stderr).unwrap();
    names(&said, &["--skip", "heads", "ffn_output"]);
}

#[test]
fn vectors_are_held_against_pairs_with_scores() {
    let home = tempfile::tempdir().unwrap();
    let pairs = home.path().join("pairs.tsv");
    let rows = [
        "sentence1\tsentence2\tscore",
        "A man is dancing.\tA man dances.\t4.8",
        "A child rides a horse.\tA child is riding.\t3.4",
        "The sea is calm.\tShe sold her car.\t0.2",
    ];
    std::fs::write(&pairs, rows.join("\n")).unwrap();
    let output = home.path().join("int8");
    let quantize = ["quantize", "--model", "sentences", "--json", "--force"];
    let from = ["--calibrate", text(&pairs), "--format", "stsb"];
    let report = json(&[&quantize[..], &from, &["--output", text(&output)]].concat());
    assert!(report["scores"]["spearman"]["int8"].is_number(), "{report}");
}
