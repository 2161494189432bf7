//! What the program says to bad input: exit code 2 for wrong usage, 1 for failure, the culprit
//! named, nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{albert, failure, golden, names, text};

#[test]
fn wrong_usage_ends_with_2() {
    names(&failure(&["fill-mask"], 2), &["TEXT"]);
    names(
        &failure(&["fill-mask", "[MASK]", "--top", "0"], 2),
        &["--top"],
    );
    names(&failure(&["no-such-command"], 2), &["no-such-command"]);
    names(
        &failure(&["tokenize", "a", "--input", "b"], 2),
        &["--input"],
    );
    names(&failure(&["order", "only one"], 2), &["TEXT_B"]);
    names(
        &failure(&["encode", "--precision", "f8"], 2),
        &["f8", "f32"],
    );
}

#[test]
fn a_model_that_is_not_there_is_named() {
    names(
        &failure(&["fill-mask", "[MASK]", "--model", "no-such-model"], 1),
        &["no-such-model", "mini"],
    );
    names(
        &failure(&["inspect", "/no/such/folder"], 1),
        &["/no/such/folder"],
    );
}

#[test]
fn text_without_a_mask_is_refused() {
    names(
        &failure(&["fill-mask", "[MASK] here", "nothing here"], 1),
        &["text 2", "[MASK]"],
    );
}

#[test]
fn what_holds_no_rows_is_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(folder.path());
    names(
        &failure(&["classify", "--input", dir], 1),
        &[dir, "directory"],
    );
    names(
        &failure(&["embed", "--input", "texts.csv"], 1),
        &["texts.csv", "JSON objects"],
    );
    // Each row has its error in its place; that none was answered is a failure.
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, "{\"text\": \"hello\"}\n").unwrap();
    let output = albert(&["similarity", "--input", text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    names(&said, &["rows.jsonl, line 1", "text_pair"]);
}

#[test]
fn classes_and_questions_must_say_something() {
    let zero_shot = |classes: [&str; 2]| {
        failure(
            &["zero-shot", "a text", "--classes", classes[0], classes[1]],
            1,
        )
    };
    names(&zero_shot(["a", " "]), &["--classes", "class 2"]);
    names(&zero_shot(["a", "a"]), &["--classes", "`a`", "twice"]);
    let answer = ["answer", "--question", " ", "--context", "no-such-file"];
    names(&failure(&answer, 1), &["--question is blank"]);
}

#[test]
fn a_blank_text_has_no_answer() {
    for command in ["classify", "tag", "embed", "zero-shot"] {
        let classes: &[&str] = match command {
            "zero-shot" => &["--classes", "a", "b"],
            _ => &[],
        };
        names(
            &failure(&[&[command, " "], classes].concat(), 1),
            &["the text is blank"],
        );
    }
    names(
        &failure(&["classify", "a", "--pair", ""], 1),
        &["the text is blank"],
    );
    names(
        &failure(&["similarity", "a", ""], 1),
        &["the text is blank"],
    );
    // Among others it has its error in its place.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, "{\"text\": \"good\"}\n{\"text\": \"\"}\n").unwrap();
    let output = albert(&["classify", "--input", text(&path)]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    names(lines[0], &["confidence"]);
    names(lines[1], &["rows.jsonl, line 2", "the text is blank"]);
}

#[test]
fn vectors_that_nobody_taught_are_scored_with_a_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(
        &data,
        "text,text_pair,score\na plane,an aircraft,4.5\na cat,the war,0.5\na dog,a hound,4\n",
    )
    .unwrap();
    let said = |model: &str| {
        let output = albert(&["evaluate", "--model", model, "--data", text(&data)]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    names(&said("mini"), &["not taught to compare texts"]);
    assert!(!said("sentences").contains("not taught"));
}

#[test]
fn scores_are_not_computed_for_a_place_that_is_not_there() {
    let evaluate = [
        "evaluate",
        "--data",
        "none.csv",
        "--format",
        "csv",
        "--report",
        "/no/such/r.html",
    ];
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(&data, "text,label\nlovely,positive\nawful,negative\n").unwrap();
    let mut given = evaluate;
    given[2] = text(&data);
    names(&failure(&given, 1), &["/no/such/r.html", "/no/such"]);
}

#[test]
fn blank_texts_have_no_order() {
    names(
        &failure(&["order", " ", "something"], 1),
        &["the first text"],
    );
}

/// Copies a reference folder and lets `change` spoil it.
fn spoilt(case: &str, change: impl Fn(&Path)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    fs::create_dir(&dir).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden(case).join(file), dir.join(file)).unwrap();
    }
    change(&dir);
    (folder, dir)
}

fn edit_config(dir: &Path, from: &str, to: &str) {
    let path = dir.join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    assert!(
        config.contains(from),
        "{from} is not in the reference config"
    );
    fs::write(&path, config.replace(from, to)).unwrap();
}

/// The message of `albert encode` over a folder with one row of ids.
fn encode_error(dir: &Path, row: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, row).unwrap();
    let out = folder.path().join("out.safetensors");
    let args = [
        "encode",
        "--model",
        text(dir),
        "--input",
        text(&rows),
        "--output",
        text(&out),
        "--json",
    ];
    let message = failure(&args, 1);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "something was left behind"
    );
    message
}

const ROW: &str = "{\"input_ids\": [2, 5, 3]}\n";

