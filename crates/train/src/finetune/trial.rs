//! One run of fine-tuning at one rate: pass, evaluate, keep the best.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use albert_checkpoint::ParameterSpec;
use albert_model::{AlbertForTask, NamedParameters, TrainingBackend};
use burn::module::AutodiffModule;
use serde::{Deserialize, Serialize};

use super::dev::{DevSet, Scores};
use super::exact;
use super::loss::Teaching;
use super::recipe::{Parts, Plan};
use super::set::{Item, Target};
use super::{Evaluation, FinetuneProgress, FinetuneStep};
use crate::error::{Error, Result};
use crate::evaluate::scalar;
use crate::optim::{AdamW, AdamWConfig, Gradients, Optimizer, OptimizerState};
use crate::random::{Purpose, Random, stream};

/// A trial ends when so many of its steps, one after another, had no finite gradient.
const MOST_LOST_STEPS: usize = 16;

/// What a trial learns from and how.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a, B: TrainingBackend> {
    pub plan: &'a Plan,
    pub teaching: &'a Teaching,
    pub items: &'a [Item],
    /// Without one, the last weights are kept.
    pub dev: Option<&'a DevSet>,
    pub device: &'a B::Device,
    pub rate: f64,
    /// Optimiser steps of the whole trial.
    pub steps: u64,
    /// For the eye: which trial of how many.
    pub number: (usize, usize),
}

/// Where a trial is: all of it but the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub step: u64,
    pub tokens: u64,
    pub seconds: f64,
    pub best: Option<Best>,
    pub without_gain: usize,
    pub curve: Vec<Point>,
    pub optimizer_steps: u64,
    pub ended: bool,
    /// Of the losses since the last row of the curve, and how many they are.
    pub losses: f64,
    pub passes: usize,
    /// Steps, one after another and up to the last, that had no finite gradient.
    pub lost: usize,
}

/// The best look at the dev set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub step: u64,
    #[serde(with = "exact::scores")]
    pub scores: Scores,
}

/// A row of `finetune.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub step: u64,
    pub tokens: u64,
    pub seconds: f64,
    pub rate: f64,
    /// Mean of the training loss since the last row, in nats.
    pub loss: f64,
    pub dev: Option<Scores>,
}

/// A trial at rest: what it needs to go on, or to be used.
pub(crate) struct Rest<B: TrainingBackend> {
    pub standing: Standing,
    pub model: AlbertForTask<B>,
    pub optimizer: OptimizerState,
    /// The weights with the best dev score.
    pub best: Tensors,
}

/// Names and values of all parameters.
pub(crate) type Tensors = Vec<(String, Vec<f32>)>;

pub(crate) fn tensors_of<B: TrainingBackend>(model: &AlbertForTask<B>) -> Tensors {
    let tensors = model.tensors().into_iter();
    tensors.map(|(name, _, values)| (name, values)).collect()
}

impl<B: TrainingBackend> Rest<B> {
    /// At the beginning.
    pub(crate) fn new(model: AlbertForTask<B>) -> Self {
        Self {
            standing: Standing::default(),
            best: tensors_of(&model),
            model,
            optimizer: OptimizerState::default(),
        }
    }
}

