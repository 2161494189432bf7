//! Sets of predictions as `golden/data/metrics.py` writes them, and their scores.

use albert_data::metrics;
use serde::Deserialize;
use serde_json::{Value, json};

/// A set of predictions.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Set {
    Classes {
        guesses: Vec<usize>,
        labels: Vec<usize>,
        classes: usize,
    },
    AnyClasses {
        guesses: Vec<Vec<bool>>,
        labels: Vec<Vec<bool>>,
    },
    Numbers {
        guesses: Vec<f64>,
        labels: Vec<f64>,
    },
    Tags {
        guesses: Vec<Vec<String>>,
        labels: Vec<Vec<String>>,
    },
    Answers {
        guesses: Vec<String>,
        answers: Vec<Vec<String>>,
        no_answer: Vec<f64>,
    },
    Confidences {
        confidences: Vec<f64>,
        right: Vec<bool>,
        bins: usize,
    },
}

/// Every score of a set.
pub fn scores(set: &Set) -> Value {
    match set {
        Set::Classes {
            guesses,
            labels,
            classes,
        } => json!({
            "accuracy": metrics::accuracy(guesses, labels),
            "f1_of_class_1": metrics::f1_of_class(guesses, labels, 1),
            "macro_f1": metrics::macro_f1(guesses, labels, *classes),
            "matthews": metrics::matthews(guesses, labels, *classes),
        }),
        Set::AnyClasses { guesses, labels } => json!({
            "micro_f1": metrics::micro_f1(guesses, labels),
            "subset_accuracy": metrics::subset_accuracy(guesses, labels),
        }),
        Set::Numbers { guesses, labels } => json!({
            "pearson": metrics::pearson(guesses, labels),
            "spearman": metrics::spearman(guesses, labels),
        }),
        Set::Tags { guesses, labels } => {
            let scores = metrics::span_scores(guesses, labels);
            json!({
                "precision": scores.precision,
                "recall": scores.recall,
                "f1": scores.f1,
                "accuracy": metrics::tag_accuracy(guesses, labels),
            })
        }
        Set::Answers {
            guesses,
            answers,
            no_answer,
        } => {
            let right = |i: usize| answers[i].iter().map(String::as_str).collect::<Vec<_>>();
            let mean = |of: &dyn Fn(usize) -> f64| {
                (0..guesses.len()).map(of).sum::<f64>() / guesses.len() as f64
            };
            let said = |of: fn(&str, &[&str]) -> f64| -> Vec<metrics::Answered> {
                let said = |i: usize| metrics::Answered {
                    score: of(&guesses[i], &right(i)),
                    no_answer: no_answer[i],
                    has_answer: !answers[i].is_empty(),
                };
                (0..guesses.len()).map(said).collect()
            };
            let (best_f1, best_f1_threshold) = metrics::best_threshold(&said(metrics::squad_f1));
            let (best_exact, best_exact_threshold) =
                metrics::best_threshold(&said(metrics::squad_exact));
            // 1.1 knows no questions without an answer.
            let answered: Vec<usize> = (0..guesses.len())
                .filter(|&i| !answers[i].is_empty())
                .collect();
            let first = |of: fn(metrics::SquadScript, &str, &[&str]) -> f64| {
                let scores = answered
                    .iter()
                    .map(|&i| of(metrics::SquadScript::V1, &guesses[i], &right(i)));
                scores.sum::<f64>() / answered.len().max(1) as f64
            };
            json!({
                "exact_of_1_1": first(metrics::SquadScript::exact),
                "f1_of_1_1": first(metrics::SquadScript::f1),
                "exact": mean(&|i| metrics::squad_exact(&guesses[i], &right(i))),
                "f1": mean(&|i| metrics::squad_f1(&guesses[i], &right(i))),
                "best_f1": best_f1,
                "best_f1_threshold": best_f1_threshold,
                "best_exact": best_exact,
                "best_exact_threshold": best_exact_threshold,
            })
        }
        Set::Confidences {
            confidences,
            right,
            bins,
        } => json!({
            "calibration_error": metrics::calibration_error(confidences, right, *bins),
        }),
    }
}
