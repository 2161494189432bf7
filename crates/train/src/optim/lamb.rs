//! LAMB (You et al. 2019) as Google's ALBERT code has it: without bias correction.

use albert_checkpoint::ParameterSpec;
use albert_kernels::training::optim::{self, LambFactors};
use albert_model::{NamedParameters, TrainingBackend, sum_in_stretches};
use burn::module::AutodiffModule;
use burn::tensor::Tensor;

use super::state::{Flat, Memory, OptimizerState, Slot};
use super::{Gradients, Optimizer, is_excluded};
use crate::error::Result;

/// The constants of LAMB; the defaults are Google's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LambConfig {
    /// Decay of the gradient's running mean.
    pub beta_1: f64,
    /// Decay of the running mean of its square.
    pub beta_2: f64,
    /// Added to the root of that mean.
    pub epsilon: f64,
    /// Share of the weights added to the update, except for norms and biases.
    pub weight_decay: f64,
}

impl Default for LambConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
        }
    }
}

/// LAMB: Adam's direction, rescaled for each tensor by the ratio of the weights' norm to its own.
#[derive(Debug)]
pub struct Lamb<B: TrainingBackend> {
    config: LambConfig,
    memory: Memory<B>,
}

impl<B: TrainingBackend> Lamb<B> {
    /// With empty moments.
    pub fn new(config: LambConfig) -> Self {
        Self {
            config,
            memory: Memory::default(),
        }
    }
}

impl<B: TrainingBackend> Optimizer<B> for Lamb<B> {
    fn step<M>(&mut self, model: M, gradients: Gradients<B>, learning_rate: f64) -> Result<M>
    where
        M: AutodiffModule<B> + NamedParameters<B>,
    {
        let config = self.config;
        self.memory.step(model, gradients, |name, slot| {
            let adapted = !is_excluded(name);
            let decay = if adapted { config.weight_decay } else { 0.0 };
            if B::HOST {
                let factors = LambFactors {
                    beta_1: config.beta_1 as f32,
                    rest_1: (1.0 - config.beta_1) as f32,
                    beta_2: config.beta_2 as f32,
                    rest_2: (1.0 - config.beta_2) as f32,
                    epsilon: config.epsilon as f32,
                    weight_decay: decay as f32,
                    learning_rate: learning_rate as f32,
                    adapted,
                };
                slot.on_slices(name, |weight, gradient, first, second| {
                    optim::lamb(factors, weight, gradient, first, second);
                })
            } else {
                Ok(on_device(config, decay, learning_rate, adapted, slot))
            }
        })
    }

    fn state(&self) -> Result<OptimizerState> {
        self.memory.state()
    }

    fn restore(&mut self, state: OptimizerState, parameters: &[ParameterSpec]) -> Result<()> {
        self.memory.restore(state, parameters)
    }
}

/// The same as the kernel, of Burn's operations.
pub(super) fn on_device<B: TrainingBackend>(
    config: LambConfig,
    decay: f64,
    learning_rate: f64,
    adapted: bool,
    slot: Slot<B>,
) -> Slot<B> {
    let Slot {
        weight,
        gradient,
        first,
        second,
    } = slot;
    let first = first * config.beta_1 + gradient.clone() * (1.0 - config.beta_1);
    let second = second * config.beta_2 + gradient.clone().square() * (1.0 - config.beta_2);
    let update = first.clone() / (second.clone().sqrt() + config.epsilon);
    let update = update + weight.clone() * decay;
    let update = if adapted {
        let norm = |x: &Flat<B>| sum_in_stretches(x.clone().square()).sqrt();
        let (weight_norm, update_norm) = (norm(&weight), norm(&update));
        // 1 where either norm is 0, as a fresh or a dead tensor has it.
        let zero = weight_norm.clone().equal_elem(0.0);
        let zero = zero.bool_or(update_norm.clone().equal_elem(0.0));
        let one: Tensor<B::InnerBackend, 1> = weight_norm.ones_like();
        update * (weight_norm / update_norm).mask_where(zero, one)
    } else {
        update
    };
    Slot {
        weight: weight - update * learning_rate,
        gradient,
        first,
        second,
    }
}
