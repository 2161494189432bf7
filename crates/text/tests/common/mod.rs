//! What the tests share: golden files and the data folder.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of golden files of this crate.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/text")
        .join(name)
}

/// The model that ships with the repository.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini/tokenizer.json")
}

/// The folder of shared data, or `None` after saying that the test is skipped.
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("ALBERT_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: ALBERT_DATA is not set");
    }
    folder
}

/// A file's text, unpacked where its name ends in `.zst`.
pub fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes = match path.extension() {
        Some(name) if name == "zst" => zstd::decode_all(bytes.as_slice()).unwrap(),
        _ => bytes,
    };
    String::from_utf8(bytes).unwrap()
}

/// The lines of a JSONL golden file.
pub fn golden_lines(name: &str) -> Vec<Value> {
    text(&golden(name))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The text that a golden line is about.
pub fn line_text(line: &Value) -> String {
    match line["text"].as_str() {
        Some(text) => text.to_owned(),
        None => line["unit"]
            .as_str()
            .unwrap()
            .repeat(line["times"].as_u64().unwrap() as usize),
    }
}

/// The hash of `generate.py`: FNV-1a of the ids as little-endian u32, then of the pieces, each ended
/// by 0xFF.
pub fn hash(ids: &[u32], pieces: &[&str]) -> String {
    let mut value = 0xCBF2_9CE4_8422_2325_u64;
    let mut add = |byte: u8| value = (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    ids.iter()
        .flat_map(|id| id.to_le_bytes())
        .for_each(&mut add);
    for piece in pieces {
        piece.bytes().for_each(&mut add);
        add(0xFF);
    }
    format!("{value:016x}")
}

/// A JSON array of numbers.
pub fn numbers(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// A JSON array of strings.
pub fn words(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| piece.as_str().unwrap())
        .collect()
}

/// Every string in a JSON value, depth first.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// The lines of the data folder that an entry of `data.json` is about, by `generate.py`'s rule.
pub fn picked(folder: &Path, entry: &Value) -> Vec<String> {
    let text = text(&folder.join(entry["file"].as_str().unwrap()));
    let step = entry["step"].as_u64().unwrap() as usize;
    let limit = entry["limit"].as_u64().unwrap() as usize;
    let of_json = |json: &str| {
        let value: Value = serde_json::from_str(json).unwrap();
        let mut found = Vec::new();
        strings(&value, &mut found);
        found.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    match entry["kind"].as_str().unwrap() {
        "lines" => {
            let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
            lines.step_by(step).take(limit).map(str::to_owned).collect()
        }
        "strings" => text
            .split_inclusive('\n')
            .flat_map(of_json)
            .step_by(step)
            .take(limit)
            .collect(),
        _ => of_json(&text)
            .into_iter()
            .step_by(step)
            .take(limit)
            .collect(),
    }
}
