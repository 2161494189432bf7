//! A folder with a configuration, weights and a tokenizer.

use std::path::{Path, PathBuf};

use crate::config::{AlbertConfig, LayerModule};
use crate::error::{Error, Result};
use crate::survey::Survey;
use crate::tensor::{DType, TensorView};

/// A checkpoint folder, opened: the configuration read, and the weights mapped
/// into memory and held against it, tensor by tensor.
#[derive(Debug)]
pub struct Checkpoint {
    survey: Survey,
    tokenizer_file: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors`, or
    /// `model.safetensors.index.json` and its shards.
    ///
    /// Names with and without the prefix `albert.`, and with `gamma` and `beta`,
    /// are understood. The tied decoder may be missing or doubled. Numbers are
    /// not looked at: see [`check_finite`](Self::check_finite).
    ///
    /// # Errors
    /// Whatever is wrong with the folder, its configuration or a weight file;
    /// [`Error::Missing`] naming every tensor that `architectures` needs and the
    /// files lack; [`Error::Tensor`] for one of the wrong shape or type, or a
    /// tied tensor stored twice with different numbers.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut survey = Survey::of(dir)?;
        if !survey.faults.is_empty() {
            return Err(survey.faults.swap_remove(0));
        }
        if !survey.missing.is_empty() {
            return Err(Error::Missing {
                path: dir.to_path_buf(),
                architecture: survey.config.architecture.name(),
                tensors: survey.missing,
            });
        }
        Ok(Self {
            tokenizer_file: tokenizer_file(dir).or_else(|| {
                let base = survey.base.as_ref()?;
                tokenizer_file(&base.dir)
            }),
            survey,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.survey.dir
    }

    /// The configuration.
    pub fn config(&self) -> &AlbertConfig {
        &self.survey.config
    }

    /// A parameter by its canonical name, as [`AlbertConfig::parameters`] lists it.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that the architecture does not have.
    pub fn tensor(&self, canonical: &str) -> Result<TensorView<'_>> {
        match self.survey.tensor(canonical) {
            Some(view) => Ok(view),
            None => {
                let problem = format!("is not a parameter of {}", self.config().architecture);
                Err(Error::tensor(self.dir(), canonical, problem))
            }
        }
    }

    /// All parameters, in the order of [`AlbertConfig::parameters`].
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.survey
            .specs
            .iter()
            .filter_map(|spec| self.tensor(&spec.name).ok())
    }

    /// The folder whose tensors stand where this one has none, for a folder that
    /// [`save_difference`](crate::save_difference) wrote.
    pub fn base_dir(&self) -> Option<&Path> {
        self.survey.base.as_ref().map(|base| base.dir.as_path())
    }

    /// Whether other folders may be saved as what differs from this one
    /// ([`save_difference`](crate::save_difference)).
    ///
    /// # Errors
    /// [`Error::Folder`] if this folder itself holds only what differs from another.
    pub fn check_is_base(&self) -> Result<()> {
        if self.base_dir().is_some() {
            let problem = "holds only what differs from another folder, and cannot be a base";
            return Err(Error::folder(self.dir(), problem));
        }
        Ok(())
    }

    /// Changes what stays in floating point where the layers run in int8.
    pub fn skip_in_int8(&mut self, modules: &[LayerModule]) {
        self.survey.config.int8_skip_modules = modules.to_vec();
    }

    /// Whether the layers' matrices are stored as 8-bit integers
    /// ([`save_int8`](crate::save_int8)).
    pub fn is_int8(&self) -> bool {
        self.tensors().any(|view| view.dtype == DType::I8)
    }

    pub(crate) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The tokenizer's file: `tokenizer.json`, else `spiece.model`, else `vocab.txt`; of the base, where the folder has
    /// none.
    pub fn tokenizer_file(&self) -> Option<PathBuf> {
        self.tokenizer_file.clone()
    }

    /// Names of tensors in the files that the architecture has no use for.
    pub fn unused(&self) -> &[String] {
        &self.survey.unused
    }

    /// What a user should hear about the folder, one sentence each: unknown
    /// fields of `config.json`, sizes taken by default, an architecture guessed.
    pub fn notes(&self) -> &[String] {
        &self.survey.notes
    }

    /// Size of the folder's own weight files in bytes.
    pub fn bytes(&self) -> u64 {
        self.survey.weights.bytes_in_files()
    }

    /// Gives back the memory that the weight files take in this process, as
    /// [`MappedFile::release`](crate::MappedFile::release) does.
    pub fn release(&self) {
        self.survey.release();
    }

    /// Looks for numbers that are not finite, which opening does not: it would
    /// read the whole file. Of the memory for that, no more than one tensor's is held at a time.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the first tensor that has one, and its index.
    pub fn check_finite(&self) -> Result<()> {
        for view in self.tensors() {
            if let Some(index) = view.first_not_finite() {
                let problem = format!("has a number that is not finite, at index {index}");
                return Err(Error::tensor(self.dir(), view.name, problem));
            }
            self.release();
        }
        Ok(())
    }
}

/// The tokenizer's file in a folder: `tokenizer.json`, else `spiece.model`, else `vocab.txt`.
pub(crate) fn tokenizer_file(dir: &Path) -> Option<PathBuf> {
    ["tokenizer.json", "spiece.model", "vocab.txt"]
        .iter()
        .map(|n| dir.join(n))
        .find(|path| path.is_file())
}
