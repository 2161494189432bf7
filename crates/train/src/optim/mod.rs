//! Optimisers that see parameters' names: LAMB and AdamW, and what lies between the backward
//! pass and them: accumulated gradients and their global norm.
//!
//! State is filed under the tensors' names in the checkpoint and can be taken out and put back
//! as plain numbers, so that a resumed run goes on exactly where it stopped.
//!
//! ```text
//! gradients.add(&model, output.loss.backward());       // once a forward pass
//! let (mean, norm) = gradients.take_clipped(1.0)?;      // once a step
//! model = optimizer.step(model, mean, learning_rate)?;
//! ```

mod adamw;
mod any;
mod gradients;
mod lamb;
mod shared;
mod state;

pub use adamw::{AdamW, AdamWConfig};
pub(crate) use any::AnyOptimizer;
pub use gradients::Gradients;
pub use lamb::{Lamb, LambConfig};
pub use state::{Moments, OptimizerState};

use albert_checkpoint::ParameterSpec;
use albert_model::{NamedParameters, TrainingBackend};
use burn::module::AutodiffModule;

use crate::error::Result;

/// A rule that moves parameters against their gradients.
pub trait Optimizer<B: TrainingBackend> {
    /// One step; a parameter without a gradient stays.
    ///
    /// # Errors
    /// A tensor's values cannot be read; the model is lost.
    fn step<M>(&mut self, model: M, gradients: Gradients<B>, learning_rate: f64) -> Result<M>
    where
        M: AutodiffModule<B> + NamedParameters<B>;

    /// The state by parameter names, for a checkpoint of the run.
    ///
    /// # Errors
    /// A tensor's values cannot be read.
    fn state(&self) -> Result<OptimizerState>;

    /// Goes on from a state that [`Optimizer::state`] gave, for a model of these parameters.
    ///
    /// # Errors
    /// [`OptimizerState::fits`]'s; nothing is restored then.
    fn restore(&mut self, state: OptimizerState, parameters: &[ParameterSpec]) -> Result<()>;
}

/// Whether weight decay and LAMB's trust ratio leave this parameter alone, as Google's code does:
/// norms and biases.
pub fn is_excluded(name: &str) -> bool {
    name.contains("LayerNorm") || name.contains("layer_norm") || name.ends_with("bias")
}

#[cfg(test)]
pub(crate) mod tests;
