//! Datasets in their official files, and their official metrics.
//!
//! [`read`](read()) turns a file of any known [`Format`] into a [`Dataset`]; [`metrics`] holds what answers
//! are scored by. Nothing here knows of models: pure functions over text and numbers.

mod clinc150;
mod error;
mod example;
mod file;
mod format;
mod glue;
pub mod metrics;
mod named;
mod race;
mod seq;
mod squad;
mod table;

pub use clinc150::OUT_OF_SCOPE;
pub use error::{Error, Result};
pub use example::{
    AnswerText, ChoiceExample, Dataset, QuestionExample, ScoreExample, TagExample, TextExample,
};
pub use format::{Columns, Format, ReadOptions, detect, read};
pub use seq::read_seq_labels;
