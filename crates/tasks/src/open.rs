//! From a folder to an engine and its tokenizer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert_checkpoint::Checkpoint;
use albert_engine::{Engine, EngineOptions, Precision, Shared};
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

/// Opens folders of which some have a tokenizer, word embeddings or layers in common: these are in
/// memory once.
#[derive(Default)]
pub struct Opener {
    /// By the folder that they lie in.
    tokenizers: HashMap<PathBuf, Arc<Tokenizer>>,
    shared: Shared,
}

impl Opener {
    /// Nothing is open yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Model::open`].
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(
        &mut self,
        dir: &Path,
        precision: Option<Precision>,
        threads: Option<usize>,
    ) -> Result<Model> {
        let checkpoint = Checkpoint::open(dir)?;
        let options = EngineOptions {
            threads,
            precision: precision.unwrap_or_else(|| Precision::stored(&checkpoint)),
        };
        let settings = TaskSettings::read(checkpoint.dir())?;
        let Self { tokenizers, shared } = self;
        let (engine, tokenizer) = at_once(
            || Engine::load_with(&checkpoint, options, shared),
            || known_tokenizer(tokenizers, &checkpoint),
        );
        Ok(Model {
            tokenizer: tokenizer?,
            settings,
            engine: Arc::new(engine?),
        })
    }
}

fn known_tokenizer(
    known: &mut HashMap<PathBuf, Arc<Tokenizer>>,
    checkpoint: &Checkpoint,
) -> Result<Arc<Tokenizer>> {
    // Of the folder, for what lies beside the file counts too. Without one, the error is the
    // reader's.
    let file = checkpoint.tokenizer_file();
    let folder = file.and_then(|file| file.parent()?.canonicalize().ok());
    if let Some(tokenizer) = folder.as_ref().and_then(|folder| known.get(folder)) {
        check_vocabulary(tokenizer, checkpoint)?;
        return Ok(Arc::clone(tokenizer));
    }
    let tokenizer = Arc::new(tokenizer_of(checkpoint)?);
    if let Some(folder) = folder {
        known.insert(folder, Arc::clone(&tokenizer));
    }
    Ok(tokenizer)
}

/// Does two things that each take a while, the first on a thread of its own.
fn at_once<A: Send, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        match a.join() {
            Ok(a) => (a, b),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Model {
    /// Loads a checkpoint folder; without a precision it runs in that of its weights.
    ///
    /// # Errors
    /// As [`open`], and a `task.json` that cannot be used.
    pub fn open(dir: &Path, precision: Option<Precision>, threads: Option<usize>) -> Result<Self> {
        Opener::new().open(dir, precision, threads)
    }
}

/// Loads the model and the tokenizer of a checkpoint folder.
///
/// # Errors
/// A missing or wrong file, named; a tokenizer whose pieces the model has no embeddings for.
pub fn open(dir: &Path, options: EngineOptions) -> Result<(Arc<Engine>, Arc<Tokenizer>)> {
    load(&Checkpoint::open(dir)?, options)
}

/// The same of a checkpoint that is open.
///
/// # Errors
/// As [`open`].
pub fn load(
    checkpoint: &Checkpoint,
    options: EngineOptions,
) -> Result<(Arc<Engine>, Arc<Tokenizer>)> {
    // Each takes about as long as the other.
    let (engine, tokenizer) = at_once(
        || Engine::load(checkpoint, options),
        || tokenizer_of(checkpoint),
    );
    let tokenizer = tokenizer?;
    Ok((Arc::new(engine?), Arc::new(tokenizer)))
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
    check_vocabulary(&tokenizer, checkpoint)?;
    Ok(tokenizer)
}

fn check_vocabulary(tokenizer: &Tokenizer, checkpoint: &Checkpoint) -> Result<()> {
    let model = checkpoint.config().vocab_size;
    match tokenizer.vocab_size() > model {
        true => Err(Error::Vocabulary {
            tokenizer: tokenizer.vocab_size(),
            model,
        }),
        false => Ok(()),
    }
}
