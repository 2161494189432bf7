//! From raw text to an answer with nothing but the program, and what it says when that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{failure, names, stdout, text};
use serde_json::Value;

/// Some two hundred short documents, so that a small vocabulary can be learnt from them.
pub fn corpus(folder: &Path) -> PathBuf {
    let animals = [
        "cat", "dog", "horse", "bird", "fish", "mouse", "cow", "sheep",
    ];
    let places = ["house", "garden", "river", "field", "forest", "village"];
    let times = ["morning", "evening", "night", "winter", "summer"];
    let mut lines = String::new();
    for (a, animal) in animals.iter().enumerate() {
        for (p, place) in places.iter().enumerate() {
            for (t, time) in times.iter().enumerate() {
                let number = a * 30 + p * 5 + t + 1;
                lines += &format!(
                    "In the {time} the {animal} went to the {place}. It was day {number}.\n\
                     Then the {animal} slept. After that it ate near the {place}!\n\n"
                );
            }
        }
    }
    let path = folder.join("corpus.txt");
    fs::write(&path, lines).unwrap();
    path
}

fn recipe(folder: &Path, stage: &str) -> PathBuf {
    let path = folder.join("recipe.toml");
    let text = format!(
        "tokenizer = \"vocabulary\"\n\
         [model]\npreset = \"tiny\"\n\
         [[stage]]\nlength = 48\nbatch = 8\n{stage}\n\
         [optimizer]\nkind = \"lamb\"\nrate = 2e-3\n\
         [schedule]\nwarmup_steps = 2\n\
         [report]\ndev_share = 0.1\nevaluate_steps = 10\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn raw_text_becomes_a_model_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    let vocabulary = folder.path().join("vocabulary");
    stdout(&[
        "tokenizer",
        "train",
        "--corpus",
        text(&corpus),
        "--vocab-size",
        "96",
        "--output",
        text(&vocabulary),
        "--json",
    ]);
    let again = [
        "tokenizer",
        "train",
        "--corpus",
        text(&corpus),
        "--output",
        text(&vocabulary),
    ];
    names(&failure(&again, 1), &["tokenizer.json", "exists"]);

    let recipe_file = recipe(folder.path(), "steps = 20");
    let out = folder.path().join("out");
    let pretrain = [
        "pretrain",
        "--recipe",
        text(&recipe_file),
        "--corpus",
        text(&corpus),
        "--output",
        text(&out),
        "--json",
    ];
    let output = stdout(&pretrain);
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["finished"], &last["steps"]),
        (&true.into(), &20.into())
    );
    assert!(last["dev"]["masked_lm_accuracy"].as_f64().is_some());
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "metrics.csv",
        "curves.svg",
    ] {
        assert!(out.join(file).exists(), "{file} is missing");
    }

    let model = text(&out);
    assert!(stdout(&["fill-mask", "The [MASK] slept.", "--model", model]).contains("share"));
    let score = stdout(&[
        "score",
        "--model",
        model,
        "--corpus",
        text(&corpus),
        "--json",
    ]);
    let score: Value = serde_json::from_str(&score).unwrap();
    for key in [
        "masked_lm_loss",
        "masked_lm_accuracy",
        "masked_bits_per_character",
        "sentence_order_accuracy",
        "documents",
        "tokens",
        "masked",
    ] {
        assert!(score[key].as_f64().unwrap() >= 0.0, "{key}: {score}");
    }
    assert_eq!(score["documents"], 240);

    names(&failure(&pretrain, 1), &["out", "exists"]);
    fs::write(&corpus, "Quite another text. It is short.\n").unwrap();
    let resumed: Vec<&str> = pretrain.iter().copied().chain(["--resume"]).collect();
    names(&failure(&resumed, 1), &["corpus"]);
}

