//! One of the optimisers, by a recipe's choice.

use albert_checkpoint::ParameterSpec;
use albert_model::{AlbertForPreTraining, TrainingBackend};

use super::{AdamW, AdamWConfig, Gradients, Lamb, LambConfig, Optimizer, OptimizerState};
use crate::error::Result;
use crate::recipe::{OptimizerKind, OptimizerRecipe};

/// The optimiser that the recipe names.
pub(crate) enum AnyOptimizer<B: TrainingBackend> {
    Lamb(Lamb<B>),
    AdamW(AdamW<B>),
}

impl<B: TrainingBackend> AnyOptimizer<B> {
    pub(crate) fn new(recipe: &OptimizerRecipe) -> AnyOptimizer<B> {
        let OptimizerRecipe {
            weight_decay,
            epsilon,
            betas: [beta_1, beta_2],
            ..
        } = *recipe;
        match recipe.kind {
            OptimizerKind::Lamb => AnyOptimizer::Lamb(Lamb::new(LambConfig {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
            })),
            OptimizerKind::AdamW => AnyOptimizer::AdamW(AdamW::new(AdamWConfig {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
            })),
        }
    }

    pub(crate) fn step(
        &mut self,
        model: AlbertForPreTraining<B>,
        gradients: Gradients<B>,
        rate: f64,
    ) -> Result<AlbertForPreTraining<B>> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.step(model, gradients, rate),
            AnyOptimizer::AdamW(adamw) => adamw.step(model, gradients, rate),
        }
    }

    pub(crate) fn state(&self) -> Result<OptimizerState> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.state(),
            AnyOptimizer::AdamW(adamw) => adamw.state(),
        }
    }

    pub(crate) fn restore(
        &mut self,
        state: OptimizerState,
        parameters: &[ParameterSpec],
    ) -> Result<()> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.restore(state, parameters),
            AnyOptimizer::AdamW(adamw) => adamw.restore(state, parameters),
        }
    }
}
