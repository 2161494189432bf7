//! What can go wrong between a text and its answer.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a task could not be made or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder's configuration or weights.
    #[error(transparent)]
    Checkpoint(#[from] albert_checkpoint::Error),
    /// The forward pass.
    #[error(transparent)]
    Engine(#[from] albert_engine::Error),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] albert_text::Error),
    /// The folder holds no tokenizer.
    #[error("{}: none of tokenizer.json, spiece.model and vocab.txt is in this folder", .0.display())]
    NoTokenizer(PathBuf),
    /// The tokenizer knows more pieces than the model has embeddings.
    #[error(
        "the tokenizer has {tokenizer} pieces, but the model's vocab_size is {model}: \
         they do not belong together"
    )]
    Vocabulary {
        /// Pieces of the tokenizer.
        tokenizer: usize,
        /// `vocab_size` of the model.
        model: usize,
    },
    /// The folder's `architectures` has no such head.
    #[error("{model}: {task} needs a {needed} head; {found} has none{}", how(task))]
    NoHead {
        /// The folder, or the name that it goes by.
        model: String,
        /// The task that was asked for.
        task: &'static str,
        /// The head that it reads.
        needed: &'static str,
        /// The folder's architecture.
        found: String,
    },
    /// A text for [`crate::FillMask`] has nothing to fill.
    #[error("text {row} has no [MASK] to fill: {text:?}")]
    NoMask {
        /// The text's place in the call, from 1.
        row: usize,
        /// The beginning of the text.
        text: String,
    },
    /// A text for [`crate::FillMask`] is cut before the first of its masks.
    #[error("every [MASK] stands behind the first {read} pieces, and only those are read")]
    MasksCut {
        /// The pieces that are read.
        read: usize,
    },
    /// A text that [`crate::SentenceOrder`] or [`crate::Answerer`] needs has no pieces.
    #[error("{0} is blank")]
    BlankText(&'static str),
    /// A question that leaves no room for its context.
    #[error("the question has {length} pieces; with this window it may have {most}")]
    LongQuestion {
        /// Its pieces.
        length: usize,
        /// The most that it may have.
        most: usize,
    },
    /// `task.json` cannot be used.
    #[error("{}: {problem}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A head gave numbers that are none.
    #[error("the head gives numbers that are not finite: the folder's weights are broken")]
    NotFinite,
    /// A class of [`crate::ZeroShot`] is blank, or there twice.
    #[error("class {} {problem}", .class + 1)]
    Class {
        /// Its place among the classes, from 0.
        class: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to choose from.
    #[error("there are too few choices to choose from")]
    NoChoice,
    /// A classifier that is asked for inference has no such label.
    #[error("there is no label `{name}`: this takes a model of natural-language inference, and the folder's labels are {}", known.join(", "))]
    NoLabel {
        /// The label that is needed.
        name: &'static str,
        /// Those that the folder has.
        known: Vec<String>,
    },
    /// A text that is longer than the model reads, where nothing may be left out.
    #[error("the text has {length} pieces, the model reads {most}")]
    TooLong {
        /// Its pieces, with those that are added.
        length: usize,
        /// The most that are read.
        most: usize,
    },
    /// A pair of texts that should be read in windows.
    #[error("a pair is not read in windows: its longer text can be cut, or refused")]
    NoWindows,
    /// An answer was asked for before the numbers of all rows were there.
    #[error("the numbers of row {0} are missing")]
    Unanswered(usize),
    /// A hypothesis without a place for the class.
    #[error("the hypothesis `{0}` has no {{}} where the class should stand")]
    Hypothesis(String),
}

impl Error {
    /// An [`Error::NoHead`].
    pub(crate) fn no_head(
        task: &'static str,
        needed: &'static str,
        engine: &albert_engine::Engine,
    ) -> Self {
        Self::NoHead {
            model: engine.dir().display().to_string(),
            task,
            needed,
            found: engine.config().architecture.to_string(),
        }
    }
}

/// How one gets the head of a task.
fn how(task: &str) -> String {
    match task {
        // None that ships chooses.
        "choose" => "; `albert finetune choose` teaches one".to_owned(),
        "classify" | "tag" | "answer" => {
            format!("; `albert finetune {task}` teaches one, `albert models` lists those that ship")
        }
        _ => String::new(),
    }
}