impl<B: TrainingBackend> Trial<'_, B> {
    /// Trains to the end, or until `stop`; `save` is called after every evaluation.
    pub(crate) fn carry_out(
        &self,
        rest: Rest<B>,
        stop: &AtomicBool,
        progress: &mut dyn FinetuneProgress,
        save: &mut dyn FnMut(&Rest<B>) -> Result<()>,
    ) -> Result<Rest<B>> {
        let Rest {
            mut standing,
            mut model,
            optimizer: state,
            mut best,
        } = rest;
        let parameters = model.parameters();
        let mut optimizer = AdamW::<B>::new(AdamWConfig {
            weight_decay: self.plan.weight_decay,
            ..AdamWConfig::default()
        })
        .with_rate_factors(self.rate_factors(&parameters));
        optimizer.restore(filled(state, &parameters), &parameters)?;

        let batches = self.batches_a_pass();
        let every = ((batches as f64 / self.plan.evaluations).round() as u64).max(1);
        let mut order = (u64::MAX, Vec::new());
        let (step_before, tokens_before) = (standing.step, standing.tokens);
        let before = standing.seconds;
        let began = Instant::now();
        let mut shown: Option<f64> = None;
        while standing.step < self.steps && !standing.ended {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (pass, batch) = (standing.step / batches, standing.step % batches);
            if order.0 != pass {
                order = (pass, self.order(pass));
            }
            let size = self.plan.batch.min(self.items.len());
            let chosen = order.1.iter().skip(batch as usize * size).take(size);
            let chosen: Vec<&Item> = chosen.map(|&i| &self.items[i]).collect();
            let seed = self.plan.seed;
            let loss = self
                .teaching
                .loss(&model, &chosen, seed, standing.step, self.device)?;
            let value = f64::from(scalar(loss.clone().inner()));
            let mut gradients = Gradients::<B>::new();
            gradients.add(&model, loss.backward());
            gradients.keep(|name| self.learns(name));
            let (gradients, norm) = gradients.take_clipped(self.plan.clip)?;
            let rate = self.rate_at(standing.step);
            if norm.is_finite() && value.is_finite() {
                model = optimizer.step(model, gradients, rate)?;
                standing.losses += value;
                standing.passes += 1;
                standing.lost = 0;
            } else {
                standing.lost += 1;
                if standing.lost >= MOST_LOST_STEPS {
                    return Err(Error::Diverged {
                        rate: self.rate,
                        step: standing.step,
                    });
                }
            }
            standing.step += 1;
            standing.tokens += chosen.iter().map(|item| item.tokens()).sum::<usize>() as u64;
            // The pace is this process's: before it was resumed, a run may have gone at another.
            let elapsed = began.elapsed().as_secs_f64().max(1e-9);
            standing.seconds = before + elapsed;
            // A step without a finite loss is counted above and leaves the picture as it was.
            if value.is_finite() {
                shown = Some(shown.map_or(value, |shown| 0.95 * shown + 0.05 * value));
            }
            progress.step(&FinetuneStep {
                trial: self.number,
                step: standing.step,
                steps: self.steps,
                loss: shown.unwrap_or(value),
                rate,
                tokens_per_second: (standing.tokens - tokens_before) as f64 / elapsed,
                seconds_left: elapsed / (standing.step - step_before) as f64
                    * (self.steps - standing.step) as f64,
            });
            // The last look is at the end, and none shortly before it.
            let left = self.steps - standing.step;
            if left > 0 && !(standing.step.is_multiple_of(every) && left * 2 >= every) {
                continue;
            }
            if !value.is_finite() {
                // The weights themselves are no numbers any more, or lead to none.
                return Err(Error::Diverged {
                    rate: self.rate,
                    step: standing.step,
                });
            }
            let dev = match self.dev {
                Some(dev) => Some(dev.score::<B::InnerBackend>(&model.valid(), self.device)?),
                None => None,
            };
            let point = Point {
                step: standing.step,
                tokens: standing.tokens,
                seconds: standing.seconds,
                rate,
                loss: standing.losses / standing.passes.max(1) as f64,
                dev: dev.clone(),
            };
            (standing.losses, standing.passes) = (0.0, 0);
            progress.evaluated(&Evaluation {
                trial: self.number,
                step: point.step,
                loss: point.loss,
                dev: dev.clone(),
            });
            standing.curve.push(point);
            match (dev, &standing.best) {
                (Some(dev), Some(best)) if !dev.beats(&best.scores) => {
                    standing.without_gain += 1;
                    standing.ended = standing.without_gain >= self.plan.patience;
                }
                (dev, _) => {
                    best = tensors_of(&model);
                    standing.without_gain = 0;
                    let step = standing.step;
                    standing.best = dev.map(|scores| Best { step, scores });
                }
            }
            let rest = self.rest(standing, model, &optimizer, best)?;
            save(&rest)?;
            (standing, model, best) = (rest.standing, rest.model, rest.best);
        }
        self.rest(standing, model, &optimizer, best)
    }

    fn rest(
        &self,
        mut standing: Standing,
        model: AlbertForTask<B>,
        optimizer: &AdamW<B>,
        best: Tensors,
    ) -> Result<Rest<B>> {
        let optimizer = optimizer.state()?;
        standing.optimizer_steps = optimizer.steps;
        Ok(Rest {
            standing,
            model,
            optimizer,
            best,
        })
    }

    fn batches_a_pass(&self) -> u64 {
        self.items.len().div_ceil(self.plan.batch).max(1) as u64
    }

    /// The order of the items in a pass, a function of the seed and the pass.
    fn order(&self, pass: u64) -> Vec<usize> {
        let mut random = stream(self.plan.seed, Purpose::FineTuning, pass, 0);
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        random.shuffle(&mut order);
        if !self.teaching.contrast {
            return order;
        }
        // Two of a class beside each other, so that every text has one to be near to.
        let mut waiting = BTreeMap::new();
        let mut pairs = Vec::new();
        for i in order {
            let Target::Class(class) = self.items[i].target else {
                continue;
            };
            match waiting.remove(&class) {
                Some(other) => pairs.push([other, i]),
                None => {
                    waiting.insert(class, i);
                }
            }
        }
        random.shuffle(&mut pairs);
        let rest = waiting.into_values();
        pairs.into_iter().flatten().chain(rest).collect()
    }

    /// In a straight line up in the warm-up, and from there down to 0 at the end.
    fn rate_at(&self, step: u64) -> f64 {
        let warmup = self.plan.warmup_steps.unwrap_or(self.steps / 10);
        let warmup = warmup.min(self.steps);
        if step < warmup {
            return self.rate * (step + 1) as f64 / (warmup + 1) as f64;
        }
        let left = (self.steps - step) as f64 / (self.steps - warmup).max(1) as f64;
        self.rate * left
    }

    fn learns(&self, name: &str) -> bool {
        match self.plan.train {
            Parts::All => true,
            Parts::Layers => name != "albert.embeddings.word_embeddings.weight",
            Parts::Head => height(name) == 0,
        }
    }

    fn rate_factors(&self, parameters: &[ParameterSpec]) -> BTreeMap<String, f64> {
        let decay = self.plan.rate_decay;
        if decay == 1.0 {
            return BTreeMap::new();
        }
        let factor = |p: &ParameterSpec| (p.name.clone(), decay.powi(height(&p.name)));
        parameters.iter().map(factor).collect()
    }
}

