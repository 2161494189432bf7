//! From a folder to an engine and its tokenizer.

use std::path::Path;
use std::sync::Arc;

use albert_checkpoint::Checkpoint;
use albert_engine::{Engine, EngineOptions, Precision};
use albert_text::Tokenizer;

use crate::{Error, Result, TaskSettings};

/// What every task over a folder is made from.
#[derive(Clone)]
pub struct Model {
    /// The weights, ready to run.
    pub engine: Arc<Engine>,
    /// Text to ids.
    pub tokenizer: Arc<Tokenizer>,
    /// What the folder's `task.json` says.
    pub settings: TaskSettings,
}

impl Model {
    /// Loads a checkpoint folder; without a precision it runs in that of its weights.
    ///
    /// # Errors
    /// As [`open`], and a `task.json` that cannot be used.
    pub fn open(dir: &Path, precision: Option<Precision>, threads: Option<usize>) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let options = EngineOptions {
            threads,
            precision: precision.unwrap_or_else(|| Precision::stored(&checkpoint)),
        };
        Ok(Self {
            tokenizer: Arc::new(tokenizer_of(&checkpoint)?),
            settings: TaskSettings::read(checkpoint.dir())?,
            engine: Arc::new(Engine::load(&checkpoint, options)?),
        })
    }
}

/// Loads the model and the tokenizer of a checkpoint folder.
///
/// # Errors
/// A missing or wrong file, named; a tokenizer whose pieces the model has no embeddings for.
pub fn open(dir: &Path, options: EngineOptions) -> Result<(Arc<Engine>, Arc<Tokenizer>)> {
    let checkpoint = Checkpoint::open(dir)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let engine = Engine::load(&checkpoint, options)?;
    Ok((Arc::new(engine), Arc::new(tokenizer)))
}

/// The tokenizer that lies in a checkpoint's folder, held against the model's vocabulary.
///
/// # Errors
/// No tokenizer file, a broken one, or one with more pieces than `vocab_size`.
pub fn tokenizer_of(checkpoint: &Checkpoint) -> Result<Tokenizer> {
    // The base's folder, where the checkpoint holds only what differs from it.
    let file = checkpoint.tokenizer_file();
    let Some(dir) = file.as_deref().and_then(Path::parent) else {
        return Err(Error::NoTokenizer(checkpoint.dir().into()));
    };
    let tokenizer = Tokenizer::from_folder(dir)?;
    let model = checkpoint.config().vocab_size;
    if tokenizer.vocab_size() > model {
        return Err(Error::Vocabulary {
            tokenizer: tokenizer.vocab_size(),
            model,
        });
    }
    Ok(tokenizer)
}