#[test]
fn bad_configs_name_the_field() {
    for (from, to, fragments) in [
        ("\"gelu_new\"", "\"mish\"", ["hidden_act", "mish"]),
        (
            "\"model_type\": \"albert\"",
            "\"model_type\": \"bert\"",
            ["model_type", "bert"],
        ),
        (
            "\"num_attention_heads\": 4",
            "\"num_attention_heads\": 5",
            ["num_attention_heads", "hidden_size"],
        ),
        (
            "\"hidden_size\": 32",
            "\"hidden_size\": \"wide\"",
            ["hidden_size", "config.json"],
        ),
        (
            "AlbertForPreTraining",
            "AlbertForPoetry",
            ["architectures", "AlbertForPoetry"],
        ),
    ] {
        let (_keep, dir) = spoilt("pretraining", |dir| edit_config(dir, from, to));
        names(&encode_error(&dir, ROW), &fragments);
    }
}

#[test]
fn bad_weights_name_the_file_or_the_tensor() {
    let weights = |dir: &Path| dir.join("model.safetensors");
    let (_keep, dir) = spoilt("pretraining", |dir| fs::remove_file(weights(dir)).unwrap());
    names(&encode_error(&dir, ROW), &["model.safetensors"]);

    let (_keep, dir) = spoilt("pretraining", |dir| {
        let bytes = fs::read(weights(dir)).unwrap();
        fs::write(weights(dir), &bytes[..bytes.len() / 2]).unwrap();
    });
    names(&encode_error(&dir, ROW), &["model.safetensors"]);

    let (_keep, dir) = spoilt("pretraining", |dir| {
        let mut bytes = fs::read(weights(dir)).unwrap();
        bytes[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
        fs::write(weights(dir), bytes).unwrap();
    });
    names(&encode_error(&dir, ROW), &["model.safetensors"]);

    // A larger vocabulary in the config than in the file.
    let (_keep, dir) = spoilt("pretraining", |dir| {
        edit_config(dir, "\"vocab_size\": 97", "\"vocab_size\": 98");
    });
    names(&encode_error(&dir, ROW), &["word_embeddings", "97", "98"]);

    // A head that the file does not hold.
    let (_keep, dir) = spoilt("base", |dir| {
        edit_config(dir, "AlbertModel", "AlbertForMaskedLM");
    });
    names(&encode_error(&dir, ROW), &["predictions"]);
}

#[test]
fn bad_rows_name_file_and_line() {
    let dir = golden("pretraining");
    for (rows, fragments) in [
        (
            "{\"input_ids\": [2, 97]}\n",
            vec!["rows.jsonl, line 1", "97"],
        ),
        (
            "{\"input_ids\": [2]}\n{\"input_ids\": []}\n",
            vec!["rows.jsonl, line 2", "empty"],
        ),
        (
            "{\"input_ids\": [2, 3], \"token_type_ids\": [0]}\n",
            vec!["line 1"],
        ),
        (
            "{\"input_ids\": [2], \"token_type_ids\": [2]}\n",
            vec!["line 1", "2"],
        ),
        ("{\"input_ids\": [-1]}\n", vec!["line 1"]),
        ("{\"words\": 1}\n", vec!["line 1", "input_ids"]),
        ("not json\n", vec!["line 1"]),
        ("{\"text\": \"a\"}\n", vec!["tokenizer.json"]),
    ] {
        names(&encode_error(&dir, rows), &fragments);
    }
    let long = format!("{{\"input_ids\": {:?}}}\n", vec![5; 41]);
    names(&encode_error(&dir, &long), &["line 1", "41", "40"]);
}

#[test]
fn files_that_are_not_utf8_are_named_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n").unwrap();
    let output = crate::common::albert(&["tokenize", "--input", text(&rows), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    names(
        &String::from_utf8(output.stderr).unwrap(),
        &["rows.jsonl, line 2", "UTF-8"],
    );
}

#[test]
fn a_tokenizer_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("tokenizer.json", &b"{}"[..]),
        ("tokenizer.json", b"not json"),
        ("spiece.model", b"\xff\xff\xff\xff"),
        ("spiece.model", b""),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        names(
            &failure(&["tokenize", "--tokenizer", text(&path), "a"], 1),
            &[name],
        );
    }
}

#[test]
fn a_task_without_its_head_names_the_folder() {
    let mini = crate::common::root().join("models/mini");
    for (task, head) in [
        ("classify", "sequence classification"),
        ("tag", "token classification"),
    ] {
        names(
            &failure(&[task, "a", "--model", text(&mini)], 1),
            &[text(&mini), head, "AlbertForPreTraining", "finetune"],
        );
    }
}

#[test]
fn a_tokenizer_of_more_pieces_than_the_model_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    fs::create_dir(&dir).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("base").join(file), dir.join(file)).unwrap();
    }
    let tokenizer = crate::common::root().join("models/mini/tokenizer.json");
    fs::copy(tokenizer, dir.join("tokenizer.json")).unwrap();
    // The vocabulary of the reference folder is far smaller than the tokenizer's.
    names(
        &failure(&["fill-mask", "[MASK]", "--model", text(&dir)], 1),
        &["vocab_size", "97"],
    );
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let (_keep, dir) = spoilt("pretraining", |dir| {
        let path = dir.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(path, bytes).unwrap();
    });
    names(&encode_error(&dir, ROW), &["not finite"]);
}

#[test]
fn what_a_folder_holds_beyond_its_use_is_said() {
    let (folder, dir) = spoilt("base", |dir| {
        edit_config(
            dir,
            "{\n  \"architectures\"",
            "{\n  \"my_new_gate\": 3,\n  \"architectures\"",
        );
    });
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, ROW).unwrap();
    let out = folder.path().join("out.safetensors");
    let args = [
        "encode",
        "--model",
        text(&dir),
        "--input",
        text(&rows),
        "--output",
        text(&out),
    ];
    let output = crate::common::albert(&args);
    assert!(output.status.success());
    names(&String::from_utf8(output.stderr).unwrap(), &["my_new_gate"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_error_output_is_no_panic() {
    use std::process::Command;
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(["inspect", "/no/such/folder"])
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
