//! How good a model is on held-out examples while it is being fine-tuned.

use std::collections::BTreeMap;

use albert_data::metrics;
use albert_model::{AlbertBackend, AlbertForTask};
use albert_tasks::features::{self, Span, Window};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::calibration::Judged;
use super::loss::{input, unit_means};
use super::set::{Item, Question, Set, Target};
use super::task::{Labels, Task};
use crate::error::Result;

/// So many tokens go through the model at once.
const TOKENS_AT_ONCE: usize = 4096;

/// The longest answer, in pieces, as in the official code.
const ANSWER_PIECES: usize = 30;

/// What a model scored on held-out examples, as fractions of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The name of the score that decides which weights are best.
    pub main: String,
    /// All scores by name.
    pub values: BTreeMap<String, f64>,
}

impl Scores {
    fn new<const N: usize>(main: &str, values: [(&str, f64); N]) -> Self {
        let named = |(name, value): (&str, f64)| (name.to_owned(), value);
        Self {
            main: main.to_owned(),
            values: values.into_iter().map(named).collect(),
        }
    }

    /// The score that decides.
    pub fn main_value(&self) -> f64 {
        self.values.get(&self.main).copied().unwrap_or(f64::NAN)
    }

    /// Whether these are better than `other`.
    pub fn beats(&self, other: &Scores) -> bool {
        self.main_value() > other.main_value()
    }
}

/// Held-out examples.
#[derive(Clone, Debug)]
pub(crate) struct DevSet {
    task: Task,
    labels: Labels,
    items: Vec<Item>,
    questions: Vec<Question>,
}

/// What the model says of each item: the logits of its rows, tokens or choices, end to end.
pub(crate) type Logits = Vec<Vec<f32>>;

impl DevSet {
    pub(crate) fn new(task: Task, labels: &Labels, set: Set) -> Self {
        Self {
            task,
            labels: labels.clone(),
            items: set.items,
            questions: set.questions,
        }
    }

