//! What can be wrong with a dataset's file.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names the file, and the line and field where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row that cannot be read.
    #[error("{}: line {line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it; names the field.
        message: String,
    },
    /// A file that is not what its format says, as a whole.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
}

impl Error {
    /// An [`Error::Io`] for `path`, for use with `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    /// An [`Error::Row`].
    pub(crate) fn row(path: &Path, line: usize, message: impl Into<String>) -> Error {
        Error::Row {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }

    /// An [`Error::File`].
    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Error {
        Error::File {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}
