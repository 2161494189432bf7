//! The way of learning: from raw text to a pretrained ALBERT, and how good it is.
//!
//! [`pretrain()`] reads a [`Recipe`] and corpus files and makes a checkpoint folder; [`score()`]
//! measures such a folder on held-out text. What lies between, from the text to the weights, is a
//! module each:
//!
//! | module | what it does |
//! |---|---|
//! | [`documents`] | files to documents: plain text or JSONL, packed or not |
//! | [`corpus`] | documents to sentences of piece ids, once, in memory and in a cache |
//! | [`shards`] | the same for text of any size, in files that are mapped |
//! | [`examples`] | sentences to segment pairs whose lengths and cuts tell nothing of their order |
//! | [`masking`] | n-grams of whole words, masked afresh in each pass |
//! | [`batches`] | rows of similar length together, in an order drawn from the seed |
//! | [`optim`] | LAMB and AdamW, the global norm, accumulated gradients |
//! | [`schedule`] | how long, and at which rate |
//! | [`guard`] | which steps are skipped |
//! | [`peers`] | several processes that train one model, each on its rows of a batch |
//! | [`metrics`] | what a run measures: `metrics.csv`, `curves.svg` |
//! | [`mod@finetune`] | a pretrained model to one with a head, by labelled examples |
//!
//! Everything random is drawn by position ([`random::stream`]), so that a run can be stopped
//! anywhere and go on as if it had not been.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use albert_model::Cpu;
//! use albert_train::{PretrainOptions, Recipe, pretrain};
//! # use albert_text::{UnigramOptions, train_unigram};
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! # let line = |i: u32| format!("The cat number {i} sat on mat {}. It was a good cat. It slept there.", i % 7);
//! # let text: Vec<String> = (0..60).map(line).collect();
//! # std::fs::write(home.join("corpus.txt"), text.join("\n\n"))?;
//! # let options = UnigramOptions { vocab_size: 44, ..UnigramOptions::default() };
//! # train_unigram(text.into_iter(), &options, &mut |_| {})?.save(home)?;
//!
//! let recipe = Recipe::parse(&format!(
//!     r#"
//!     tokenizer = "{}/tokenizer.json"
//!     [model]
//!     preset = "tiny"
//!     [[stage]]
//!     length = 32
//!     batch = 8
//!     steps = 3
//!     [optimizer]
//!     kind = "adamw"
//!     rate = 1e-3
//!     "#,
//!     home.display()
//! ))?;
//! let options = PretrainOptions {
//!     recipe,
//!     corpus: vec![home.join("corpus.txt")],
//!     output: home.join("model"),
//!     resume: false,
//!     cache: None,
//!     threads: None,
//! };
//! let outcome = pretrain::<Cpu>(&options, &Default::default(), &AtomicBool::new(false), &mut ())?;
//! assert!(outcome.finished && outcome.steps == 3);
//! assert!(home.join("model/model.safetensors").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batches;
pub mod bench;
mod cache;
mod checksum;
pub mod corpus;
mod curves;
pub mod documents;
mod error;
mod evaluate;
pub mod examples;
mod files;
pub mod finetune;
pub mod guard;
mod ledger;
pub mod masking;
mod memory;
pub mod metrics;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(any(feature = "mpi", test))]
mod neighbours;
pub mod optim;
pub mod peers;
mod pretrain;
pub mod random;
pub mod recipe;
mod run;
pub mod schedule;
pub mod score;
pub mod shards;
mod share;
mod smooth;
mod sources;
mod start;
mod state;
mod tensor_file;
pub mod tied;
pub mod vocabulary;

#[cfg(feature = "mpi")]
pub use self::mpi::MpiPeers;
#[cfg(feature = "mpi")]
pub use self::neighbours::Neighbours;
pub use corpus::TokenisingReport;
pub use curves::svg as curves_svg;
pub use documents::{Document, Documents};
pub use error::{Error, Result};
pub use finetune::{FinetuneOptions, FinetuneRecipe, finetune};
pub use guard::Spike;
pub use metrics::DevScores;
pub use peers::{Alone, Peers};
pub use pretrain::{
    Outcome, PretrainOptions, Progress, RunReport, StepReport, pretrain, pretrain_together,
};
pub use recipe::Recipe;
pub use score::{Score, ScoreExample, ScoreOptions, score};
