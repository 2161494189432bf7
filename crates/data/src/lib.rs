//! Datasets in their official files, and their official metrics.
//!
//! [`read`](read()) turns a file of any known [`Format`] into a [`Dataset`]; [`metrics`] holds what answers
//! are scored by. Nothing here knows of models: pure functions over text and numbers.

mod error;
mod example;
mod format;

pub use error::{Error, Result};
pub use example::{
    AnswerText, ChoiceExample, Dataset, QuestionExample, ScoreExample, TagExample, TextExample,
};
pub use format::{Columns, Format, ReadOptions, read};
