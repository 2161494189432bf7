//! What can go wrong, naming the file or the option.

use std::path::{Path, PathBuf};

/// What can go wrong between characters and ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder holds none of `tokenizer.json`, `spiece.model` and `vocab.txt`.
    #[error("{}: none of tokenizer.json, spiece.model and vocab.txt is in this folder", .0.display())]
    NoTokenizer(PathBuf),
    /// A tokenizer file that is not what its name or its first bytes promise.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file, or `<memory>` for bytes that came from elsewhere.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The `tokenizers` crate refused a text.
    #[error("the tokenizer cannot encode this text: {0}")]
    Encode(String),
    /// The text has more pieces than were allowed, and truncation was not.
    #[error(
        "the text has {length} pieces with its special ones, more than the {max_length} allowed; \
         allow truncation, raise the limit, or cut it into windows"
    )]
    TooLong {
        /// Pieces, special ones included.
        length: usize,
        /// The limit.
        max_length: usize,
    },
    /// The limit leaves no room for text beside the special pieces (and the question).
    #[error(
        "{max_length} pieces leave no room for the text: {needed} are taken by special pieces, \
         the text that may not be cut, and the stride"
    )]
    NoRoom {
        /// The limit.
        max_length: usize,
        /// Pieces that cannot be cut.
        needed: usize,
    },
    /// The corpus for a vocabulary has no text.
    #[error("the corpus holds no text to learn a vocabulary from")]
    EmptyCorpus,
    /// The vocabulary asked for cannot hold the special pieces and the alphabet.
    #[error(
        "a vocabulary of {vocab_size} pieces is too small: the {special} special pieces and the \
         corpus's alphabet need {needed}"
    )]
    VocabularyTooSmall {
        /// Pieces asked for.
        vocab_size: usize,
        /// Special pieces.
        special: usize,
        /// The least size that would do.
        needed: usize,
    },
    /// The corpus does not support so many pieces.
    #[error(
        "a vocabulary of {vocab_size} pieces is too large for this corpus: it supports {possible}"
    )]
    VocabularyTooLarge {
        /// Pieces asked for.
        vocab_size: usize,
        /// The greatest size that would do.
        possible: usize,
    },
    /// An option outside its range.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        reason: &'static str,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Error {
        Error::File {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
