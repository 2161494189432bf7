//! What a head's numbers mean beyond `config.json`.

use std::path::Path;

use albert_checkpoint::write_atomic;
use albert_engine::{EarlyExit, Engine};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const NAME: &str = "task.json";

/// `task.json` in a model's folder. A field that is missing has its task's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSettings {
    /// The most pieces of a row, as in fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Logits are divided by this before they become probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// A question has no answer if the score of none exceeds the best answer's by more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer_threshold: Option<f32>,
    /// A text has the labels whose probability exceeds this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_label_threshold: Option<f32>,
    /// What becomes of the hidden states of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// When a row of a classifier with early exits leaves; chosen at use, not in the file. Without
    /// it rows go through all layers.
    #[serde(skip)]
    pub early_exit: Option<EarlyExit>,
}

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean over all pieces, `[CLS]` and `[SEP]` too.
    #[default]
    Mean,
    /// That of `[CLS]`.
    Cls,
}

impl TaskSettings {
    /// Reads `task.json` in a folder; a folder without one has the defaults.
    ///
    /// # Errors
    /// [`Error::Settings`] naming the file and the field.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let fail = |problem: String| Error::Settings {
            path: path.clone(),
            problem,
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        let settings: Self =
            serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let wrong = |field: &str, value: f32| fail(format!("`{field}` is {value}"));
        match settings {
            Self {
                max_length: Some(length @ 0..8),
                ..
            } => Err(fail(format!(
                "`max_length` is {length}; it must be 8 or more"
            ))),
            Self {
                temperature: Some(t),
                ..
            } if !(t > 0.0 && t.is_finite()) => Err(wrong("temperature", t)),
            Self {
                no_answer_threshold: Some(t),
                ..
            } if !t.is_finite() => Err(wrong("no_answer_threshold", t)),
            Self {
                multi_label_threshold: Some(t),
                ..
            } if !(0.0..1.0).contains(&t) => Err(wrong("multi_label_threshold", t)),
            settings => Ok(settings),
        }
    }

    /// The most pieces of a row for a model: those of fine-tuning, at most its positions.
    pub(crate) fn max_length_in(&self, engine: &Engine) -> usize {
        let positions = engine.config().max_position_embeddings;
        self.max_length.unwrap_or(positions).min(positions)
    }

    /// Writes `task.json` into a folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(NAME);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Settings {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        Ok(write_atomic(&path, (text + "\n").as_bytes())?)
    }
}
