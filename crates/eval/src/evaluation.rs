//! Scores, and what they were counted from.

use std::collections::BTreeMap;

use albert_data::metrics::{interval, resamples};
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
    /// Each score over each resample.
    #[serde(skip)]
    pub(crate) resamples: BTreeMap<String, Vec<f64>>,
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

/// The difference of two models' scores on the same examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lead {
    /// This model's score less the other's.
    pub value: f64,
    /// Its 95% interval, by a thousand resamples.
    pub interval: [f64; 2],
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
        let resamples = resamples(self.rows, score);
        if let Some(interval) = interval(resamples.clone()) {
            self.intervals.insert(name.to_owned(), interval);
            self.resamples.insert(name.to_owned(), resamples);
        }
    }

    /// How far each score that both have is above another model's on the same examples. The
    /// examples are resampled for both at once: what is hard for either is hard for both, so that
    /// the interval of the difference is narrower than the scores' own tell.
    ///
    /// Empty where the two were not scored on as many examples.
    pub fn lead_over(&self, other: &Evaluation) -> BTreeMap<String, Lead> {
        let mut leads = BTreeMap::new();
        if self.rows != other.rows {
            return leads;
        }
        for (name, mine) in &self.resamples {
            let Some(theirs) = other.resamples.get(name) else {
                continue;
            };
            let differences = mine.iter().zip(theirs).map(|(a, b)| a - b).collect();
            if let Some(interval) = interval(differences) {
                let value = self.metrics[name] - other.metrics[name];
                leads.insert(name.clone(), Lead { value, interval });
            }
        }
        leads
    }

    /// Puts the surest mistakes first.
    pub(crate) fn sort_mistakes(&mut self) {
        let sure = |mistake: &Mistake| mistake.confidence.unwrap_or(0.0);
        self.mistakes.sort_by(|a, b| sure(b).total_cmp(&sure(a)));
    }
}
