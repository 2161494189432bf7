//! Tasks over data sets: how good is the folder that would ship?
//!
//! [`evaluate()`] asks the task that fits a data set, by the same code that answers users, and
//! scores what it says with the official metrics: each with the 95% interval of its bootstrap.
//! [`report`] shows where a model is wrong.

mod ask;
mod error;
mod evaluation;
mod questions;
mod report;

pub use ask::{Model, Progress, evaluate};
pub use error::{Error, Result};
pub use evaluation::{Confusion, Evaluation, Lead, Mistake, Prediction};
pub use report::report;
