//! ALBERT's configuration and weights as files.
//!
//! A checkpoint is a folder: `config.json`, `model.safetensors` (or shards of it
//! with an index), and a tokenizer's file. It is the only thing that passes from
//! learning to use, so this crate reads folders strictly and writes them whole:
//!
//! - [`AlbertConfig`] holds every field of `config.json` that changes what the
//!   model computes. A value that this program cannot honour is refused by name.
//!   [`AlbertConfig::preset`] has the published sizes.
//! - [`Checkpoint::open`] maps the weights into memory and holds them against
//!   the configuration, under whichever names the file has them. A missing or
//!   mis-shaped tensor is an error that names it; one that nothing needs is
//!   listed in [`Checkpoint::unused`]. [`inspect`](inspect()) describes any folder, also a
//!   broken one.
//! - [`save`](save()) writes a folder that transformers loads without a warning, and
//!   leaves nothing half-written behind.
//! - [`save_difference`] writes one that holds only what differs from another, so that many
//!   heads share one encoder on disk. [`Checkpoint::open`] reads both kinds.
//! - [`find_model`] finds the models that ship by their names.
//! - [`MappedFile`] maps any file read-only; it is the one place that does.
//!
//! ```
//! use albert_checkpoint::{AlbertConfig, Checkpoint, DType, SaveTensor, save};
//!
//! # let home = tempfile::tempdir()?;
//! # let dir = home.path().join("model");
//! let config = AlbertConfig::preset("tiny").ok_or("no such preset")?;
//! let parameters = config.parameters();
//! let zeros = vec![0.0; parameters.iter().map(|p| p.elements()).max().unwrap_or(0)];
//! let tensors: Vec<_> = parameters
//!     .iter()
//!     .map(|p| SaveTensor { name: &p.name, shape: &p.shape, data: &zeros[..p.elements()] })
//!     .collect();
//! save(&dir, &config, &tensors, DType::F16, &[])?;
//!
//! let checkpoint = Checkpoint::open(&dir)?;
//! let words = checkpoint.tensor("albert.embeddings.word_embeddings.weight")?;
//! assert_eq!(words.shape, [config.vocab_size, config.embedding_size]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base;
mod checkpoint;
mod config;
mod error;
mod files;
mod find;
mod header;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod int8;
mod json;
mod labels;
mod mmap;
mod names;
mod parameters;
mod pickle;
mod preset;
mod save;
mod survey;
mod tensor;
mod tensor_writer;
mod torch;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::{Activation, AlbertConfig, Architecture, LayerModule, ProblemType};
pub use error::{Error, Result};
pub use files::write_atomic;
pub use find::{DEFAULT_MODEL, ShippedModel, find_model, shipped_models};
pub use inspect::{Inspection, inspect};
pub use mmap::MappedFile;
pub use parameters::{ParameterCounts, ParameterSpec};
pub use preset::PRESETS;
pub use save::{Quantize, SaveTensor, save, save_difference, save_int8};
pub use tensor::{DType, TensorView};
pub use tensor_writer::TensorWriter;