#[test]
fn bad_recipes_and_corpora_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |recipe: &Path, corpus: &Path| {
        let message = failure(
            &[
                "pretrain",
                "--recipe",
                text(recipe),
                "--corpus",
                text(corpus),
                "--output",
                text(&out),
                "--tokenizer",
                text(&crate::common::root().join("models/mini")),
            ],
            1,
        );
        assert!(!out.exists(), "a failed start leaves nothing behind");
        message
    };
    let good = corpus(folder.path());
    let recipe_file = recipe(folder.path(), "steps = 2");
    let other = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };

    names(
        &run(&folder.path().join("none.toml"), &good),
        &["none.toml"],
    );
    names(&run(&recipe(folder.path(), "stepz = 2"), &good), &["stepz"]);
    names(&run(&recipe(folder.path(), "steps = 0"), &good), &["steps"]);
    recipe(folder.path(), "steps = 2");
    names(&run(&recipe_file, &other("empty.txt", b" \n")), &["empty"]);
    names(
        &run(&recipe_file, &other("bad.txt", b"a\nb\xff\n")),
        &["bad.txt", "line 2", "UTF-8"],
    );
    names(
        &run(
            &recipe_file,
            &other("bad.jsonl", b"{\"text\": \"a\"}\n{\"words\": 1}\n"),
        ),
        &["bad.jsonl", "line 2"],
    );
    names(&run(&recipe_file, &other("text.pdf", b"a")), &["text.pdf"]);
    names(
        &run(&recipe_file, &folder.path().join("none.txt")),
        &["none.txt"],
    );
}

#[test]
fn a_device_that_is_not_there_is_told_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let recipe_file = recipe(folder.path(), "steps = 2");
    let out = folder.path().join("out");
    // Without CUDA built in this is wrong usage already.
    let code = if cfg!(feature = "cuda") { 1 } else { 2 };
    let message = failure(
        &[
            "pretrain",
            "--recipe",
            text(&recipe_file),
            "--corpus",
            "no-such-file.txt",
            "--output",
            text(&out),
            "--device",
            "cuda:1000",
        ],
        code,
    );
    names(&message, &["device", "1000"]);
    assert!(!out.exists(), "a failed start leaves nothing behind");
}

#[cfg(not(feature = "mpi"))]
#[test]
fn processes_that_cannot_train_together_do_not_train() {
    let output = Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(["pretrain", "--recipe", "x.toml", "--corpus", "x.txt"])
        .args(["--output", "x"])
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    names(&message, &["2 processes", "--features mpi"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint_that_resumes() {
    told_to_stop("-INT");
}

/// As batch systems, containers and systemd do.
#[cfg(unix)]
#[test]
fn a_request_to_end_saves_a_checkpoint_that_resumes() {
    told_to_stop("-TERM");
}

#[cfg(unix)]
fn told_to_stop(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    let recipe_file = recipe(folder.path(), "steps = 1000000");
    let out = folder.path().join("out");
    let mut run = Command::new(env!("CARGO_BIN_EXE_albert"))
        .args([
            "pretrain",
            "--recipe",
            text(&recipe_file),
            "--corpus",
            text(&corpus),
        ])
        .args([
            "--tokenizer",
            text(&crate::common::root().join("models/mini")),
            "--output",
            text(&out),
        ])
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !out.join("metrics.csv").exists() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "training did not begin"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    let mini = crate::common::root().join("models/mini");
    let message = failure(
        &[
            "pretrain",
            "--recipe",
            text(&recipe_file),
            "--corpus",
            text(&corpus),
            "--tokenizer",
            text(&mini),
            "--output",
            text(&out),
            "--resume",
        ],
        1,
    );
    names(&message, &[text(&out), "another run is writing"]);
    let kill = Command::new("kill")
        .args([signal, &run.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    assert!(run.wait().unwrap().success(), "a stopped run is no failure");
    let output = std::io::read_to_string(run.stdout.take().unwrap()).unwrap();
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(last["finished"], false);
    assert!(
        stdout(&["inspect", text(&out)]).contains("yes"),
        "the checkpoint loads"
    );
}
