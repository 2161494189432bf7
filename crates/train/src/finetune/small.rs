//! How far a score on few examples can be trusted, and whether more would help.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use albert_data::{Dataset, QuestionExample};
use albert_model::TrainingBackend;
use serde::Serialize;

use super::dev::{DevSet, Scores};
use super::fit::Fit;
use super::prepare::Prepared;
use super::recipe::Plan;
use super::set::{Item, Set, Target};
use super::task::Source;
use super::{FinetuneOptions, FinetuneProgress};
use crate::curves::{self, Panel};
use crate::error::{Error, Result};
use crate::random::{Purpose, Random, stream};

/// Scores of models that each left out a part of the examples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoldReport {
    /// The score that is told.
    pub metric: String,
    /// By seed, then by fold.
    pub scores: Vec<Vec<f64>>,
    /// Mean over all.
    pub mean: f64,
    /// Standard deviation over all.
    pub deviation: f64,
    /// Standard deviation of the seeds' means: what chance alone does.
    pub deviation_of_seeds: f64,
}

/// Scores against the number of examples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningCurve {
    /// The score that is told.
    pub metric: String,
    /// Examples learnt from, and the dev scores with each seed.
    pub points: Vec<(usize, Vec<f64>)>,
}

/// Splits the training examples of `options` into `count` folds, trains on all but one and scores
/// on that one, for each fold and each of `seeds`. The dev set is not looked at: epochs run to
/// their end, at the plan's first rate.
///
/// # Errors
/// As [`finetune`](super::finetune()); fewer examples than folds, of questions fewer contexts.
pub fn folds<B: TrainingBackend>(
    options: &FinetuneOptions,
    count: usize,
    seeds: u64,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn FinetuneProgress,
) -> Result<Option<FoldReport>> {
    let prepared = Prepared::new(options)?;
    let whole = Whole::of(&prepared, options);
    if whole.len() < count || count < 2 {
        let units = whole.len();
        let kind = match whole.contexts.is_empty() {
            true => "examples",
            false => "contexts",
        };
        let message = format!("has {units} {kind}; {count} folds need at least as many");
        let path = whole.path;
        return Err(Error::Examples { path, message });
    }
    let mut scores = Vec::new();
    let mut metric = String::new();
    for seed in 0..seeds {
        let plan = alone(&prepared.plan, seed);
        let mut order: Vec<usize> = (0..whole.len()).collect();
        stream(plan.seed, Purpose::Parts, 1, 0).shuffle(&mut order);
        let mut of_seed = Vec::new();
        for fold in 0..count {
            let part = |own: bool| -> Vec<usize> {
                let places = order.iter().enumerate();
                let chosen = places.filter(|(place, _)| (place % count == fold) == own);
                chosen.map(|(_, &i)| i).collect()
            };
            let held_out = whole.set(&prepared, &part(true), true)?;
            let dev = DevSet::new(prepared.task, &prepared.labels, held_out);
            let trained = whole.set(&prepared, &part(false), false)?.items;
            progress.note(&format!("seed {seed}, fold {} of {count}", fold + 1));
            let scored = last::<B>(&prepared, &plan, &trained, &dev, device, stop, progress)?;
            let Some(scored) = scored else {
                return Ok(None);
            };
            metric.clone_from(&scored.main);
            of_seed.push(scored.main_value());
        }
        scores.push(of_seed);
    }
    let all: Vec<f64> = scores.concat();
    let means: Vec<f64> = scores.iter().map(|fold| mean(fold)).collect();
    Ok(Some(FoldReport {
        metric,
        mean: mean(&all),
        deviation: deviation(&all),
        deviation_of_seeds: deviation(&means),
        scores,
    }))
}

/// All that is learnt from, in units that go to a fold each.
struct Whole<'a> {
    path: PathBuf,
    items: &'a [Item],
    /// Questions by what they are asked about: what is held out is then not known from another
    /// question. Empty of other tasks, whose units are examples.
    contexts: Vec<Vec<QuestionExample>>,
}

impl<'a> Whole<'a> {
    fn of(prepared: &'a Prepared, options: &FinetuneOptions) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut contexts: Vec<Vec<QuestionExample>> = Vec::new();
        for source in &options.train {
            let Dataset::Questions(examples) = &source.data else {
                continue;
            };
            for example in examples {
                let place = *places.entry(&example.context).or_insert(contexts.len());
                if place == contexts.len() {
                    contexts.push(Vec::new());
                }
                contexts[place].push(example.clone());
            }
        }
        let first = options.train.first();
        Self {
            path: first.map(|source| source.path.clone()).unwrap_or_default(),
            items: &prepared.train.items,
            contexts,
        }
    }

    fn len(&self) -> usize {
        match self.contexts.is_empty() {
            true => self.items.len(),
            false => self.contexts.len(),
        }
    }