    /// The scores of a model.
    pub(crate) fn score<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        device: &B::Device,
    ) -> Result<Scores> {
        if self.task == Task::Answer {
            return self.score_questions(model, device);
        }
        let logits = self.logits(model, device)?;
        Ok(match self.task {
            Task::Classify if self.labels.multi => self.score_any_classes(&logits),
            Task::Classify | Task::Choose => self.score_classes(&logits),
            Task::Tag => self.score_tags(&logits),
            _ => self.score_numbers(&logits),
        })
    }

    /// What a model says of each example, and whether it is right, for calibration; nothing where
    /// it says numbers or vectors.
    pub(crate) fn judged<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        device: &B::Device,
    ) -> Result<Vec<Judged>> {
        if self.task == Task::Answer {
            let said = self.answers(model, device)?.into_iter();
            return Ok(said.filter_map(|said| said.judged).collect());
        }
        if matches!(self.task, Task::Regress | Task::Embed) {
            return Ok(Vec::new());
        }
        let logits = self.logits(model, device)?;
        let width = self.labels.names.len();
        let mut judged = Vec::new();
        for (item, logits) in self.items.iter().zip(logits) {
            match &item.target {
                Target::Class(class) | Target::Choice(class) => {
                    judged.push(Judged::Class(logits, *class));
                }
                // The sigmoid of a logit is the softmax of nought and the logit.
                Target::Classes(classes) => {
                    judged.extend(logits.iter().zip(classes).map(|(&logit, &class)| {
                        Judged::Class(vec![0.0, logit], usize::from(class))
                    }))
                }
                Target::Tags(tags) => judged.extend(tags.iter().map(|&(place, tag)| {
                    Judged::Class(logits[place * width..][..width].to_vec(), tag)
                })),
                _ => {}
            }
        }
        Ok(judged)
    }

    fn classes(&self) -> Vec<usize> {
        let class = |item: &Item| match item.target {
            Target::Class(class) | Target::Choice(class) => class,
            _ => 0,
        };
        self.items.iter().map(class).collect()
    }

    fn logits<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        device: &B::Device,
    ) -> Result<Logits> {
        // Rows of like length go together.
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|&i| self.items[i].tokens());
        let mut logits = vec![Vec::new(); self.items.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |&&i: &&usize| {
                tokens += self.items[i].tokens();
                tokens <= TOKENS_AT_ONCE
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let items: Vec<&Item> = now.iter().map(|&i| &self.items[i]).collect();
            let of_items = item_logits(model, &items, self.task, device)?;
            for (&i, of_item) in now.iter().zip(of_items) {
                logits[i] = of_item;
            }
        }
        Ok(logits)
    }

    fn score_classes(&self, logits: &Logits) -> Scores {
        let guesses: Vec<usize> = logits.iter().map(|row| greatest(row)).collect();
        let classes = self.classes();
        let accuracy = metrics::accuracy(&guesses, &classes);
        if self.task == Task::Choose {
            return Scores::new("accuracy", [("accuracy", accuracy)]);
        }
        let count = self.labels.names.len();
        let f1 = metrics::macro_f1(&guesses, &classes, count);
        Scores::new("accuracy", [("accuracy", accuracy), ("macro_f1", f1)])
    }

    fn score_any_classes(&self, logits: &Logits) -> Scores {
        let guesses: Vec<Vec<bool>> = logits
            .iter()
            .map(|row| row.iter().map(|&logit| logit > 0.0).collect())
            .collect();
        let wanted: Vec<Vec<bool>> = self
            .items
            .iter()
            .map(|item| match &item.target {
                Target::Classes(classes) => classes.clone(),
                _ => Vec::new(),
            })
            .collect();
        let exact = metrics::subset_accuracy(&guesses, &wanted);
        let f1 = metrics::micro_f1(&guesses, &wanted);
        Scores::new("micro_f1", [("micro_f1", f1), ("accuracy", exact)])
    }

    fn score_tags(&self, logits: &Logits) -> Scores {
        let names = &self.labels.names;
        let (mut guessed, mut wanted) = (Vec::new(), Vec::new());
        for (item, logits) in self.items.iter().zip(logits) {
            let Target::Tags(tags) = &item.target else {
                continue;
            };
            let rows: Vec<&[f32]> = logits.chunks(names.len()).collect();
            let guess = |&(place, _): &(usize, usize)| names[greatest(rows[place])].as_str();
            guessed.push(tags.iter().map(guess).collect::<Vec<_>>());
            let tag = |&(_, tag): &(usize, usize)| names[tag].as_str();
            wanted.push(tags.iter().map(tag).collect::<Vec<_>>());
        }
        let spans = metrics::span_scores(&guessed, &wanted);
        let accuracy = metrics::tag_accuracy(&guessed, &wanted);
        Scores::new("f1", [("f1", spans.f1), ("accuracy", accuracy)])
    }

    fn score_numbers(&self, logits: &Logits) -> Scores {
        let guesses: Vec<f64> = logits.iter().map(|row| f64::from(row[0])).collect();
        let number = |item: &Item| match item.target {
            Target::Number(number) | Target::Alike(number) => f64::from(number),
            _ => 0.0,
        };
        let wanted: Vec<f64> = self.items.iter().map(number).collect();
        // Constant guesses have no correlation: they are worth nothing.
        let pearson = metrics::pearson(&guesses, &wanted).unwrap_or(0.0);
        let spearman = metrics::spearman(&guesses, &wanted).unwrap_or(0.0);
        Scores::new("spearman", [("spearman", spearman), ("pearson", pearson)])
    }

    fn score_questions<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        device: &B::Device,
    ) -> Result<Scores> {
        let said = self.answers(model, device)?;
        let mean =
            |of: fn(&Said) -> f64| said.iter().map(of).sum::<f64>() / said.len().max(1) as f64;
        if said.iter().all(|said| said.has_answer) {
            let f1 = mean(|said| said.f1);
            let exact = mean(|said| said.exact);
            return Ok(Scores::new("f1", [("f1", f1), ("exact_match", exact)]));
        }
        let scored: Vec<metrics::Answered> = said
            .iter()
            .map(|said| metrics::Answered {
                score: said.f1,
                no_answer: said.no_answer,
                has_answer: said.has_answer,
            })
            .collect();
        let (f1, best) = metrics::best_threshold(&scored);
        // Half way to the next question, so that what rounding does to the stored weights does not
        // turn the one at the threshold.
        let above = scored
            .iter()
            .map(|said| said.no_answer)
            .filter(|&said| said > best);
        let next = above.fold(f64::INFINITY, f64::min);
        let threshold = if next.is_finite() {
            f64::midpoint(best, next)
        } else {
            best
        };
        let right = |said: &Said| match said.no_answer > threshold {
            true => f64::from(!said.has_answer),
            false => said.exact,
        };
        let exact = said.iter().map(right).sum::<f64>() / said.len().max(1) as f64;
        let values = [
            ("f1", f1),
            ("exact_match", exact),
            ("no_answer_threshold", threshold),
        ];
        Ok(Scores::new("f1", values))
    }

    fn answers<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        device: &B::Device,
    ) -> Result<Vec<Said>> {
        let mut said = Vec::with_capacity(self.questions.len());
        for question in &self.questions {
            let items: Vec<Item> = question
                .windows
                .iter()
                .map(|window| Item {
                    rows: vec![window.clone().into()],
                    target: Target::Span(0, 0),
                })
                .collect();
            let items: Vec<&Item> = items.iter().collect();
            let logits = item_logits(model, &items, Task::Answer, device)?;
            let sides: Vec<[Vec<f32>; 2]> = logits
                .iter()
                .map(|row| [0, 1].map(|side| row.iter().skip(side).step_by(2).copied().collect()))
                .collect();
            let windows: Vec<Window<'_>> = question
                .windows
                .iter()
                .zip(&sides)
                .map(|(encoding, [start, end])| Window {
                    encoding,
                    start,
                    end,
                })
                .collect();
            let spans = features::best_spans(&windows, features::CANDIDATES, ANSWER_PIECES);
            let text = |span: &Span| question.context[span.start..span.end].iter().collect();
            let texts: Vec<String> = spans.iter().map(text).collect();
            let score = spans.first().map_or(f64::MIN, |span| f64::from(span.score));
            let text = texts.first().map_or("", String::as_str);
            let answers: Vec<&str> = question.answers.iter().map(String::as_str).collect();
            let exact = metrics::squad_exact(text, &answers);
            let judged = (!answers.is_empty() && !spans.is_empty()).then(|| {
                let first = features::first_alike(&texts);
                let alike = (0..first.len()).filter(|&i| first[i] == 0).collect();
                let scores = spans.iter().map(|span| span.score).collect();
                Judged::Answer(scores, alike, exact == 1.0)
            });
            said.push(Said {
                judged,
                exact,
                f1: metrics::squad_f1(text, &answers),
                no_answer: f64::from(features::null_score(&windows)) - score,
                has_answer: !answers.is_empty(),
            });
        }
        Ok(said)
    }
}

