//! From labelled examples to a model, its scores and its answers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{albert, failure, names, root, stdout, text};

/// Training and dev files of two classes that words tell apart.
fn files(home: &Path) -> (PathBuf, PathBuf) {
    let (animals, tools) = (
        ["dog", "cat", "horse", "cow"],
        ["hammer", "knife", "axe", "rope"],
    );
    let rows = |count: usize| {
        let row = |i: usize| match i % 2 {
            0 => format!("we saw a {} there \t0\n", animals[i / 2 % 4]),
            _ => format!("we saw a \"{} there \t1\n", tools[i / 2 % 4]),
        };
        (0..count).map(row).collect::<String>()
    };
    let (train, dev) = (home.join("train.tsv"), home.join("dev.tsv"));
    fs::write(&train, format!("sentence\tlabel\n{}", rows(40))).unwrap();
    fs::write(&dev, format!("sentence\tlabel\n{}", rows(16))).unwrap();
    (train, dev)
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn examples_become_a_model_that_answers() {
    let home = tempfile::tempdir().unwrap();
    let (train, dev) = files(home.path());
    let model = home.path().join("model");
    let said = stdout(&[
        "finetune",
        "classify",
        "--model",
        "mini",
        "--train",
        text(&train),
        "--dev",
        text(&dev),
        "--output",
        text(&model),
        "--epochs",
        "5",
        "--rate",
        "3e-4",
        "--adapter",
        "--label-names",
        "0=animal",
        "1=tool",
        "--json",
    ]);
    let report = json(said.lines().last().unwrap());
    assert_eq!(report["dev"]["values"]["accuracy"], 1.0);
    assert!(said.lines().next().unwrap().contains("\"event\""));
    assert!(model.join("base.json").exists() && !model.join("model.safetensors").exists());

    // The labels of the file are the ids of the model's.
    let answers = home.path().join("answers.jsonl");
    let page = home.path().join("report.html");
    let scored = json(&stdout(&[
        "evaluate",
        "--model",
        text(&model),
        "--data",
        text(&dev),
        "--json",
        "--predictions",
        text(&answers),
        "--report",
        text(&page),
    ]));
    assert_eq!(
        (&scored["rows"], &scored["metrics"]["accuracy"]),
        (&16.into(), &1.0.into())
    );
    assert_eq!(scored["intervals"]["accuracy"][1], 1.0);
    let answers = fs::read_to_string(answers).unwrap();
    assert_eq!(answers.lines().count(), 16);
    assert_eq!(json(answers.lines().next().unwrap())["answer"], "animal");
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains("<h2>Scores</h2>")
    );

    // Whole, it answers the same.
    let whole = home.path().join("whole");
    stdout(&["export", "--model", text(&model), "--output", text(&whole)]);
    let ask =
        |model: &Path| stdout(&["classify", "--model", text(model), "--json", "we saw a cat"]);
    assert_eq!(ask(&model), ask(&whole));
    assert_eq!(json(&ask(&whole))["label"], "animal");
    names(
        &failure(
            &["export", "--model", text(&model), "--output", text(&whole)],
            1,
        ),
        &["whole", "not empty"],
    );
    names(
        &stdout(&["inspect", text(&model)]),
        &["SequenceClassification", "those of", "mini"],
    );
}