    /// Some of the units, to be learnt from or, where `scored`, to be scored on.
    fn set(&self, prepared: &Prepared, units: &[usize], scored: bool) -> Result<Set> {
        if self.contexts.is_empty() {
            return Ok(Set {
                items: units.iter().map(|&i| self.items[i].clone()).collect(),
                ..Set::default()
            });
        }
        let questions = units.iter().flat_map(|&i| &self.contexts[i]).cloned();
        let source = Source {
            path: self.path.clone(),
            data: Dataset::Questions(questions.collect()),
        };
        prepared.set(&[source], scored)
    }
}

/// Trains on growing parts of the training set and scores each on the dev set, with each of
/// `seeds`. Of classes every part has its share of each.
///
/// # Errors
/// As [`finetune`](super::finetune()).
pub fn learning_curve<B: TrainingBackend>(
    options: &FinetuneOptions,
    shares: &[f64],
    seeds: u64,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn FinetuneProgress,
) -> Result<Option<LearningCurve>> {
    let prepared = Prepared::new(options)?;
    let items = &prepared.train.items;
    let mut points = Vec::new();
    let mut metric = String::new();
    for &share in shares {
        let mut scores = Vec::new();
        let mut used = 0;
        for seed in 0..seeds {
            let plan = alone(&prepared.plan, seed);
            let part = part(items, share, plan.seed);
            used = part.len();
            progress.note(&format!("{used} examples, seed {seed}"));
            let dev = &prepared.dev;
            let scored = last::<B>(&prepared, &plan, &part, dev, device, stop, progress)?;
            let Some(scored) = scored else {
                return Ok(None);
            };
            metric.clone_from(&scored.main);
            scores.push(scored.main_value());
        }
        points.push((used, scores));
    }
    Ok(Some(LearningCurve { metric, points }))
}

impl LearningCurve {
    /// The means as a picture.
    pub fn svg(&self, title: &str) -> String {
        let points = self.points.iter();
        let held_out = points.map(|(count, scores)| (*count as f64, mean(scores)));
        let panel = Panel {
            name: self.metric.replace('_', " "),
            training: Vec::new(),
            held_out: held_out.collect(),
        };
        curves::draw(title, "examples", &[panel])
    }
}

/// The plan for one of several models that are only scored.
fn alone(plan: &Plan, seed: u64) -> Plan {
    Plan {
        seed: plan.seed + seed,
        rates: plan.rates[..1].to_vec(),
        trial_share: 0.0,
        // None on the way, whatever the number of steps: each would be a choice made on the held-out part.
        evaluations: 0.0,
        ..plan.clone()
    }
}

/// Trains to the end and scores there.
fn last<B: TrainingBackend>(
    prepared: &Prepared,
    plan: &Plan,
    items: &[Item],
    dev: &DevSet,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn FinetuneProgress,
) -> Result<Option<Scores>> {
    let fit = Fit::<B> {
        prepared,
        plan,
        items,
        dev,
        device,
    };
    let fitted = fit.carry_out(None, stop, progress)?;
    Ok(fitted.map(|fitted| fitted.scores))
}

/// A share of the items, of each class alike, drawn by the seed.
fn part(items: &[Item], share: f64, seed: u64) -> Vec<Item> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    stream(seed, Purpose::Parts, 2, 0).shuffle(&mut order);
    let class = |i: usize| match items[i].target {
        Target::Class(class) => class,
        _ => 0,
    };
    let mut seen = std::collections::BTreeMap::<usize, usize>::new();
    let mut all = seen.clone();
    order
        .iter()
        .for_each(|&i| *all.entry(class(i)).or_default() += 1);
    let chosen = order.into_iter().filter(|&i| {
        let count = seen.entry(class(i)).or_default();
        *count += 1;
        *count <= ((all[&class(i)] as f64 * share).round() as usize).max(1)
    });
    chosen.map(|i| items[i].clone()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation of a sample; 0 of one value.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_its_share_of_every_class() {
        let item = |class| Item {
            rows: Vec::new(),
            target: Target::Class(class),
        };
        let items: Vec<Item> = (0..100).map(|i| item(usize::from(i % 10 == 0))).collect();
        let chosen = part(&items, 0.3, 7);
        let rare = chosen.iter().filter(|i| i.target == Target::Class(1));
        assert_eq!((chosen.len(), rare.count()), (30, 3));
        // However small the share, no class is left out.
        assert_eq!(part(&items, 0.01, 7).len(), 2);
        assert_eq!(part(&items, 1.0, 7).len(), 100);
    }

    #[test]
    fn spread_is_that_of_a_sample() {
        assert_eq!(deviation(&[1.0, 3.0]), 2.0_f64.sqrt());
        assert_eq!((deviation(&[1.0]), mean(&[1.0, 3.0])), (0.0, 2.0));
    }
}
