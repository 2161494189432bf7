//! Fine-tuning `mini` on a few made-up examples.

mod common;
mod learn;
mod refusals;
mod resume;
mod small;
