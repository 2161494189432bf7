//! ALBERT's forward pass on a CPU, over ragged batches.
//!
//! An [`Engine`] holds a checkpoint's weights in f32 or, by [`Precision`], those of the layers in
//! int8, each distinct layer packed once, however
//! often the model runs it. A [`Batch`] holds rows of token ids end to end: there is no padding,
//! and a long row costs its own length only. [`What`] says which outputs are wanted, [`Outputs`]
//! holds them, named and ordered as transformers names and orders them.
//!
//! The result for a row has the same bits whatever rows are beside it and however many threads
//! run. In f32 all outputs are within 1e-5 of the range of transformers' on the same checkpoint; the
//! tests hold the engine to that on `golden/engine`.
//!
//! ```
//! use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, What};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/engine/sequence_classes3");
//! # let folder = std::path::Path::new(folder);
//! let engine = Engine::load(&Checkpoint::open(folder)?, EngineOptions::default())?;
//!
//! let mut batch = Batch::new();
//! batch.push(&[2, 17, 23, 3], None)?;
//! batch.push(&[2, 40, 3, 41, 42, 3], Some(&[0, 0, 0, 1, 1, 1]))?;
//!
//! let what = What { last_hidden_state: true, head: true, ..What::default() };
//! let outputs = engine.forward(&batch, &what)?;
//!
//! let states = outputs.last_hidden_state.unwrap(); // [10 tokens, hidden]
//! assert_eq!(states.len(), 10 * engine.config().hidden_size);
//! let logits = outputs.sequence_logits.unwrap(); // [2 rows, 3 labels]
//! assert_eq!(logits.len(), 2 * 3);
//!
//! // The same row alone gives the same bits.
//! let mut alone = Batch::new();
//! alone.push(&[2, 17, 23, 3], None)?;
//! let outputs = engine.forward(&alone, &what)?;
//! assert_eq!(outputs.sequence_logits.unwrap(), logits[..3]);
//!
//! // What a model cannot run is refused by row and position.
//! let mut wrong = Batch::new();
//! wrong.push(&[2, 99_999, 3], None)?;
//! let error = engine.forward(&wrong, &what).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "row 0: position 1: id 99999 is outside the vocabulary of 97 pieces"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod dense;
mod embeddings;
mod engine;
mod error;
mod exits;
mod heads;
mod layer;
mod linear;
mod model;
mod outputs;
mod shared;

pub use albert_checkpoint::{AlbertConfig, Checkpoint};
pub use batch::Batch;
pub use engine::{Engine, EngineOptions, Precision};
pub use error::{Error, Result, RowError};
pub use outputs::{EarlyExit, Outputs, What, likeliest};
pub use shared::Shared;
