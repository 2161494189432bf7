//! What a head is for: from text to features, from logits to an answer.
//!
//! Each task is one struct, made from an [`engine::Engine`] and a [`text::Tokenizer`], with one
//! verb that takes text and returns a typed answer with scores and character offsets:
//!
//! | task | verb | head |
//! |---|---|---|
//! | [`FillMask`] | [`FillMask::fill`] | masked-LM |
//! | [`SentenceOrder`] | [`SentenceOrder::judge`] | sentence order |
//! | [`Classifier`] | [`Classifier::classify`] | sequence classifier: classes, or a number |
//! | [`ZeroShot`] | [`ZeroShot::classify`] | the same, of natural-language inference |
//! | [`Tagger`] | [`Tagger::tag`] | token classifier |
//! | [`Answerer`] | [`Answerer::answer`] | answer start and end |
//! | [`Chooser`] | [`Chooser::choose`] | choice score |
//! | [`Embedder`] | [`Embedder::embed`] | none: the encoder alone |
//!
//! A folder without the head that a task needs is refused when the task is made, by name, with
//! the heads that the folder has. Text longer than the model's positions is never cut in
//! silence: an answer says when it saw a window or a truncated text.
//!
//! # Example
//!
//! ```
//! use albert_tasks::{FillMask, open};
//!
//! let (engine, tokenizer) = open("../../models/mini".as_ref(), Default::default())?;
//! let fill = FillMask::new(engine, tokenizer)?;
//! let answers = fill.fill(&["The capital of France is [MASK]."], 3)?;
//! assert_eq!(answers[0].masks[0].candidates.len(), 3);
//! # Ok::<(), albert_tasks::Error>(())
//! ```

mod answerer;
mod asked;
mod chooser;
mod classifier;
mod embedder;
mod error;
pub mod features;
mod fill_mask;
mod labels;
mod open;
mod rows;
mod sentence_order;
mod settings;
mod spans;
mod tagger;
mod zero_shot;

pub use albert_checkpoint::ProblemType;
pub use albert_engine as engine;
pub use albert_text as text;

pub use answerer::{ANSWER_LENGTH, Answer, AnswerOptions, Answered, Answerer};
pub use asked::{Asked, LongText};
pub use chooser::{Chooser, Chosen};
pub use classifier::{Classified, Classifier, LabelScore, TextInput};
pub use embedder::{Embedder, Embedding, cosine};
pub use error::{Error, Result};
pub use fill_mask::{Candidate, FillMask, Filled, MaskFill};
pub use labels::label_id;
pub use open::{Model, Opener, load, open, tokenizer_of};
pub use rows::{MASK_COST, Row, Wanted, run_rows};
pub use sentence_order::{OrderJudgement, SentenceOrder};
pub use settings::{Pooling, TaskSettings};
pub use tagger::{Entity, Tagged, TaggedWord, Tagger};
pub use zero_shot::{HYPOTHESIS, ZeroShot, ZeroShotAnswer, check_classes};
