//! AdamW (Loshchilov and Hutter 2017): bias-corrected, with decay beside the gradient.

use std::collections::BTreeMap;

use albert_checkpoint::ParameterSpec;
use albert_kernels::training::optim::{self, AdamWFactors};
use albert_model::{NamedParameters, TrainingBackend};
use burn::module::AutodiffModule;

use super::state::{Memory, OptimizerState, Slot};
use super::{Gradients, Optimizer, is_excluded};
use crate::error::Result;

/// The constants of AdamW; the defaults are those of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the gradient's running mean.
    pub beta_1: f64,
    /// Decay of the running mean of its square.
    pub beta_2: f64,
    /// Added to the root of that mean.
    pub epsilon: f64,
    /// Share of the weights, times the learning rate, taken off at each step, except for norms
    /// and biases.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// AdamW.
#[derive(Debug)]
pub struct AdamW<B: TrainingBackend> {
    config: AdamWConfig,
    /// What the rate is multiplied by, for parameters that have a rate of their own.
    factors: BTreeMap<String, f64>,
    memory: Memory<B>,
}

impl<B: TrainingBackend> AdamW<B> {
    /// With empty moments.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            factors: BTreeMap::new(),
            memory: Memory::default(),
        }
    }
}

impl<B: TrainingBackend> AdamW<B> {
    /// The same with the rates of some parameters multiplied by a factor each.
    pub fn with_rate_factors(mut self, factors: BTreeMap<String, f64>) -> Self {
        self.factors = factors;
        self
    }
}

impl<B: TrainingBackend> Optimizer<B> for AdamW<B> {
    fn step<M>(&mut self, model: M, gradients: Gradients<B>, learning_rate: f64) -> Result<M>
    where
        M: AutodiffModule<B> + NamedParameters<B>,
    {
        let config = self.config;
        let steps = (self.memory.steps + 1).min(i32::MAX as u64) as i32;
        let correction_1 = 1.0 - config.beta_1.powi(steps);
        let correction_2 = 1.0 - config.beta_2.powi(steps);
        let factors = &self.factors;
        self.memory.step(model, gradients, |name, slot| {
            let learning_rate = learning_rate * factors.get(name).copied().unwrap_or(1.0);
            let decay = if is_excluded(name) {
                0.0
            } else {
                config.weight_decay
            };
            let keep = 1.0 - learning_rate * decay;
            if B::HOST {
                let factors = AdamWFactors {
                    beta_1: config.beta_1 as f32,
                    rest_1: (1.0 - config.beta_1) as f32,
                    beta_2: config.beta_2 as f32,
                    rest_2: (1.0 - config.beta_2) as f32,
                    epsilon: config.epsilon as f32,
                    keep: keep as f32,
                    step_size: (learning_rate / correction_1) as f32,
                    root_correction: correction_2.sqrt() as f32,
                };
                return slot.on_slices(name, |weight, gradient, first, second| {
                    optim::adamw(factors, weight, gradient, first, second);
                });
            }
            let step_size = learning_rate / correction_1;
            Ok(on_device(
                config,
                keep,
                step_size,
                correction_2.sqrt(),
                slot,
            ))
        })
    }

    fn state(&self) -> Result<OptimizerState> {
        self.memory.state()
    }

    fn restore(&mut self, state: OptimizerState, parameters: &[ParameterSpec]) -> Result<()> {
        self.memory.restore(state, parameters)
    }
}

/// The same as the kernel, of Burn's operations; the last three numbers are those of
/// [`AdamWFactors`].
pub(super) fn on_device<B: TrainingBackend>(
    config: AdamWConfig,
    keep: f64,
    step_size: f64,
    root_correction: f64,
    slot: Slot<B>,
) -> Slot<B> {
    let gradient = slot.gradient;
    let first = slot.first * config.beta_1 + gradient.clone() * (1.0 - config.beta_1);
    let square = gradient.clone().square() * (1.0 - config.beta_2);
    let second = slot.second * config.beta_2 + square;
    let root = second.clone().sqrt() / root_correction + config.epsilon;
    let update = first.clone() / root * step_size;
    Slot {
        weight: slot.weight * keep - update,
        gradient,
        first,
        second,
    }
}
