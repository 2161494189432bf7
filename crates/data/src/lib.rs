//! Datasets in their official files, and their official metrics.
//!
//! [`read`](read()) turns a file of any known [`Format`] into a [`Dataset`], and what cannot be read
//! into an error that names the file, the line and the field; [`detect`] tells the format. [`metrics`]
//! holds what answers are scored by, each function equal to the program that the field scores with.
//! Nothing here knows of models: pure functions over text and numbers.
//!
//! ```
//! use albert_data::{Dataset, ReadOptions, metrics, read};
//!
//! # let home = tempfile::tempdir()?;
//! # let path = home.path().join("dev.tsv");
//! std::fs::write(&path, "sentence\tlabel\na fine film\t1\na \"dull mess\t0\n")?;
//! let Dataset::Classes { examples, .. } = read(&path, &ReadOptions::default())? else {
//!     panic!("SST-2 has classes");
//! };
//! assert_eq!(examples[1].text, "a \"dull mess");
//! assert_eq!(metrics::accuracy(&[1, 1], &[1, 0]), 0.5);
//! assert_eq!(metrics::squad_f1("the Eiffel tower", &["Eiffel Tower"]), 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use file::{open, plain_name};
pub use format::{Columns, Format, ReadOptions, detect, read};
