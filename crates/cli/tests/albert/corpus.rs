//! `albert corpus`, and pretraining from what it makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{albert, failure, names, root, stdout, text};
use serde_json::Value;

/// Different documents of a few sentences each.
fn corpus(folder: &Path, name: &str, documents: usize) -> PathBuf {
    let nouns = [
        "ship", "king", "river", "town", "war", "church", "school", "film",
    ];
    let verbs = ["built", "found", "left", "saw", "joined", "opened"];
    let mut lines = String::new();
    for i in 0..documents {
        let word = |list: &[&str], step: usize| list[(i / step) % list.len()].to_owned();
        let (a, b, verb) = (word(&nouns, 1), word(&nouns, 8), word(&verbs, 3));
        lines += &format!(
            "In {} the {a} was {verb} near the {b}. It was number {i} of many!\n\
             After {} years the {b} was sold, and the {a} with it. Nobody {verb} it again.\n\n",
            1000 + i % 1000,
            i % 77,
        );
    }
    let path = folder.join(name);
    fs::write(&path, lines).unwrap();
    path
}

fn mini() -> PathBuf {
    root().join("models/mini")
}

fn build<'a>(corpus: &'a Path, tokenizer: &'a Path, output: &'a Path) -> Vec<&'a str> {
    vec![
        "corpus",
        "build",
        "--corpus",
        text(corpus),
        "--tokenizer",
        text(tokenizer),
        "--output",
        text(output),
        "--shard-mb",
        "1",
        "--threads",
        "2",
        "--json",
    ]
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// The files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_build_that_is_killed_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), "corpus.txt", 120_000);
    let tokenizer = mini();
    let whole = folder.path().join("whole");
    let first = json(&build(&corpus, &tokenizer, &whole));
    let shards = first["shards"].as_u64().unwrap();
    assert!(shards >= 4, "{first}");
    assert!(first["bytes_per_second"].as_f64().unwrap() > 0.0);

    let parts = folder.path().join("parts");
    let mut killed = 0;
    for shard in 0..shards as usize {
        let mut run = Command::new(env!("CARGO_BIN_EXE_albert"))
            .args(build(&corpus, &tokenizer, &parts))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // As soon as another shard is there.
        let name = parts.join(format!("shard-{shard:05}.bin"));
        let start = Instant::now();
        while !name.exists() && run.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "no shard comes");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL.
        let _ = run.kill();
        killed += usize::from(!run.wait().unwrap().success());
    }
    assert!(killed >= 2, "killed {killed} times");
    let last = json(&build(&corpus, &tokenizer, &parts));
    for key in [
        "documents",
        "duplicates",
        "near_empty",
        "markup",
        "pieces",
        "bytes",
        "shards",
    ] {
        assert_eq!(last[key], first[key], "{key}");
    }
    assert!(last["shards_before"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(files(&parts), files(&whole));

    let again = json(&build(&corpus, &tokenizer, &parts));
    assert_eq!(again["was_finished"], true);
    let inspected = json(&["corpus", "inspect", text(&parts), "--json"]);
    assert_eq!(inspected["documents"], first["documents"]);
    assert_eq!(inspected["finished"], true);
    assert!(stdout(&["corpus", "inspect", text(&parts)]).contains("every checksum right"));
}

#[test]
fn bad_corpora_are_named_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let raw = corpus(folder.path(), "corpus.txt", 500);
    let shards = path("shards");
    let tokenizer = mini();
    stdout(&build(&raw, &tokenizer, &shards));
    let recipe = path("recipe.toml");
    let write_recipe = |data: &str| {
        let text = format!(
            "tokenizer = {:?}\n[model]\npreset = \"tiny\"\n[data]\n{data}\n\
             [[stage]]\nlength = 32\nbatch = 4\nsteps = 2\n[optimizer]\nkind = \"adamw\"\nrate = 1e-3\n",
            text(&tokenizer)
        );
        fs::write(&recipe, text).unwrap();
    };
    write_recipe("");
    let out = path("out");
    let refused = |corpora: &[&Path], named: &[&str]| {
        let mut args = vec![
            "pretrain",
            "--recipe",
            text(&recipe),
            "--output",
            text(&out),
        ];
        args.push("--corpus");
        args.extend(corpora.iter().map(|corpus| text(corpus)));
        names(&failure(&args, 1), named);
        assert!(!out.exists(), "a failed start leaves nothing behind");
    };
    refused(&[&shards, &raw], &["shards", "alone"]);
    refused(
        &[folder.path()],
        &["no corpus in this folder", "albert corpus build"],
    );
    let shard = shards.join("shard-00000.bin");
    let whole = fs::read(&shard).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&shard, &damaged).unwrap();
    refused(&[&shards], &["shard-00000.bin", "damaged"]);
    names(
        &failure(&["corpus", "inspect", text(&shards)], 1),
        &["shard-00000.bin", "damaged"],
    );
    fs::write(&shard, &whole[..whole.len() - 5]).unwrap();
    refused(&[&shards], &["shard-00000.bin", "truncated"]);
    fs::write(&shard, &whole).unwrap();
    // A bound on files is noted, and bounds nothing.
    write_recipe("max_bytes = 7");
    let bounded = path("bounded");
    let output = albert(&[
        "pretrain",
        "--recipe",
        text(&recipe),
        "--output",
        text(&bounded),
        "--corpus",
        text(&shards),
    ]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    names(&said, &["data.max_bytes", "--max-mb"]);
    // What it would begin with is looked at before the text.
    write_recipe("");
    let begins = fs::read_to_string(&recipe).unwrap();
    fs::write(
        &recipe,
        format!("start_from = \"no-such-folder\"\n{begins}"),
    )
    .unwrap();
    refused(&[&shards], &["no-such-folder"]);
    assert!(!out.exists());
    write_recipe("drop_markup = false");
    refused(&[&shards], &["data.drop_markup", "left out"]);
    write_recipe("");

    let other = path("other");
    let train = [
        "tokenizer",
        "train",
        "--corpus",
        text(&raw),
        "--vocab-size",
        "96",
    ];
    stdout(&[&train[..], &["--output", text(&other)]].concat());
    let message = failure(&build(&raw, &other, &shards), 1);
    names(&message, &["shards", "another tokenizer"]);
    let foreign = path("foreign");
    stdout(&build(&raw, &other, &foreign));
    refused(&[&foreign], &["index.json", "another tokenizer"]);

    corpus(folder.path(), "corpus.txt", 499);
    let message = failure(&build(&raw, &tokenizer, &shards), 1);
    names(&message, &["corpus.txt", "begun with"]);
}

