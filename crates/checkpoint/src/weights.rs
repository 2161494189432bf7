//! The weight files of a folder: one safetensors file or several with an index, else PyTorch's, one or
//! several.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::read_text;
use crate::header::{self, Entry};
use crate::mmap::MappedFile;
use crate::torch;

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INT8: &str = "model.int8.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const TORCH: &str = "pytorch_model.bin";
pub(crate) const TORCH_INDEX: &str = "pytorch_model.bin.index.json";

/// Weights in formats that this program does not read, with their origin.
const FOREIGN: [(&str, &str); 6] = [
    ("tf_model.h5", "TensorFlow's format"),
    ("flax_model.msgpack", "Flax's format"),
    ("model.ckpt-best.index", "TensorFlow's checkpoint format"),
    ("model.onnx", "ONNX"),
    ("rust_model.ot", "libtorch's format"),
    ("adapter_model.safetensors", "an adapter's weights alone"),
];

/// All weight files of a folder, mapped, with every tensor by its name there.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) files: Vec<WeightFile>,
    /// In the order of files and bytes.
    pub(crate) tensors: Vec<Found>,
    /// Tensors in shards that the index does not list.
    pub(crate) unlisted: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct WeightFile {
    pub(crate) path: PathBuf,
    pub(crate) map: MappedFile,
}

/// A tensor and the file that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) file: usize,
    pub(crate) entry: Entry,
}

impl Weights {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let single = dir.join(SINGLE);
        if single.exists() {
            return Self::open_only(single);
        }
        let index = dir.join(INDEX);
        if index.exists() {
            return Self::open_shards(dir, &index);
        }
        let torch = dir.join(TORCH);
        if torch.exists() {
            return Self::open_only(torch);
        }
        let index = dir.join(TORCH_INDEX);
        if index.exists() {
            return Self::open_shards(dir, &index);
        }
        let int8 = dir.join(INT8);
        if int8.exists() {
            return Self::open_only(int8);
        }
        Err(Error::folder(dir, no_weights(dir)))
    }

    /// One file.
    pub(crate) fn open_only(path: PathBuf) -> Result<Self> {
        let (file, entries) = open_file(path)?;
        let tensors = entries
            .into_iter()
            .map(|entry| Found { file: 0, entry })
            .collect();
        Ok(Self {
            files: vec![file],
            tensors,
            unlisted: Vec::new(),
        })
    }

    fn open_shards(dir: &Path, index: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut tensors = Vec::new();
        let mut unlisted = Vec::new();
        for (shard, names) in read_index(index)? {
            let path = dir.join(&shard);
            if !path.exists() {
                return Err(Error::weights(
                    index,
                    format!(
                        "lists the file {shard}, which is not in the folder; {} tensors should be in it",
                        names.len()
                    ),
                ));
            }
            let (file, entries) = open_file(path)?;
            let mut entries: HashMap<String, Entry> = entries
                .into_iter()
                .map(|entry| (entry.name.clone(), entry))
                .collect();
            for name in names {
                match entries.remove(&name) {
                    Some(entry) => tensors.push(Found {
                        file: files.len(),
                        entry,
                    }),
                    None => {
                        return Err(Error::tensor(
                            &file.path,
                            &name,
                            format!(
                                "should be in this file, says {}, and is not",
                                index.display()
                            ),
                        ));
                    }
                }
            }
            unlisted.extend(entries.into_keys());
            files.push(file);
        }
        unlisted.sort();
        Ok(Self {
            files,
            tensors,
            unlisted,
        })
    }

    /// The bytes of a tensor.
    pub(crate) fn bytes(&self, found: &Found) -> &[u8] {
        // In bounds: the header was checked against this very mapping.
        &self.files[found.file].map.bytes()[found.entry.range.clone()]
    }

    /// The sizes of all files together.
    pub(crate) fn bytes_in_files(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.map.bytes().len() as u64)
            .sum()
    }

    pub(crate) fn path(&self, found: &Found) -> &Path {
        &self.files[found.file].path
    }
}

fn open_file(path: PathBuf) -> Result<(WeightFile, Vec<Entry>)> {
    let map = MappedFile::open(&path)?;
    if map.bytes().starts_with(b"version https://git-lfs") {
        let problem = "is a pointer to the weights and not the weights: run `git lfs pull` there";
        return Err(Error::weights(&path, problem));
    }
    let read = match path.extension().is_some_and(|end| end == "bin") {
        true => torch::read(map.bytes()),
        false => header::read(map.bytes()),
    };
    match read {
        Ok(entries) => Ok((WeightFile { path, map }, entries)),
        Err(header::HeaderError {
            tensor: Some(tensor),
            problem,
        }) => Err(Error::tensor(&path, &tensor, problem)),
        Err(header::HeaderError {
            tensor: None,
            problem,
        }) => Err(Error::weights(&path, problem)),
    }
}

/// The tensors of each shard, by the index.
pub(crate) fn read_index(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let text = read_text(path)?;
    let index: Value = serde_json::from_str(&text).map_err(|e| Error::json(path, &e))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(Error::field(
            path,
            "weight_map",
            "is missing, or not an object",
        ));
    };
    let mut shards = BTreeMap::<String, Vec<String>>::new();
    for (tensor, shard) in map {
        let Some(shard) = shard.as_str() else {
            return Err(Error::tensor(
                path,
                tensor,
                "has no file name in `weight_map`",
            ));
        };
        if !is_plain_name(shard) {
            return Err(Error::tensor(
                path,
                tensor,
                format!("is said to be in {shard:?}; a shard lies in the folder itself"),
            ));
        }
        shards
            .entry(shard.to_owned())
            .or_default()
            .push(tensor.clone());
    }
    Ok(shards)
}

/// Whether `name` is one file name and leads to no other folder on any system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
        && !name.contains(['/', '\\', ':', '\0'])
}

fn no_weights(dir: &Path) -> String {
    for (name, format) in FOREIGN {
        if dir.join(name).exists() {
            return format!(
                "has its weights only as {name} ({format}); this program reads {SINGLE}: \
                 load the folder in transformers and save it with \
                 `model.save_pretrained(folder, safe_serialization=True)`"
            );
        }
    }
    format!("has no weights: there is none of {SINGLE}, {INDEX}, {TORCH} and {TORCH_INDEX}")
}