/// What was said to a question, against what is right.
struct Said {
    /// Of a question that has an answer.
    judged: Option<Judged>,
    exact: f64,
    f1: f64,
    /// By how much the score of no answer exceeds that of the best one.
    no_answer: f64,
    has_answer: bool,
}

/// The index of the greatest value; the first of several.
fn greatest(values: &[f32]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

/// The outputs that the task looks at, item by item.
fn item_logits<B: AlbertBackend>(
    model: &AlbertForTask<B>,
    items: &[&Item],
    task: Task,
    device: &B::Device,
) -> Result<Logits> {
    let batch = input::<B>(items, device)?;
    let output = model.forward(&batch, None, false)?;
    let numbers = |tensor: Tensor<B, 2>| -> (usize, Vec<f32>) {
        let width = tensor.dims()[1];
        (width, tensor.into_data().iter::<f32>().collect())
    };
    let (width, values) = match (task, output.classes, output.question) {
        (Task::Embed, ..) => {
            let means = unit_means(&batch, output.albert.last_hidden_state, device);
            let (width, values) = numbers(means);
            let cosine = |pair: &[f32]| {
                let (a, b) = pair.split_at(width);
                vec![a.iter().zip(b).map(|(a, b)| a * b).sum()]
            };
            return Ok(values.chunks(2 * width).map(cosine).collect());
        }
        (_, Some(logits), _) | (_, None, Some(logits)) => numbers(logits),
        (_, None, None) => (1, Vec::new()),
    };
    let of_tokens = matches!(task, Task::Tag | Task::Answer);
    let mut rest = values.as_slice();
    let split = items.iter().map(|item| {
        let units = if of_tokens {
            item.tokens()
        } else {
            item.rows.len()
        };
        let (own, later) = rest.split_at((units * width).min(rest.len()));
        rest = later;
        own.to_vec()
    });
    Ok(split.collect())
}
