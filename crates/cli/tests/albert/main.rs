//! The program `albert`, run as a user runs it.

mod answers;
mod bad_input;
mod common;
#[cfg(feature = "train")]
mod corpus;
mod kill;
#[cfg(feature = "train")]
mod pretrain;
