//! Folders that hold only what differs from another: many heads on one encoder.
//!
//! Such a folder has `base.json`, which names the other folder and the checksum of its weights,
//! and `difference.safetensors` in the place of `model.safetensors`: under that name no other
//! program takes the missing tensors for ones to be drawn at random. `config.json` is whole; a
//! tokenizer that is not there is the base's.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::{Error, Result};
use crate::files::read_text;
use crate::parameters::ParameterSpec;
use crate::save::SaveTensor;
use crate::survey::Survey;
use crate::weights::Weights;

pub(crate) const BASE: &str = "base.json";
pub(crate) const DIFFERENCE: &str = "difference.safetensors";

/// What `base.json` says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BaseFile {
    /// The base's folder, relative to this one.
    base: String,
    /// XXH3 of the base's weight files, in hexadecimal.
    checksum: String,
}

/// The base of the folder `dir`, if it has one.
///
/// # Errors
/// The base is missing, damaged, has a base itself, or is not the one that the folder was made
/// from.
pub(crate) fn of(dir: &Path) -> Result<Option<Box<Survey>>> {
    let path = dir.join(BASE);
    if !path.exists() {
        return Ok(None);
    }
    let file: BaseFile =
        serde_json::from_str(&read_text(&path)?).map_err(|e| Error::json(&path, &e))?;
    let base = dir.join(&file.base);
    let fail = |problem: String| Err(Error::field(&path, "base", problem));
    if base.join(BASE).exists() {
        return fail(format!("is {}, which has a base itself", base.display()));
    }
    if !base.is_dir() {
        return fail(format!(
            "is {}, and there is no such folder: this folder holds only what differs from it. \
             `albert export` makes folders that stand alone",
            base.display()
        ));
    }
    let survey = Survey::of(&base)?;
    if checksum(&survey.weights) != file.checksum {
        return fail(format!(
            "is {}, whose weights are not those that this folder was made from: fine-tune it again \
             from them",
            base.display()
        ));
    }
    Ok(Some(Box::new(survey)))
}

/// The text of `base.json` in `dir` for a base that was opened.
pub(crate) fn text(dir: &Path, base: &Survey) -> Result<String> {
    let file = BaseFile {
        base: relative(dir, &base.dir)?,
        checksum: checksum(&base.weights),
    };
    let path = dir.join(BASE);
    let text = serde_json::to_string_pretty(&file).map_err(|e| Error::json(&path, &e))?;
    Ok(text + "\n")
}

/// Whether the base has a tensor of this name and shape.
pub(crate) fn has(base: &Survey, spec: &ParameterSpec) -> bool {
    let placed = base.tensors.get(&spec.name);
    placed.is_some_and(|&placed| base.view(placed).shape == spec.shape)
}

/// Whether the base has the same numbers under the same name.
pub(crate) fn same(base: &Survey, tensor: &SaveTensor<'_>) -> bool {
    let Some(&placed) = base.tensors.get(tensor.name) else {
        return false;
    };
    let view = base.view(placed);
    view.shape == tensor.shape && *view.to_f32() == *tensor.data
}

fn checksum(weights: &Weights) -> String {
    let mut hash = Xxh3Default::new();
    for file in &weights.files {
        hash.update(file.map.bytes());
    }
    format!("{:016x}", hash.digest())
}

/// The way from one folder, which need not be there yet, to another.
fn relative(from: &Path, to: &Path) -> Result<String> {
    let whole = |path: &Path| -> Result<PathBuf> {
        if path.exists() {
            return fs::canonicalize(path).map_err(Error::io("find", path));
        }
        let parent = crate::files::folder_of(path);
        let parent = fs::canonicalize(parent).map_err(Error::io("find", parent))?;
        Ok(parent.join(path.file_name().unwrap_or_default()))
    };
    let (from, to) = (whole(from)?, whole(to)?);
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    // With forward slashes on every system.
    let parts = way.components().map(|part| part.as_os_str().to_str());
    match parts.collect::<Option<Vec<_>>>() {
        Some(parts) => Ok(parts.join("/")),
        None => Err(Error::folder(&to, "has a name that is not Unicode")),
    }
}
