//! The heavy operations of ALBERT, and which backends have them in a form of their own.
//!
//! Composed of Burn's operations, GELU alone is ten passes over the largest matrix of the model,
//! each with a backward pass of its own. On the processor each operation is one kernel (`fused`); on
//! other devices the backward passes are written out (`device`). The composed form (`plain`) stays as
//! the definition, runs wherever nothing is differentiated on a device, and is what the tests hold the
//! others against.

#[cfg(any(feature = "cuda", feature = "wgpu", test))]
mod device;
mod fused;
mod plain;
mod shared;
mod sums;
#[cfg(test)]
mod twins;

use albert_checkpoint::Activation;
pub use albert_kernels::training::matmul::Precision;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorPrimitive};
pub use shared::Shared;
pub use sums::of_all as sum_in_stretches;

use crate::dropout::Dropout;
use crate::rows::{Rows, Selection};

/// A Burn backend with the operations of ALBERT.
///
/// Every method has a default composed of Burn's operations, so that a further backend is one
/// empty `impl`.
pub trait AlbertBackend: Backend {
    /// Whether tensors lie in host memory, so that an optimiser may work on slices.
    const HOST: bool = false;

    /// `x` `[tokens, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`:
    /// `[tokens, out]`.
    fn dense(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        plain::dense(x, weight, bias, precision)
    }

    /// The rows `indices` of `table` `[rows, width]`, any of them any number of times:
    /// `[indices, width]`.
    fn pick(table: Tensor<Self, 2>, indices: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
        plain::pick(table, indices)
    }

    /// The activation of each element.
    fn activate(x: Tensor<Self, 2>, activation: Activation) -> Tensor<Self, 2> {
        plain::activate(x, activation)
    }

    /// Normalises each row of `x` (plus `residual`) `[tokens, width]` to mean 0 and variance 1,
    /// then scales by `weight` and shifts by `bias`.
    fn normalize(
        x: Tensor<Self, 2>,
        residual: Option<Tensor<Self, 2>>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        eps: f64,
    ) -> Tensor<Self, 2> {
        plain::normalize(x, residual, weight, bias, eps)
    }

    /// Makes dense layers of the same inputs ready for many products: weights `[out, in]` and
    /// biases `[out]` of each.
    fn share(
        weights: Vec<Tensor<Self, 2>>,
        biases: Vec<Tensor<Self, 1>>,
        precision: Precision,
    ) -> Shared<Self> {
        plain::share(weights, biases, precision)
    }

    /// [`AlbertBackend::dense`] of `x` `[tokens, in]` with all layers that are shared, beside each
    /// other: `[tokens, out of all]`.
    fn dense_shared(x: Tensor<Self, 2>, shared: &Shared<Self>) -> Tensor<Self, 2> {
        let (weight, bias) = (shared.weight.clone(), shared.bias.clone());
        Self::dense(x, weight, bias, shared.precision)
    }

    /// Scaled dot-product attention of each row over itself: from queries, keys and values
    /// beside each other `[tokens, 3 * heads * dim]` to `[tokens, heads * dim]`.
    fn attend(
        projected: Tensor<Self, 2>,
        rows: &Rows,
        heads: usize,
        dropout: Option<Dropout>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        plain::attend(projected, rows, heads, dropout, precision)
    }

    /// As [`AlbertBackend::attend`], where only selected tokens ask: from their queries
    /// `[selected, heads * dim]` and the keys and values of all tokens `[tokens, heads * dim]` to
    /// `[selected, heads * dim]`.
    fn attend_selected(
        sides: [Tensor<Self, 2>; 3],
        rows: &Rows,
        selection: &Selection,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        plain::attend_selected(sides, rows, selection, heads, precision)
    }

    /// Mean cross-entropy of `logits` `[items, classes]` against `labels` `[items]`: `[1]`.
    fn cross_entropy(logits: Tensor<Self, 2>, labels: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        plain::cross_entropy(logits, labels)
    }
}

/// What a training loop needs of a backend: gradients, and ALBERT's operations both with and
/// without them.
pub trait TrainingBackend: AlbertBackend + AutodiffBackend<InnerBackend: AlbertBackend> {}

impl<B: AlbertBackend + AutodiffBackend<InnerBackend: AlbertBackend>> TrainingBackend for B {}

/// What a backend's own operations take.
fn lower<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// What they give.
fn raise<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