#[test]
fn shards_train_the_same_weights_as_the_raw_file() {
    let folder = tempfile::tempdir().unwrap();
    let raw = corpus(folder.path(), "corpus.txt", 300);
    let shards = folder.path().join("shards");
    let tokenizer = mini();
    stdout(&build(&raw, &tokenizer, &shards));
    let recipe = folder.path().join("recipe.toml");
    let lines = format!(
        "tokenizer = {:?}\n[model]\npreset = \"tiny\"\nhidden_dropout_prob = 0.1\n\
         [[stage]]\nlength = 32\nbatch = 4\nsteps = 12\n[optimizer]\nkind = \"lamb\"\nrate = 1e-3\n",
        text(&tokenizer)
    );
    fs::write(&recipe, lines).unwrap();
    let weights = |corpus: &Path, name: &str| {
        let out = folder.path().join(name);
        let run = [
            "pretrain",
            "--recipe",
            text(&recipe),
            "--corpus",
            text(corpus),
        ];
        stdout(&[&run[..], &["--output", text(&out)]].concat());
        fs::read(out.join("model.safetensors")).unwrap()
    };
    let from_shards = weights(&shards, "from-shards");
    assert!(
        from_shards == weights(&raw, "from-raw"),
        "the weights differ"
    );

    // It resumes, and not on other shards.
    let out = folder.path().join("from-shards");
    let other = corpus(folder.path(), "other.txt", 301);
    let foreign = folder.path().join("foreign");
    stdout(&build(&other, &tokenizer, &foreign));
    let resume = |corpus: &Path| {
        let args = [
            "pretrain",
            "--recipe",
            text(&recipe),
            "--resume",
            "--corpus",
            text(corpus),
        ];
        [&args[..], &["--output", text(&out)]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<String>>()
    };
    let owned = resume(&shards);
    stdout(&owned.iter().map(String::as_str).collect::<Vec<_>>());
    let owned = resume(&foreign);
    let message = failure(&owned.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    names(&message, &["corpus", "not the one that the run began with"]);
}
