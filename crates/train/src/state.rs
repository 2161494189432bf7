//! The state of a run in one file, so that it goes on exactly where it stopped.
//!
//! `training/state.safetensors` holds the weights in 32 bits, both moments of every parameter
//! and, as the file's metadata, a JSON text with everything else. It is replaced by a rename:
//! whenever the program or the machine stops, the last whole state is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use albert_checkpoint::ParameterSpec;
use serde::{Deserialize, Serialize};

use crate::batches::Position;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::metrics::Sums;
use crate::optim::{Moments, OptimizerState};
use crate::recipe::Recipe;
use crate::tensor_file;

/// Everything about a run that is no tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunInfo {
    /// The layout of this file.
    pub format: u32,
    /// What the run was started with.
    #[serde(with = "as_toml")]
    pub recipe: Recipe,
    /// The checksum of the tokenised corpus.
    pub corpus: u64,
    /// The checksum of the held-out corpus, or 0.
    pub dev_corpus: u64,
    /// The checksum of the tokenizer's file.
    pub tokenizer: u64,
    /// Optimiser steps taken.
    pub step: u64,
    /// The stage of the next batch.
    pub stage: usize,
    /// The next batch.
    pub position: Position,
    /// Time spent.
    pub nanoseconds: u64,
    /// Positions trained on, without padding.
    pub tokens: u64,
    /// What was measured since the last row of metrics.
    pub sums: Sums,
    /// The steps that the optimiser has counted.
    pub optimizer_steps: u64,
    /// What the guard remembers. Here and below: runs that began with an earlier version lack it.
    #[serde(default)]
    pub guard: Guard,
    /// Steps skipped.
    #[serde(default)]
    pub skipped: u64,
    /// What the numbers are worked out on, as far as it decides their last bits; or empty.
    #[serde(default)]
    pub arithmetic: String,
    /// The checksum of the corpus files as they lie on disk, and of all else that tokenising
    /// depends on; or 0.
    #[serde(default)]
    pub corpus_files: u64,
    /// The same for the held-out corpus.
    #[serde(default)]
    pub dev_corpus_files: u64,
}

/// The layout that this version writes.
pub(crate) const FORMAT: u32 = 1;

const KEY: &str = "albert_training";

/// A run's state as read back: info, weights by name, the optimiser's moments.
#[derive(Debug)]
pub(crate) struct Saved {
    pub info: RunInfo,
    pub weights: Vec<(String, Vec<usize>, Vec<f32>)>,
    pub optimizer: OptimizerState,
}

/// Where the state of a run in `output` lies.
pub(crate) fn path(output: &Path) -> PathBuf {
    output.join("training").join("state.safetensors")
}

/// Writes the state; what was there before is replaced only by a whole new one.
pub(crate) fn save(
    output: &Path,
    info: &RunInfo,
    weights: &[(String, Vec<usize>, Vec<f32>)],
    optimizer: &OptimizerState,
) -> Result<()> {
    let path = path(output);
    let json = serde_json::to_string(info).map_err(|error| Error::State {
        path: path.clone(),
        message: error.to_string(),
    })?;
    let weights = weights
        .iter()
        .map(|(name, shape, values)| (format!("weight/{name}"), shape.clone(), &values[..]));
    let moments = optimizer.moments.iter().flat_map(|(name, moments)| {
        let moments = [("first", &moments.first), ("second", &moments.second)];
        moments.map(|(kind, values)| (format!("{kind}/{name}"), vec![values.len()], &values[..]))
    });
    tensor_file::write(&path, KEY, json, weights.chain(moments))
}

/// Reads the state of the run in `output`.
pub(crate) fn load(output: &Path) -> Result<Saved> {
    let path = path(output);
    let read = tensor_file::read(&path, KEY, "a pretraining run")?;
    let (json, tensors) = read.ok_or_else(|| Error::NothingToResume {
        path: output.to_owned(),
    })?;
    let failed = |message: String| Error::State {
        path: path.clone(),
        message,
    };
    let format: Format = serde_json::from_str(&json).map_err(|error| failed(error.to_string()))?;
    if format.format != FORMAT {
        let format = format.format;
        return Err(failed(format!(
            "has layout {format}, this version reads {FORMAT}"
        )));
    }
    let info: RunInfo = serde_json::from_str(&json).map_err(|error| failed(error.to_string()))?;
    let mut weights = Vec::new();
    let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
    for (name, shape, values) in tensors {
        match name.split_once('/') {
            Some(("weight", name)) => {
                weights.push((name.to_owned(), shape, values));
            }
            Some(("first", name)) => moments.entry(name.to_owned()).or_default().first = values,
            Some(("second", name)) => moments.entry(name.to_owned()).or_default().second = values,
            _ => return Err(failed(format!("holds an unknown tensor `{name}`"))),
        }
    }
    let optimizer = OptimizerState {
        steps: info.optimizer_steps,
        moments,
    };
    Ok(Saved {
        info,
        weights,
        optimizer,
    })
}

impl Saved {
    /// Whether the run's stage is one of the recipe's.
    ///
    /// # Errors
    /// [`Error::State`] naming both.
    pub(crate) fn has_stage(&self, output: &Path, recipe: &Recipe) -> Result<()> {
        let (stage, stages) = (self.info.stage, recipe.stage.len());
        if stage < stages {
            return Ok(());
        }
        Err(Error::State {
            path: path(output),
            message: format!("is in stage[{stage}], but the recipe has {stages}"),
        })
    }

    /// Whether the weights and moments are those of a model with these parameters; `output` is
    /// the run's folder, for the message.
    ///
    /// # Errors
    /// [`Error::State`] naming the first tensor that is missing, has another shape or does not
    /// belong to the model.
    pub(crate) fn fits(&self, output: &Path, parameters: &[ParameterSpec]) -> Result<()> {
        let failed = |message: String| Error::State {
            path: path(output),
            message,
        };
        let expected: HashMap<&str, &[usize]> = parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter.shape.as_slice()))
            .collect();
        let mut found = HashSet::new();
        for (name, shape, _) in &self.weights {
            let Some(expected) = expected.get(name.as_str()) else {
                return Err(failed(format!("holds `{name}`, which the model lacks")));
            };
            if shape != expected {
                return Err(failed(format!(
                    "holds `{name}` with shape {shape:?}, the model's is {expected:?}"
                )));
            }
            found.insert(name.as_str());
        }
        if let Some(missing) = parameters.iter().find(|p| !found.contains(p.name.as_str())) {
            return Err(failed(format!("lacks the weights of `{}`", missing.name)));
        }
        let moments = self.optimizer.fits(parameters);
        moments.map_err(|error| failed(error.to_string()))
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A recipe as TOML text: its numbers are read back to the bit.
mod as_toml {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::recipe::Recipe;

    pub(super) fn serialize<S: Serializer>(
        recipe: &Recipe,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = toml::to_string(recipe).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Recipe, D::Error> {
        let text = String::deserialize(deserializer)?;
        toml::from_str(&text).map_err(serde::de::Error::custom)
    }
}