#[test]
fn rows_are_answered_in_order_and_failures_stand_in_their_place() {
    let home = tempfile::tempdir().unwrap();
    let rows = home.path().join("rows.jsonl");
    // More rows than go together at once.
    let mut lines: Vec<String> = (0..150)
        .map(|i| format!("{{\"text_a\": \"row {i}\", \"text_b\": \"row {i}\"}}"))
        .collect();
    lines[70] = "{\"text\": 1}".to_owned();
    lines[149] = "{".to_owned();
    fs::write(&rows, lines.join("\n")).unwrap();
    let output = albert(&["similarity", "--model", "mini", "--input", text(&rows)]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = said.lines().map(json).collect();
    assert_eq!(said.len(), 150);
    for (i, answer) in said.iter().enumerate() {
        match i {
            70 | 149 => {
                assert_eq!(answer["line"], i + 1);
                let line = format!("line {}", i + 1);
                names(answer["error"].as_str().unwrap(), &["rows.jsonl", &line]);
            }
            _ => assert!((answer["similarity"].as_f64().unwrap() - 1.0).abs() < 1e-5),
        }
    }
    names(
        &String::from_utf8(output.stderr).unwrap(),
        &["2 of 150 rows failed"],
    );

    let strict = albert(&[
        "similarity",
        "--model",
        "mini",
        "--input",
        text(&rows),
        "--strict",
    ]);
    assert_eq!(strict.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(strict.stdout).unwrap().lines().count(),
        70
    );
    names(
        &String::from_utf8(strict.stderr).unwrap(),
        &["rows.jsonl, line 71"],
    );

    // Plain texts, and the standard input.
    let given = |input: &[u8]| {
        let mini = root().join("models/mini");
        let mut child = Command::new(env!("CARGO_BIN_EXE_albert"))
            .args(["embed", "--model", text(&mini), "--input", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        json(&String::from_utf8(output.stdout).unwrap())
    };
    let vector = given(b"{\"text\": \"one\"}\n");
    assert_eq!(given(b"one\n"), vector);
    assert_eq!(vector["vector"].as_array().unwrap().len(), 384);
    let plain = home.path().join("rows.txt");
    fs::write(&plain, "one\n{\"not\": json\n").unwrap();
    let said = stdout(&["embed", "--model", "mini", "--input", text(&plain)]);
    assert_eq!(json(said.lines().next().unwrap()), vector);
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn few_of_each_class_are_taken_of_all_files_together() {
    let home = tempfile::tempdir().unwrap();
    let (train, dev) = files(home.path());
    let output = home.path().join("model");
    let report = stdout(&[
        "finetune",
        "classify",
        "--model",
        "mini",
        "--train",
        text(&train),
        text(&train),
        "--dev",
        text(&dev),
        "--output",
        text(&output),
        "--per-class",
        "2",
        "--epochs",
        "1",
        "--rate",
        "1e-4",
        "--json",
    ]);
    let report = json(report.lines().last().unwrap());
    assert_eq!(report["examples"], 4);
}

#[test]
fn bad_examples_are_named_by_file_line_and_field() {
    let home = tempfile::tempdir().unwrap();
    let (train, dev) = files(home.path());
    let output = home.path().join("model");
    let bad = home.path().join("bad.tsv");
    let refusal = |rows: &str, code: i32, more: &[&str]| {
        fs::write(&bad, rows).unwrap();
        let mut args = vec![
            "finetune",
            "classify",
            "--model",
            "mini",
            "--train",
            text(&train),
            "--dev",
            text(&bad),
            "--output",
            text(&output),
            "--epochs",
            "1",
        ];
        args.extend(more);
        failure(&args, code)
    };
    names(
        &refusal("sentence\tlabel\nno label\n", 1, &[]),
        &["bad.tsv", "line 2", "`label`"],
    );
    names(
        &refusal("text\tlabel\nfine\t1\n", 1, &["--format", "sst2"]),
        &["bad.tsv", "`sentence`"],
    );
    names(
        &refusal("sentence\tlabel\nfine\t7\n", 1, &[]),
        &["bad.tsv", "line 2", "`7`", "0, 1"],
    );
    names(
        &refusal("sentence\tlabel\n", 1, &[]),
        &["bad.tsv", "no examples"],
    );
    names(
        &refusal("sentence\tlabel\nfine\t1\n", 2, &["--format", "sst3"]),
        &["sst3", "sst2"],
    );
    names(
        &refusal("sentence\tlabel\nfine\t1\n", 1, &["--max-length", "600"]),
        &["max_length", "512"],
    );
    let recipe = home.path().join("recipe.toml");
    fs::write(&recipe, "epochs = 1\nrate = 1e-4\n").unwrap();
    names(
        &refusal(
            "sentence\tlabel\nfine\t1\n",
            1,
            &["--recipe", text(&recipe)],
        ),
        &["recipe.toml", "line 2", "rate"],
    );
    assert!(!output.exists());
    fs::create_dir(&output).unwrap();
    fs::write(output.join("thesis.txt"), "years of work").unwrap();
    names(
        &refusal("sentence\tlabel\nfine\t1\n", 1, &[]),
        &["model", "not empty"],
    );
    assert_eq!(
        fs::read_to_string(output.join("thesis.txt")).unwrap(),
        "years of work"
    );

    names(
        &failure(&["evaluate", "--model", "mini", "--data", text(&dev)], 1),
        &[
            "classify needs",
            "AlbertForPreTraining",
            "albert finetune classify",
        ],
    );
    names(
        &failure(
            &[
                "answer",
                "--model",
                "mini",
                "--question",
                "Why?",
                "--context",
                "nowhere",
            ],
            1,
        ),
        &["question answering"],
    );
}

#[test]
fn clear_rows_leave_a_model_with_early_exits() {
    let home = tempfile::tempdir().unwrap();
    let (train, dev) = files(home.path());
    let model = home.path().join("model");
    // One look, at the end: the last classifier is right long before the others.
    let recipe = home.path().join("recipe.toml");
    fs::write(&recipe, "evaluations = 0.04").unwrap();
    let args = [
        "finetune",
        "classify",
        "--model",
        "mini",
        "--train",
        text(&train),
        "--dev",
        text(&dev),
        "--output",
        text(&model),
        "--epochs",
        "25",
        "--rate",
        "3e-4",
        "--early-exit",
        "--recipe",
        text(&recipe),
        "--json",
    ];
    stdout(&args);
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    assert_eq!(json(&config)["early_exits"], true);
    let accuracy = |more: &[&str]| {
        let args = [
            "evaluate",
            "--json",
            "--model",
            text(&model),
            "--data",
            text(&dev),
        ];
        let report = json(&stdout(&[&args[..], more].concat()));
        report["metrics"]["accuracy"].as_f64().unwrap()
    };
    assert_eq!(accuracy(&[]), 1.0);
    assert_eq!(accuracy(&["--patience", "1"]), 1.0);
    assert_eq!(accuracy(&["--patience", "1", "--precision", "int8"]), 1.0);
    let one = [
        "classify",
        "--model",
        text(&model),
        "--patience",
        "0",
        "--json",
        "we saw a cow there",
    ];
    assert_eq!(json(&stdout(&one))["label"], "0");

    // It can be taken further, without them as well.
    let next = home.path().join("next");
    let args = [
        "finetune",
        "classify",
        "--model",
        text(&model),
        "--train",
        text(&train),
        "--dev",
        text(&dev),
        "--output",
        text(&next),
        "--epochs",
        "1",
        "--rate",
        "1e-4",
    ];
    stdout(&args);
    let message = failure(
        &[
            "classify",
            "--model",
            text(&next),
            "--patience",
            "1",
            "A cow.",
        ],
        1,
    );
    names(&message, &["--patience", "no early exits", "--early-exit"]);
    let wrong = [
        "finetune",
        "tag",
        "--train",
        text(&train),
        "--dev",
        text(&dev),
        "--early-exit",
        "--output",
        text(&next),
    ];
    failure(&wrong, 1);
}
