//! Checkpoint folders made by hand, so that they can be wrong.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, Error, SaveTensor};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tensor of a weight file, as its header tells it.
#[derive(Clone)]
pub struct Raw {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn f32(name: &str, shape: &[usize], numbers: &[f32]) -> Self {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self {
            name: name.to_owned(),
            dtype: "F32",
            shape: shape.to_vec(),
            bytes,
        }
    }
}

/// A safetensors file with these tensors end to end.
pub fn safetensors(tensors: &[Raw]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes.len();
        let info =
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), info);
        start = end;
    }
    let data: Vec<u8> = tensors
        .iter()
        .flat_map(|tensor| tensor.bytes.clone())
        .collect();
    with_header(&Value::Object(header).to_string(), &data)
}

/// A file with any header before any data.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), data].concat()
}

/// The smallest model that has everything, of an architecture.
pub fn small(architecture: Architecture) -> AlbertConfig {
    let mut config = AlbertConfig::preset("tiny")
        .unwrap()
        .with_architecture(architecture);
    config.vocab_size = 9;
    config.embedding_size = 4;
    config.hidden_size = 8;
    config.intermediate_size = 12;
    config.num_attention_heads = 2;
    config.max_position_embeddings = 6;
    config
}

/// All parameters of a configuration with numbers that tell them apart.
pub fn tensors(config: &AlbertConfig) -> Vec<Raw> {
    let parameters = config.parameters();
    let raw = parameters.iter().enumerate().map(|(i, p)| {
        let numbers: Vec<f32> = (0..p.elements())
            .map(|j| (i as f32 + 1.0) / 8.0 + (j % 7) as f32)
            .collect();
        Raw::f32(&p.name, &p.shape, &numbers)
    });
    raw.collect()
}

/// Numbers for [`save`](albert_checkpoint::save), in the parameters' order.
pub fn numbers(config: &AlbertConfig) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let numbers = |raw: &Raw| {
        raw.bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    };
    tensors(config)
        .into_iter()
        .map(|raw| (raw.name.clone(), raw.shape.clone(), numbers(&raw)))
        .collect()
}

pub fn as_save(numbers: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<SaveTensor<'_>> {
    numbers
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect()
}

/// A folder with this configuration and these tensors.
pub fn folder(config: &AlbertConfig, tensors: &[Raw]) -> TempDir {
    folder_of_files(&config.to_json(), &safetensors(tensors))
}

pub fn folder_of_files(config: &str, weights: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config).unwrap();
    fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    dir
}

/// The names in a folder, sorted.
pub fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The repository's `golden/checkpoint`.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/checkpoint")
}

/// Fails unless `message` has all of `parts`.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

pub fn open(dir: &TempDir) -> Result<Checkpoint, Error> {
    Checkpoint::open(dir.path())
}

pub fn message(result: Result<Checkpoint, Error>) -> String {
    result.map(|c| c.notes().to_vec()).unwrap_err().to_string()
}

/// Asserts that a folder has the numbers that `tensors` gave the configuration.
#[track_caller]
pub fn assert_holds(checkpoint: &Checkpoint, config: &AlbertConfig) {
    assert_eq!(checkpoint.config(), config);
    for raw in tensors(config) {
        let view = checkpoint.tensor(&raw.name).unwrap();
        assert_eq!(
            (view.name, view.shape),
            (raw.name.as_str(), raw.shape.as_slice())
        );
        let bytes: Vec<u8> = view.to_f32().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(bytes, raw.bytes, "{}", raw.name);
    }
    assert_eq!(checkpoint.tensors().count(), config.parameters().len());
}