/// How far a parameter is from the answer: head and pooler, layers, mapping, embeddings.
fn height(name: &str) -> i32 {
    match name.strip_prefix("albert.") {
        Some(name) if name.starts_with("embeddings.") => 3,
        Some(name) if name.starts_with("encoder.embedding_hidden_mapping") => 2,
        Some(name) if name.starts_with("encoder.") => 1,
        _ => 0,
    }
}

/// The state with moments of 0 for parameters that never had a gradient.
fn filled(mut state: OptimizerState, parameters: &[ParameterSpec]) -> OptimizerState {
    if state.steps > 0 {
        for parameter in parameters {
            let moments = state.moments.entry(parameter.name.clone()).or_default();
            moments.first.resize(parameter.elements(), 0.0);
            moments.second.resize(parameter.elements(), 0.0);
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::height;

    #[test]
    fn parts_lie_above_each_other() {
        for (name, expected) in [
            ("classifier.weight", 0),
            ("qa_outputs.bias", 0),
            ("albert.pooler.weight", 0),
            (
                "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight",
                1,
            ),
            ("albert.encoder.embedding_hidden_mapping_in.weight", 2),
            ("albert.embeddings.LayerNorm.weight", 3),
        ] {
            assert_eq!(height(name), expected, "{name}");
        }
    }
}
