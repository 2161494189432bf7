//! What can go wrong between raw text and a trained model.

use std::path::{Path, PathBuf};

use crate::guard::Spike;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names the file, line, field or batch it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A corpus file is of no kind that is known here.
    #[error("{}: not a corpus: expected a name ending in .txt or .jsonl, alone or followed by .zst", path.display())]
    UnknownCorpus {
        /// The file.
        path: PathBuf,
    },
    /// A line of a corpus is not UTF-8.
    #[error("{}: line {line} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line of a JSONL corpus cannot be read as a document.
    #[error("{}: line {line}: {message}", path.display())]
    CorpusLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A line of what a run wrote about itself cannot be read, so that the file cannot be gone on with.
    #[error(
        "{}: line {line} is not as it was written; mend it, or move the file away", path.display()
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A folder of shards, a file in it, or one that it is made from, is not what it should be.
    #[error("{}: {message}", path.display())]
    Shards {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// No document with text in any of the corpus files.
    #[error("the corpus is empty: no text in {}", names(paths))]
    EmptyCorpus {
        /// The files that were read.
        paths: Vec<PathBuf>,
    },
    /// The corpus has text, but too little to train on or to evaluate with.
    #[error("the corpus is too small: {message}")]
    SmallCorpus {
        /// What is missing, and what to do.
        message: String,
    },
    /// A recipe that cannot be read as TOML, or has an unknown field.
    #[error("{}: {message}", path.display())]
    RecipeSyntax {
        /// The recipe.
        path: PathBuf,
        /// What the parser said, with the line.
        message: String,
    },
    /// A value in a recipe that makes no sense.
    #[error("recipe: `{field}`: {message}")]
    RecipeField {
        /// The field, as `table.key`.
        field: String,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// The output folder has something in it, and resuming was not asked for.
    #[error("{}: the output folder exists and is not empty; name another, or resume the run in it", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// Another run writes to the output folder.
    #[error("{}: another run is writing to this folder", path.display())]
    OutputBusy {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to resume from.
    #[error("{}: nothing to resume: there is no `training/state.safetensors`", path.display())]
    NothingToResume {
        /// The output folder.
        path: PathBuf,
    },
    /// The saved state cannot be used.
    #[error("{}: {message}", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The recipe now given differs from the one that the run was started with.
    #[error(
        "cannot resume: the recipe's `{field}` was {was} when the run began and is {now} now; resume with the old recipe, or start a new run (`start_from` takes over the weights)"
    )]
    RecipeChanged {
        /// The field, as `table.key`.
        field: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        now: String,
    },
    /// The corpus or the tokenizer differs from what the run was started with.
    #[error(
        "cannot resume: the {what} is not the one that the run began with (checksum {}, now {})",
        shown(*was), shown(*now)
    )]
    InputChanged {
        /// `corpus` or `tokenizer`.
        what: &'static str,
        /// Its checksum in the run.
        was: u64,
        /// Its checksum now.
        now: u64,
    },
    /// The guard found too many steps out of the ordinary.
    #[error(
        "the run has come apart: {count} of its last {window} steps were out of the ordinary; the last was {spike}. `spikes.jsonl` in the output folder has all of them; the last checkpoint is whole. A lower rate, a longer warm-up or better data usually helps: begin a new run with `start_from`, or resume with other limits in `[guard]`"
    )]
    TooManySpikes {
        /// How many.
        count: usize,
        /// Of how many steps.
        window: usize,
        /// The last of them.
        spike: Box<Spike>,
    },
    /// A loss or gradient that is no number, in a run without a guard: training stopped before it
    /// could spoil the weights.
    #[error(
        "{what} is {value} at step {step} (pass {pass}, batch {batch}; examples {}): the weights before this step are in the last checkpoint; a lower rate or a longer warm-up usually helps",
        list(examples)
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// What it was.
        value: f32,
        /// The optimiser step, counted from 0.
        step: u64,
        /// The pass over the corpus, counted from 0.
        pass: u64,
        /// The batch in the pass, counted from 0.
        batch: u64,
        /// The examples of the batch, by the index of their first sentence in the corpus.
        examples: Vec<u32>,
    },
    /// A batch that needs more memory than there is.
    #[error(
        "`{field}`: {rows} rows of {length} positions need about {}, and {} are available; {}",
        gigabytes(*needed),
        gigabytes(*available),
        instead(*fits)
    )]
    Memory {
        /// The field that says how large the batch is.
        field: String,
        /// Rows of a forward pass.
        rows: usize,
        /// Positions of a row.
        length: usize,
        /// Bytes that they need.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// Rows that would fit.
        fits: usize,
    },
    /// The thread that prepares batches panicked: a bug in this crate.
    #[error("the thread that prepares batches failed, which is a bug: {message}")]
    BatchThread {
        /// What the panic said.
        message: String,
    },
    /// The optimiser's moments for a parameter are missing or have another size.
    #[error("the optimiser's moments of `{name}` {message}")]
    Moments {
        /// The parameter.
        name: String,
        /// What is wrong with them.
        message: String,
    },
    /// A tensor's values cannot be read back from the device.
    #[error("{what} cannot be read: {message}")]
    Values {
        /// Which values.
        what: String,
        /// What the backend said.
        message: String,
    },
    /// Another of the processes that train together failed, and told why.
    #[error("process {rank} failed")]
    OtherProcess {
        /// Its number.
        rank: usize,
    },
    /// A process has not what process 0 has.
    #[error(
        "process {rank} has not the same {what} as process 0: every machine must read the same recipe, tokenizer, corpus and output folder, best from a shared file system, and have processors of one kind, since others round differently"
    )]
    ProcessDiffers {
        /// What differs.
        what: &'static str,
        /// The process.
        rank: usize,
    },
    /// The library by which processes reach each other cannot be used.
    #[error("MPI: {message}")]
    Mpi {
        /// What is wrong.
        message: String,
    },
    /// The caller asked to stop before there was anything to save.
    #[error("interrupted before training began")]
    Interrupted,
    /// A data set cannot be learnt from, or scored on.
    #[error("{}: {message}", path.display())]
    Examples {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// A label that the model does not tell apart from others.
    #[error(
        "{}: line {line}: the label `{label}` is not among those that are learnt: {}",
        path.display(),
        some(known)
    )]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The label.
        label: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// Fine-tuning with numbers that are not finite.
    #[error(
        "at rate {rate:e} the loss came apart by step {step}: its gradients are no numbers any more; try a lower rate (`rates` in the recipe)"
    )]
    Diverged {
        /// The rate.
        rate: f64,
        /// The optimiser step, counted from 0.
        step: u64,
    },
    /// A text could not become a row.
    #[error(transparent)]
    Tasks(#[from] albert_tasks::Error),
    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] albert_data::Error),
    /// The tokenizer failed or does not fit.
    #[error(transparent)]
    Text(#[from] albert_text::Error),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] albert_checkpoint::Error),
    /// The model refused its configuration or input.
    #[error(transparent)]
    Model(#[from] albert_model::Error),
    /// The inference engine refused its input.
    #[error(transparent)]
    Engine(#[from] albert_tasks::engine::Error),
    /// The model at hand lacks a head that scoring needs.
    #[error(
        "scoring needs a checkpoint with the masked-LM and the sentence-order head, not {architecture}"
    )]
    NoHeads {
        /// The checkpoint's architecture.
        architecture: String,
    },
}

impl Error {
    /// An [`Error::Io`] for `path`, for use with `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    /// An [`Error::Shards`].
    pub(crate) fn shards(path: &Path, message: impl Into<String>) -> Error {
        Error::Shards {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// An [`Error::RecipeField`].
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Error {
        Error::RecipeField {
            field: field.into(),
            message: message.into(),
        }
    }
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// What to do where a batch does not fit.
fn instead(fits: usize) -> String {
    match fits {
        0 => "not even one row fits: a smaller model or shorter rows would".into(),
        fits => format!("{fits} rows would fit, and `accumulation` makes steps of more"),
    }
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
    let more = if names.len() > 20 { ", ..." } else { "" };
    shown.join(", ") + more
}

/// A checksum; there is none of what is not there.
fn shown(checksum: u64) -> String {
    match checksum {
        0 => "none".to_owned(),
        sum => format!("{sum:016x}"),
    }
}

/// The first few of many numbers.
fn list(examples: &[u32]) -> String {
    let shown: Vec<String> = examples.iter().take(16).map(u32::to_string).collect();
    let more = if examples.len() > 16 { ", ..." } else { "" };
    shown.join(", ") + more
}
