//! What a folder holds, faults and all.

use std::path::{Path, PathBuf};

use crate::checkpoint::tokenizer_file;
use crate::config::AlbertConfig;
use crate::error::Result;
use crate::parameters::ParameterCounts;
use crate::survey::Survey;
use crate::tensor::DType;

/// A description of a checkpoint folder, also of one that cannot be loaded
/// because tensors are missing or wrong.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The folder.
    pub dir: PathBuf,
    /// The configuration, with the architecture that the file names or that the
    /// tensors tell. The heads are `config.architecture.heads()`.
    pub config: AlbertConfig,
    /// How many parameters the configuration asks for, by part.
    pub parameters: ParameterCounts,
    /// The folder whose tensors stand where this one has none.
    pub base: Option<PathBuf>,
    /// The weight files.
    pub weight_files: Vec<PathBuf>,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// The number formats of the tensors in use, with how many have each.
    pub dtypes: Vec<(DType, usize)>,
    /// The tokenizer's file, where there is one.
    pub tokenizer_file: Option<PathBuf>,
    /// Canonical names of the tensors that the architecture needs and no file has.
    pub missing: Vec<String>,
    /// What is wrong with tensors that are there: shape, type, a tie that is none.
    pub faults: Vec<String>,
    /// Tensors that the architecture has no use for, by their names in the file.
    pub unused: Vec<String>,
    /// What [`Checkpoint::notes`](crate::Checkpoint::notes) says.
    pub notes: Vec<String>,
}

impl Inspection {
    /// Whether [`Checkpoint::open`](crate::Checkpoint::open) loads the folder.
    pub fn is_loadable(&self) -> bool {
        self.missing.is_empty() && self.faults.is_empty()
    }
}

/// Describes a checkpoint folder. Missing and wrong tensors are part of the
/// description.
///
/// # Errors
/// A folder without a configuration or weights, and files of either that cannot
/// be read at all.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let survey = Survey::of(dir)?;
    let dtypes = DType::ALL
        .into_iter()
        .map(|dtype| {
            (
                dtype,
                survey.tensors.values().filter(|t| t.dtype == dtype).count(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    Ok(Inspection {
        parameters: survey.config.parameter_counts(),
        weight_files: survey
            .weights
            .files
            .iter()
            .map(|file| file.path.clone())
            .collect(),
        bytes: survey.weights.bytes_in_files(),
        dtypes,
        tokenizer_file: tokenizer_file(dir).or_else(|| tokenizer_file(&survey.base.as_ref()?.dir)),
        base: survey.base.map(|base| base.dir),
        faults: survey.faults.iter().map(ToString::to_string).collect(),
        dir: survey.dir,
        config: survey.config,
        missing: survey.missing,
        unused: survey.unused,
        notes: survey.notes,
    })
}
