//! Weight files that are damaged or lie, and folders that lack what they need.

mod common;

use std::fs;
use std::path::Path;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, inspect};
use common::{
    assert_holds, assert_says, folder_of_files, message, open, small, tensors, with_header,
};
use serde_json::json;

const WORDS: &str = "albert.embeddings.word_embeddings.weight";

#[test]
fn damaged_files_are_refused_with_the_reason() {
    let config = small(Architecture::Base);
    let good = common::safetensors(&tensors(&config));
    let entry = |range: [u64; 2]| json!({"dtype": "F32", "shape": [2], "data_offsets": range});
    let header =
        |value: serde_json::Value, data: usize| with_header(&value.to_string(), &vec![0; data]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "0 bytes long"),
        (vec![1, 2, 3], "3 bytes long"),
        (
            [&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(),
            "9223372036854775808 bytes",
        ),
        (
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            "more than the format allows",
        ),
        ([&1000u64.to_le_bytes()[..], b"{}"].concat(), "truncated"),
        (good[..good.len() / 2].to_vec(), "truncated"),
        (good[..good.len() - 1].to_vec(), "truncated"),
        ([&good[..], &[0]].concat(), "1 bytes after its last tensor"),
        (with_header("{\"a", b""), "damaged header"),
        (with_header("[]", b""), "an object of tensors"),
        (with_header("{\"a\": 3}", b""), "damaged header"),
        (
            [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(),
            "not UTF-8",
        ),
        (
            header(json!({"a": entry([0, 8]), "b": entry([4, 12])}), 12),
            "overlaps",
        ),
        (
            header(json!({"a": entry([0, 8]), "b": entry([0, 8])}), 8),
            "`b` overlaps",
        ),
        (
            header(json!({"a": entry([0, 8]), "b": entry([9, 17])}), 17),
            "hole of 1 bytes",
        ),
        (header(json!({"a": entry([8, 0])}), 8), "before its start"),
        (
            header(json!({"a": entry([0, u64::MAX])}), 8),
            "truncated at 8",
        ),
        (
            header(json!({"a": entry([0, 4])}), 4),
            "has 4 bytes, which a tensor [2] of F32",
        ),
        (
            header(
                json!({"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}),
                8,
            ),
            "unknown type \"F33\"",
        ),
        (
            header(
                json!({"a": {"dtype": "F32", "shape": [u64::MAX, 2], "data_offsets": [0, 8]}}),
                8,
            ),
            "tensor `a` has 8 bytes",
        ),
        (
            header(
                json!({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}),
                8,
            ),
            "damaged header",
        ),
        (
            with_header(
                &format!("{{\"a\": {0}, \"a\": {0}}}", entry([0, 8])),
                &[0; 8],
            ),
            "`a` is in the header twice",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "git lfs pull",
        ),
    ];
    for (file, part) in cases {
        let dir = folder_of_files(&config.to_json(), &file);
        let error = message(open(&dir));
        assert_says(&error, &["model.safetensors", part]);
        assert!(inspect(dir.path()).is_err());
    }
}

/// Splits the tensors over two files with an index, which `change` may spoil.
fn sharded(
    config: &AlbertConfig,
    change: impl FnOnce(&mut serde_json::Value),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tensors = tensors(config);
    let halves = tensors.split_at(tensors.len() / 2);
    let mut map = json!({});
    for (shard, half) in [("one.safetensors", halves.0), ("two.safetensors", halves.1)] {
        fs::write(dir.path().join(shard), common::safetensors(half)).unwrap();
        for raw in half {
            map[&raw.name] = json!(shard);
        }
    }
    let mut index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    change(&mut index);
    fs::write(dir.path().join("config.json"), config.to_json()).unwrap();
    fs::write(
        dir.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    dir
}

#[test]
fn shards_are_read_and_their_index_is_not_believed() {
    let config = small(Architecture::SequenceClassification);
    let dir = sharded(&config, |_| {});
    let checkpoint = open(&dir).unwrap();
    assert_holds(&checkpoint, &config);
    let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    assert_eq!(
        checkpoint.bytes(),
        size("one.safetensors") + size("two.safetensors")
    );
    assert_eq!(inspect(dir.path()).unwrap().weight_files.len(), 2);

    // A whole file wins over shards, as in transformers.
    fs::write(dir.path().join("model.safetensors"), b"").unwrap();
    assert_says(
        &message(open(&dir)),
        &["model.safetensors: is 0 bytes long"],
    );

    let gone = sharded(&config, |_| {});
    fs::remove_file(gone.path().join("two.safetensors")).unwrap();
    assert_says(
        &message(open(&gone)),
        &["index.json", "two.safetensors", "not in the folder"],
    );

    for escape in [
        "../one.safetensors",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        "",
        "C:x",
    ] {
        let dir = sharded(&config, |index| index["weight_map"][WORDS] = json!(escape));
        assert_says(&message(open(&dir)), &[WORDS, "lies in the folder itself"]);
    }
    let elsewhere = sharded(&config, |i| {
        i["weight_map"][WORDS] = json!("two.safetensors")
    });
    assert_says(
        &message(open(&elsewhere)),
        &["two.safetensors", WORDS, "should be in this file"],
    );
    let invented = sharded(&config, |i| i["weight_map"]["x"] = json!("one.safetensors"));
    assert_says(
        &message(open(&invented)),
        &["one.safetensors", "`x`", "should be in this file"],
    );
    let number = sharded(&config, |i| i["weight_map"][WORDS] = json!(7));
    assert_says(&message(open(&number)), &[WORDS, "no file name"]);
    let none = sharded(&config, |i| i["weight_map"] = json!([]));
    assert_says(&message(open(&none)), &["`weight_map`"]);

    let unlisted = sharded(&config, |i| {
        i["weight_map"]
            .as_object_mut()
            .unwrap()
            .shift_remove("classifier.bias");
    });
    assert_says(
        &message(open(&unlisted)),
        &["1 tensor of", "missing: classifier.bias"],
    );
    assert_eq!(
        inspect(unlisted.path()).unwrap().unused,
        ["classifier.bias"]
    );
}

#[test]
fn folders_without_weights_say_what_they_lack() {
    let nowhere = Path::new("no/such/folder");
    assert_says(
        &message(Checkpoint::open(nowhere)),
        &["no/such/folder", "no such folder"],
    );
    let dir = tempfile::tempdir().unwrap();
    assert_says(&message(open(&dir)), &["no config.json"]);
    fs::write(dir.path().join("config.json"), b"{\n\"a\": \"\xff\"}").unwrap();
    assert_says(&message(open(&dir)), &["config.json:2:7", "not UTF-8"]);
    assert_says(
        &message(Checkpoint::open(&dir.path().join("config.json"))),
        &["config.json", "is a file"],
    );
    fs::write(
        dir.path().join("config.json"),
        small(Architecture::Base).to_json(),
    )
    .unwrap();
    assert_says(&message(open(&dir)), &["no weights", "model.safetensors"]);
    fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
    assert_says(
        &message(open(&dir)),
        &["pytorch_model.bin", "no archive of PyTorch"],
    );
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    assert_says(
        &message(open(&dir)),
        &["model.safetensors", "is not a file"],
    );
}
