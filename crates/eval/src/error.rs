//! What can go wrong between a data set and its scores.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a data set could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The task refused the model or a text.
    #[error(transparent)]
    Tasks(#[from] albert_tasks::Error),
    /// The model has no head for the data set's examples.
    #[error("{}: has {kind}, for which {needed}", path.display())]
    Kind {
        /// The data set's file.
        path: PathBuf,
        /// What is in it.
        kind: &'static str,
        /// What would be needed.
        needed: String,
    },
    /// A label that the model does not have.
    #[error(
        "{}: line {line}: the model has no label `{label}`; it has {}",
        path.display(),
        some(known)
    )]
    UnknownLabel {
        /// The data set's file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The label.
        label: String,
        /// Those of the model.
        known: Vec<String>,
    },
    /// An example that the task cannot take.
    #[error("{}: {place}: {source}", path.display())]
    Example {
        /// The data set's file.
        path: PathBuf,
        /// Which example: its line or id.
        place: String,
        /// What is wrong.
        source: Box<albert_tasks::Error>,
    },
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
    let more = if names.len() > 20 { ", ..." } else { "" };
    shown.join(", ") + more
}
