//! ALBERT's configuration and weights as files.

mod checkpoint;
mod config;
mod error;
mod files;
mod find;
mod header;
mod json;
mod mmap;
mod names;
mod parameters;
mod preset;
mod save;
mod survey;
mod tensor;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::{Activation, AlbertConfig, Architecture, ProblemType};
pub use error::{Error, Result};
pub use files::write_atomic;
pub use find::{DEFAULT_MODEL, ShippedModel, find_model, shipped_models};
pub use parameters::{ParameterCounts, ParameterSpec};
pub use preset::PRESETS;
pub use save::{SaveTensor, save};
pub use tensor::{DType, TensorView};
