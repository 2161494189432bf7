//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint could not be read, written or found. Every variant names
/// the path, and the field or tensor where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "cannot read FILE".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The folder is not a checkpoint that this crate can read.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },

    /// A file is not the JSON that it should be.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser expected there.
        problem: String,
    },

    /// A field of a configuration is missing, has the wrong type, or a value
    /// that cannot be honoured.
    #[error("{}: `{field}` {problem}", path.display())]
    Field {
        /// The file, or `AlbertConfig` for a configuration made in memory.
        path: PathBuf,
        /// The field's name in `config.json`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A weight file is damaged or lies about its contents.
    #[error("{}: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// One tensor cannot be used.
    #[error("{}: tensor `{tensor}` {problem}", path.display())]
    Tensor {
        /// The file or folder that holds the tensor, or should hold it.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Tensors that the architecture needs are in none of the weight files.
    #[error("{}: {} of {architecture} missing: {}", path.display(), Count(tensors.len(), "tensor"), Names(tensors))]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The architecture that needs them, as transformers calls it.
        architecture: &'static str,
        /// The canonical names, all of them.
        tensors: Vec<String>,
    },

    /// A model of the Hugging Face hub could not be had.
    #[error("{name} on the Hugging Face hub: {problem}")]
    Hub {
        /// Its name, `owner/name`.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// No model of this name is in the places where models are kept.
    #[error("no model `{name}`; {}; {}", Looked(looked_in), Known(known))]
    NoSuchModel {
        /// The name asked for.
        name: String,
        /// The folders searched, in order.
        looked_in: Vec<PathBuf>,
        /// The names that would have been found.
        known: Vec<String>,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn folder(path: &Path, problem: impl Into<String>) -> Self {
        Self::Folder {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }

    pub(crate) fn json(path: &Path, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // serde_json ends its messages with the place, which stands in front here.
        let problem = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(front, _)| front);
        Self::Json {
            path: path.to_path_buf(),
            line: error.line(),
            column: error.column(),
            problem: problem.to_owned(),
        }
    }

    pub(crate) fn field(path: &Path, field: &str, problem: impl Into<String>) -> Self {
        Self::Field {
            path: path.to_path_buf(),
            field: field.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn weights(path: &Path, problem: impl Into<String>) -> Self {
        Self::Weights {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor {
            path: path.to_path_buf(),
            tensor: tensor.to_owned(),
            problem: problem.into(),
        }
    }
}

/// "1 tensor", "2 tensors".
struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}{}",
            self.0,
            self.1,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}

/// The first names of a list, and how many more there are.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A whole encoder is 25 tensors; more than a few say nothing new.
        const SHOWN: usize = 6;
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        if self.0.len() > SHOWN {
            write!(f, " and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}

struct Looked<'a>(&'a [PathBuf]);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no folder of models to look in");
        }
        let places: Vec<_> = self.0.iter().map(|p| p.display().to_string()).collect();
        write!(f, "looked in {}", places.join(", "))
    }
}

struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(
                "no models are there: name a checkpoint folder, or set ALBERT_MODELS to the folder that holds them",
            );
        }
        write!(f, "models there: {}", self.0.join(", "))
    }
}
