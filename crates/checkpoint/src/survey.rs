//! A folder held against what its configuration asks for: each tensor found,
//! missing, wrong or unused. Loading stops at a fault; inspecting lists all.

use std::collections::HashMap;
use std::collections::hash_map;
use std::path::{Path, PathBuf};

use crate::base;
use crate::config::{AlbertConfig, Architecture};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::header::Entry;
use crate::int8;
use crate::json::{self, Parsed};
use crate::names;
use crate::parameters::ParameterSpec;
use crate::tensor::{DType, TensorView};
use crate::weights::{Found, Weights};

/// All that a folder holds and lacks.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) dir: PathBuf,
    pub(crate) config: AlbertConfig,
    /// The parameters in the configuration's order.
    pub(crate) specs: Vec<ParameterSpec>,
    pub(crate) weights: Weights,
    /// The folder whose tensors stand where this one has none, if it is of that kind.
    pub(crate) base: Option<Box<Survey>>,
    /// For each parameter, by canonical name: which of the weights' tensors it is.
    pub(crate) tensors: HashMap<String, Placed>,
    pub(crate) missing: Vec<String>,
    /// Tensors that are there, but cannot be used.
    pub(crate) faults: Vec<Error>,
    /// Tensors that the architecture has no use for, by their names in the file.
    pub(crate) unused: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// A tensor that is as the configuration wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// Index in the parameters' list.
    spec: usize,
    /// Index among the weights' tensors.
    index: usize,
    pub(crate) dtype: DType,
    /// Index of an int8 matrix's scales.
    scales: Option<usize>,
}

impl Survey {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let (path, mut parsed) = read_config(dir)?;
        let base = base::of(dir)?;
        let weights = match base {
            Some(_) => Weights::open_only(dir.join(base::DIFFERENCE))?,
            None => Weights::open(dir)?,
        };
        let mut faults = Vec::new();
        let by_name = by_canonical_name(&weights, &mut faults);
        if !parsed.names_architecture {
            let architecture = infer(&weights, &by_name, &parsed.config);
            parsed.config.architecture = architecture;
            parsed.notes.push(format!(
                "`architectures` is not given; the tensors are those of {architecture}"
            ));
        }
        parsed.check(&path)?;
        let Parsed { config, notes, .. } = parsed;

        let mut survey = Self {
            dir: dir.to_path_buf(),
            specs: config.parameters(),
            config,
            weights,
            base,
            tensors: HashMap::new(),
            missing: Vec::new(),
            faults,
            unused: Vec::new(),
            notes,
        };
        survey.place(by_name);
        Ok(survey)
    }

    /// Gives every parameter its tensor.
    fn place(&mut self, mut by_name: HashMap<String, usize>) {
        let masked_lm = self.config.architecture.has_masked_lm();
        let mut ties = Vec::new();
        if masked_lm {
            for (copy, original) in [
                (names::DECODER_WEIGHT, names::WORD_EMBEDDINGS),
                (names::DECODER_BIAS, names::PREDICTIONS_BIAS),
            ] {
                let Some(index) = by_name.remove(copy) else {
                    continue;
                };
                match by_name.entry(original.to_owned()) {
                    hash_map::Entry::Occupied(_) => ties.push((copy, original, index)),
                    // Saved under one of its two names only.
                    hash_map::Entry::Vacant(slot) => {
                        slot.insert(index);
                    }
                }
            }
        }
        for (number, spec) in self.specs.iter().enumerate() {
            let Some(index) = by_name.remove(&spec.name) else {
                if !self.base.as_ref().is_some_and(|b| base::has(b, spec)) {
                    self.missing.push(spec.name.clone());
                }
                continue;
            };
            let fitted = fit(&self.weights.tensors[index], spec).and_then(|dtype| {
                let scales = match dtype {
                    DType::I8 => Some(self.scales_of(spec, &mut by_name)?),
                    _ => None,
                };
                Ok(Placed {
                    spec: number,
                    index,
                    dtype,
                    scales,
                })
            });
            match fitted {
                Ok(placed) => {
                    self.tensors.insert(spec.name.clone(), placed);
                }
                Err(problem) => {
                    let found = &self.weights.tensors[index];
                    let path = self.weights.path(found);
                    self.faults
                        .push(Error::tensor(path, &found.entry.name, problem));
                }
            }
        }
        for (copy, original, index) in ties {
            if let Some(fault) = self.check_tie(copy, original, index) {
                self.faults.push(fault);
            }
        }
        self.unused = by_name
            .into_iter()
            .filter(|(canonical, _)| !names::is_buffer(canonical))
            .map(|(_, index)| self.weights.tensors[index].entry.name.clone())
            .chain(self.weights.unlisted.iter().cloned())
            .collect();
        self.unused.sort();
    }

    /// The scales of an int8 matrix, or what is wrong with them.
    fn scales_of(
        &self,
        spec: &ParameterSpec,
        by_name: &mut HashMap<String, usize>,
    ) -> Result<usize, String> {
        if !int8::is_layer_matrix(&spec.name, &spec.shape) {
            return Err("has the type I8, which only the matrices of layers may have".to_owned());
        }
        let name = format!("{}{}", spec.name, int8::SCALE);
        let Some(index) = by_name.remove(&name) else {
            return Err(format!(
                "has the type I8, and `{name}`, its scales, is missing"
            ));
        };
        let Entry { dtype, shape, .. } = &self.weights.tensors[index].entry;
        if dtype != DType::F32.name() || shape[..] != spec.shape[..1] {
            return Err(format!(
                "has the type I8, and `{name}`, its scales, is {dtype} {shape:?} instead of F32 {:?}",
                &spec.shape[..1]
            ));
        }
        Ok(index)
    }

    /// A tensor that is stored twice must be the same both times.
    fn check_tie(&self, copy: &str, original: &str, index: usize) -> Option<Error> {
        let placed = self.tensors.get(original)?;
        let spec = &self.specs[placed.spec];
        let found = &self.weights.tensors[index];
        let problem = match fit(found, spec) {
            Err(problem) => problem,
            Ok(dtype) => {
                let bytes = self.weights.bytes(found);
                let second = TensorView {
                    name: copy,
                    shape: &spec.shape,
                    dtype,
                    bytes,
                    scales: &[],
                };
                let first = self.view(*placed);
                let same = if dtype == first.dtype {
                    first.bytes == second.bytes
                } else {
                    first.to_f32() == second.to_f32()
                };
                if same {
                    return None;
                }
                format!("differs from `{original}`, with which ALBERT shares it")
            }
        };
        Some(Error::tensor(
            self.weights.path(found),
            &found.entry.name,
            problem,
        ))
    }

    /// A parameter's tensor by canonical name, here or in the base.
    pub(crate) fn tensor(&self, canonical: &str) -> Option<TensorView<'_>> {
        match (self.tensors.get(canonical), &self.base) {
            (Some(placed), _) => Some(self.view(*placed)),
            (None, Some(base)) if self.specs.iter().any(|spec| spec.name == canonical) => {
                base.tensor(canonical)
            }
            _ => None,
        }
    }

    /// Gives back the memory that the weight files take, here and in the base.
    pub(crate) fn release(&self) {
        for file in &self.weights.files {
            file.map.release();
        }
        if let Some(base) = &self.base {
            base.release();
        }
    }

    /// The tensor of a parameter.
    pub(crate) fn view(&self, placed: Placed) -> TensorView<'_> {
        let spec = &self.specs[placed.spec];
        TensorView {
            name: &spec.name,
            shape: &spec.shape,
            dtype: placed.dtype,
            bytes: self.weights.bytes(&self.weights.tensors[placed.index]),
            scales: placed.scales.map_or(&[], |index| {
                self.weights.bytes(&self.weights.tensors[index])
            }),
        }
    }
}

