//! Classes, or a number, of a text or a pair.

use std::cmp::Ordering;
use std::sync::Arc;

use albert_checkpoint::{Architecture, ProblemType};
use albert_engine::Engine;
use albert_text::{EncodeOptions, Tokenizer};
use serde::Serialize;

use crate::rows::{Row, Wanted, sigmoid, softmax};
use crate::{Asked, Error, LongText, Result, TaskSettings, features};

/// A text, or a pair of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextInput<'a> {
    /// The text, or the first of a pair.
    pub text: &'a str,
    /// The second of a pair.
    pub pair: Option<&'a str>,
}

/// Tells classes of texts apart, or gives texts a number.
#[derive(Clone)]
pub struct Classifier {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LabelScore {
    /// The class.
    pub label: String,
    /// Between 0 and 1; calibrated where the folder has a temperature.
    pub probability: f32,
}

/// What a classifier says of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
            _ => Err(Error::no_head(
                "classify",
                "sequence classification",
                &engine,
            )),
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

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What logits are divided by before they become probabilities.
    pub(crate) fn temperature(&self) -> f32 {
        self.settings.temperature.unwrap_or(1.0)
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
        let asked = inputs.iter().map(|input| self.ask_logits(*input, None));
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// The classes, or the number, of each text.
    ///
    /// # Errors
    /// As [`Classifier::logits`].
    pub fn classify(&self, inputs: &[TextInput<'_>]) -> Result<Vec<Classified>> {
        let asked = inputs.iter().map(|input| self.ask(*input, None));
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// The rows of a text for others to run, and the way from their numbers to
    /// [`Classifier::classify`]'s answer. A long text is cut unless told; the logits of windows are
    /// averaged by their pieces.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::NoWindows`], and the tokenizer's.
    pub fn ask(&self, input: TextInput<'_>, long: Option<LongText>) -> Result<Asked<Classified>> {
        let this = self.clone();
        let asked = self.ask_logits(input, long)?;
        Ok(asked.map(move |(logits, truncated)| this.said(&logits, truncated)))
    }

    /// The same for [`Classifier::logits`].
    ///
    /// # Errors
    /// As [`Classifier::ask`].
    pub fn ask_logits(
        &self,
        input: TextInput<'_>,
        long: Option<LongText>,
    ) -> Result<Asked<(Vec<f32>, usize)>> {
        let most = self.max_length();
        let whole = features::text(&self.tokenizer, input.text, input.pair, most)?;
        LongText::check(long, whole.len() + whole.truncated, most)?;
        let mut rows = vec![whole];
        if long == Some(LongText::Windows) && rows[0].truncated > 0 {
            if input.pair.is_some() {
                return Err(Error::NoWindows);
            }
            let options = EncodeOptions {
                parse_specials: false,
                ..EncodeOptions::default()
            };
            rows = self
                .tokenizer
                .windows(None, input.text, most, most / 4, &options)?;
        }
        let truncated = rows[0].truncated;
        let weights: Vec<f64> = rows.iter().map(|row| row.len() as f64).collect();
        let wanted = Wanted::Row {
            early_exit: self.settings.early_exit,
        };
        let mean = move |mut windows: Vec<Vec<f32>>| {
            let logits = match windows.len() {
                1 => windows.remove(0),
                _ => weighted_mean(&windows, &weights),
            };
            (logits, truncated)
        };
        let rows = rows.iter().map(Row::from).collect();
        Ok(Asked::new(rows, wanted, |_, logits| logits, mean))
    }

    fn said(&self, logits: &[f32], truncated: usize) -> Classified {
        let temperature = self.temperature();
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

fn weighted_mean(rows: &[Vec<f32>], weights: &[f64]) -> Vec<f32> {
    let total: f64 = weights.iter().sum();
    let width = rows.first().map_or(0, Vec::len);
    let mean = |column: usize| {
        let terms = rows.iter().zip(weights);
        let sum: f64 = terms.map(|(row, w)| w * f64::from(row[column])).sum();
        (sum / total) as f32
    };
    (0..width).map(mean).collect()
}

/// Likeliest first; of equals in their own order.
pub(crate) fn likelier(a: &LabelScore, b: &LabelScore) -> Ordering {
    b.probability.total_cmp(&a.probability)
}
