//! One of several choices, as in RACE.

use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::Engine;
use albert_text::{Encoding, Tokenizer};
use serde::Serialize;

use crate::rows::{Row, Wanted, greatest, run_rows, softmax};
use crate::{Error, Result, TaskSettings, features};

/// Chooses an answer to a question about a context.
pub struct Chooser {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// The choice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// The index of the likeliest choice.
    pub choice: usize,
    /// Its text.
    pub text: String,
    /// Its probability.
    pub confidence: f32,
    /// The probability of each choice, in the order given.
    pub probabilities: Vec<f32>,
    /// Pieces of the context left out because a row is longer than the model reads.
    pub truncated: usize,
}

impl Chooser {
    /// A task over a folder with a multiple-choice head.
    ///
    /// # Errors
    /// [`Error::NoHead`] for another folder.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::MultipleChoice => Ok(Self {
                engine,
                tokenizer,
                settings: TaskSettings::default(),
            }),
            _ => Err(Error::no_head("choose", "multiple choice", &engine)),
        }
    }

    /// The same with what the folder's `task.json` says.
    pub fn with_settings(mut self, settings: TaskSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The likeliest of the choices; a `_` in the question stands for the choice, else the choice
    /// follows it. The context may be empty.
    ///
    /// # Errors
    /// [`Error::NoChoice`] for fewer than two choices; what the tokenizer or the engine refuse.
    pub fn choose(&self, context: &str, question: &str, choices: &[&str]) -> Result<Chosen> {
        if choices.len() < 2 {
            return Err(Error::NoChoice);
        }
        let max_length = self.settings.max_length_in(&self.engine);
        let rows = choices
            .iter()
            .map(|choice| features::choice(&self.tokenizer, context, question, choice, max_length))
            .collect::<Result<Vec<Encoding>>>()?;
        let for_engine: Vec<Row> = rows.iter().map(Row::from).collect();
        let for_engine: Vec<&Row> = for_engine.iter().collect();
        let wanted = Wanted::Row { early_exit: None };
        let logits = run_rows(&self.engine, &for_engine, wanted)?.concat();
        let probabilities = softmax(&logits, self.settings.temperature.unwrap_or(1.0));
        let choice = greatest(&logits);
        Ok(Chosen {
            choice,
            text: choices[choice].to_owned(),
            confidence: probabilities[choice],
            probabilities,
            truncated: rows.iter().map(|row| row.truncated).max().unwrap_or(0),
        })
    }
}