/// Reads the folder's `config.json`.
pub(crate) fn read_config(dir: &Path) -> Result<(PathBuf, Parsed)> {
    if !dir.is_dir() {
        let problem = if dir.exists() {
            "is a file; a checkpoint is the folder that holds config.json and the weights"
        } else {
            "there is no such folder"
        };
        return Err(Error::folder(dir, problem));
    }
    let path = dir.join("config.json");
    if !path.exists() {
        return Err(Error::folder(
            dir,
            "is not a checkpoint: it has no config.json",
        ));
    }
    let parsed = json::parse(&path, &read_text(&path)?)?;
    Ok((path, parsed))
}

/// The tensors by canonical name. Two of one name cannot both be meant.
fn by_canonical_name(weights: &Weights, faults: &mut Vec<Error>) -> HashMap<String, usize> {
    let mut by_name = HashMap::with_capacity(weights.tensors.len());
    for (index, found) in weights.tensors.iter().enumerate() {
        let name = &found.entry.name;
        match by_name.entry(names::canonical(name).into_owned()) {
            hash_map::Entry::Vacant(slot) => {
                slot.insert(index);
            }
            hash_map::Entry::Occupied(slot) => {
                let other: &Found = &weights.tensors[*slot.get()];
                faults.push(Error::tensor(
                    weights.path(found),
                    name,
                    format!(
                        "is another spelling of `{}`, which is there too",
                        other.entry.name
                    ),
                ));
            }
        }
    }
    by_name
}

/// The number format of a tensor that is as `spec` says, or what is wrong with it.
fn fit(found: &Found, spec: &ParameterSpec) -> Result<DType, String> {
    let Some(dtype) = DType::from_name(&found.entry.dtype) else {
        return Err(format!(
            "has the type {}; weights are F32, F16 or BF16, those of layers also I8 with scales",
            found.entry.dtype
        ));
    };
    if found.entry.shape != spec.shape {
        return Err(format!(
            "has the shape {:?}; config.json asks for {:?}",
            found.entry.shape, spec.shape
        ));
    }
    Ok(dtype)
}

/// The architecture that has the tensors that are there.
fn infer(
    weights: &Weights,
    by_name: &HashMap<String, usize>,
    config: &AlbertConfig,
) -> Architecture {
    let has = |name: &str| by_name.contains_key(name);
    if has("qa_outputs.weight") {
        Architecture::QuestionAnswering
    } else if has("sop_classifier.classifier.weight") {
        Architecture::PreTraining
    } else if has("predictions.dense.weight") {
        Architecture::MaskedLm
    } else if let Some(&index) = by_name.get("classifier.weight") {
        let outputs = weights.tensors[index].entry.shape.first();
        if !has("albert.pooler.weight") {
            Architecture::TokenClassification
        } else if outputs == Some(&1) && config.num_labels() != 1 {
            Architecture::MultipleChoice
        } else {
            Architecture::SequenceClassification
        }
    } else {
        Architecture::Base
    }
}
