//! The program `albert`, run as a user runs it.

mod answers;
mod bad_input;
#[cfg(feature = "train")]
mod bench;
mod common;
#[cfg(feature = "train")]
mod corpus;
#[cfg(feature = "train")]
mod finetune;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "train")]
mod kill;
#[cfg(feature = "train")]
mod pretrain;
#[cfg(all(unix, feature = "serve"))]
mod serve;
mod shipped;
