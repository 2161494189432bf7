//! A corpus of any size as files: tokenised once, mapped into memory when it is trained on.
//!
//! [`build`](build()) turns corpus files into a folder of shards with an index, on all cores, in
//! memory that does not grow with the text, but for 20 to 40 bytes a document, and goes on where it
//! was stopped. [`inspect`](inspect()) checks such a folder. `docs/corpus-format.md` describes the files.

mod build;
mod format;
mod inputs;
mod pipeline;
mod read;
mod write;

pub use build::{BuildOptions, BuildPhase, BuildReport, Built, build};
pub use format::{Counts, Input, Manifest, Setup, ShardEntry};
pub use read::{inspect, is_shards};

pub(crate) use read::{Shards, checksum};

#[cfg(test)]
mod tests;
