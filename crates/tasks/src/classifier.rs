//! Classes, or a number, of a text or a pair.

use std::cmp::Ordering;
use std::sync::Arc;

use albert_checkpoint::{Architecture, ProblemType};
use albert_engine::{Engine, What};
use albert_text::{Encoding, Tokenizer};
use serde::Serialize;

use crate::rows::{Of, outputs, sigmoid, softmax};
use crate::{Error, Result, TaskSettings, features};

/// A text, or a pair of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextInput<'a> {
    /// The text, or the first of a pair.
    pub text: &'a str,
    /// The second of a pair.
    pub pair: Option<&'a str>,
}

/// Tells classes of texts apart, or gives texts a number.
pub struct Classifier {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelScore {
    /// The class.
    pub label: String,
    /// Between 0 and 1; calibrated where the folder has a temperature.
    pub probability: f32,
}

/// What a classifier says of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified {
    /// The likeliest class; none where the head gives a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// The number, of a head that gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// The classes that the text has, of a head that gives any number of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Vec<String>>,
    /// All classes, likeliest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelScore>,
    /// Pieces left out because the text is longer than the model reads.
    pub truncated: usize,
}

impl Classifier {
    /// A task over a folder with a sequence classifier.
    ///
    /// # Errors
    /// [`Error::NoHead`] for another folder.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::SequenceClassification => Ok(Self {
                engine,
                tokenizer,
                settings: TaskSettings::default(),
            }),
            found => Err(Error::no_head("classify", "sequence classification", found)),
        }
    }

    /// The same with what the folder's `task.json` says.
    pub fn with_settings(mut self, settings: TaskSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The names of the classes, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.engine.config().id2label
    }

    /// What the head's outputs mean.
    pub fn problem(&self) -> ProblemType {
        self.engine.config().problem()
    }

    /// The most pieces of a row.
    pub fn max_length(&self) -> usize {
        self.settings.max_length_in(&self.engine)
    }

    /// The head's outputs for each text, `[texts][labels]`, and how many pieces of each were left
    /// out.
    ///
    /// # Errors
    /// [`Error::NotFinite`], and what the tokenizer or the engine refuse.
    pub fn logits(&self, inputs: &[TextInput<'_>]) -> Result<Vec<(Vec<f32>, usize)>> {
        let rows = inputs
            .iter()
            .map(|input| features::text(&self.tokenizer, input.text, input.pair, self.max_length()))
            .collect::<Result<Vec<Encoding>>>()?;
        let what = What {
            head: true,
            early_exit: self.settings.early_exit,
            ..What::default()
        };
        let encodings: Vec<&Encoding> = rows.iter().collect();
        let take = |outputs: albert_engine::Outputs| outputs.sequence_logits;
        let logits = outputs(&self.engine, &encodings, &what, Of::Rows, take)?;
        Ok(logits
            .into_iter()
            .zip(rows.iter().map(|row| row.truncated))
            .collect())
    }

    /// The classes, or the number, of each text.
    ///
    /// # Errors
    /// As [`Classifier::logits`].
    pub fn classify(&self, inputs: &[TextInput<'_>]) -> Result<Vec<Classified>> {
        let logits = self.logits(inputs)?;
        let said = logits.into_iter();
        Ok(said
            .map(|(logits, truncated)| self.said(&logits, truncated))
            .collect())
    }

    fn said(&self, logits: &[f32], truncated: usize) -> Classified {
        let temperature = self.settings.temperature.unwrap_or(1.0);
        let problem = self.problem();
        let probabilities = match problem {
            ProblemType::Regression => {
                return Classified {
                    label: None,
                    confidence: None,
                    score: logits.first().copied(),
                    assigned: None,
                    labels: Vec::new(),
                    truncated,
                };
            }
            ProblemType::SingleLabel => softmax(logits, temperature),
            ProblemType::MultiLabel => logits.iter().map(|x| sigmoid(x / temperature)).collect(),
        };
        let names = self.labels().iter().zip(probabilities);
        let mut labels: Vec<LabelScore> = names
            .map(|(label, probability)| LabelScore {
                label: label.clone(),
                probability,
            })
            .collect();
        labels.sort_by(likelier);
        let threshold = self.settings.multi_label_threshold.unwrap_or(0.5);
        let assigned = (problem == ProblemType::MultiLabel).then(|| {
            let over = labels.iter().filter(|l| l.probability > threshold);
            over.map(|l| l.label.clone()).collect()
        });
        let best = labels.first();
        Classified {
            label: best.map(|best| best.label.clone()),
            confidence: best.map(|best| best.probability),
            score: None,
            assigned,
            labels,
            truncated,
        }
    }
}

/// Likeliest first; of equals in their own order.
pub(crate) fn likelier(a: &LabelScore, b: &LabelScore) -> Ordering {
    b.probability.total_cmp(&a.probability)
}
