//! Scores, and what they were counted from.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a model scored on a data set. Scores are fractions of one, or correlations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Examples.
    pub rows: usize,
    /// Scores by name.
    pub metrics: BTreeMap<String, f64>,
    /// The 95% interval of each score, by a thousand resamples.
    pub intervals: BTreeMap<String, [f64; 2]>,
    /// Seconds that the answers took.
    pub seconds: f64,
    /// What one should know, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Which class was taken for which.
    #[serde(skip)]
    pub confusion: Option<Confusion>,
    /// Wrong answers, the surest first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
    /// What was said to each example, in their order.
    #[serde(skip)]
    pub predictions: Vec<Prediction>,
}

/// How often each class was guessed for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// The classes.
    pub labels: Vec<String>,
    /// `[label][guess]`.
    pub counts: Vec<Vec<usize>>,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The example's line or id.
    pub place: String,
    /// The text, or the question.
    pub text: String,
    /// What was said.
    pub guess: String,
    /// What is right.
    pub right: String,
    /// How sure the model was, where it tells.
    pub confidence: Option<f32>,
}

/// What was said to an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The example's line, or its id.
    pub id: String,
    /// The class, number, tags or answer.
    pub answer: String,
    /// How sure the model was, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
}

impl Evaluation {
    /// Adds a score, and its interval over resamples of the examples.
    pub(crate) fn score(&mut self, name: &str, score: impl Fn(&[usize]) -> f64) {
        let all: Vec<usize> = (0..self.rows).collect();
        self.metrics.insert(name.to_owned(), score(&all));
        if let Some(interval) = albert_data::metrics::interval(self.rows, score) {
            self.intervals.insert(name.to_owned(), interval);
        }
    }

    /// Puts the surest mistakes first.
    pub(crate) fn sort_mistakes(&mut self) {
        let sure = |mistake: &Mistake| mistake.confidence.unwrap_or(0.0);
        self.mistakes.sort_by(|a, b| sure(b).total_cmp(&sure(a)));
    }
}
