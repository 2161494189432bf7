//! The operations for devices other than the processor: composed of Burn's own, with the backward
//! passes written out.
//!
//! What Burn derives for the composed forms is right, but made of many small passes over memory, and
//! of sums over all tokens that a device's reductions take one token after the other, in no more
//! threads than a matrix has columns: biases alone made most of a step. Here each backward pass is the
//! formula, products keep their rounded factors, and long sums are taken in short stretches side by
//! side.

mod steps;
mod sums;

use albert_checkpoint::Activation;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData, activation};

use super::plain::{rounded, widened};
use super::{Precision, lower, plain, raise};
use crate::dropout::{self, Dropout};
use crate::rows::Rows;

/// A tensor whose gradient is wanted.
type Outer<B, C, const D: usize> = Tensor<Autodiff<B, C>, D>;

/// The two constants of GELU's tanh form, doubled as its sigmoid form has them:
/// `x * sigmoid(x * (LINEAR + CUBIC * x * x))`.
const LINEAR: f64 = 1.595_769_121_605_730_9;
const CUBIC: f64 = 0.044715 * LINEAR;

/// Makes `$out` the result of an operation whose backward pass is `$step`.
macro_rules! record {
    ($backend:ty, $strategy:ty, $step:expr, $nodes:expr, $state:expr, $out:expr) => {{
        let step = Backward::<$backend, _>::prepare::<$strategy>($step, $nodes);
        let out = lower($out);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish($state, out),
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }};
}

pub(super) fn dense<B: Backend, C: CheckpointStrategy>(
    x: Outer<B, C, 2>,
    weight: Outer<B, C, 2>,
    bias: Outer<B, C, 1>,
    precision: Precision,
) -> Outer<B, C, 2> {
    let (x, weight, bias) = (lower(x), lower(weight), lower(bias));
    let nodes = [x.node.clone(), weight.node.clone(), bias.node.clone()];
    let x = rounded(raise::<B, 2>(x.primitive), precision);
    let weight = rounded(raise::<B, 2>(weight.primitive), precision);
    let product = x.clone().matmul(weight.clone().transpose());
    let bias: Tensor<B, 1> = raise(bias.primitive);
    let out = widened(product, precision) + bias.unsqueeze();
    record!(B, C, steps::Dense, nodes, (x, weight, precision), out)
}

pub(super) fn activate<B: Backend, C: CheckpointStrategy>(
    x: Outer<B, C, 2>,
    kind: Activation,
) -> Outer<B, C, 2> {
    if kind != Activation::GeluNew {
        return plain::activate(x, kind);
    }
    let x = lower(x);
    let nodes = [x.node.clone()];
    let x: Tensor<B, 2> = raise(x.primitive);
    let out = activation::sigmoid((x.clone().square() * CUBIC + LINEAR) * x.clone()) * x.clone();
    record!(B, C, steps::Gelu, nodes, x, out)
}

pub(super) fn normalize<B: Backend, C: CheckpointStrategy>(
    x: Outer<B, C, 2>,
    residual: Option<Outer<B, C, 2>>,
    weight: Outer<B, C, 1>,
    bias: Outer<B, C, 1>,
    eps: f64,
) -> Outer<B, C, 2> {
    let (x, weight, bias) = (lower(x), lower(weight), lower(bias));
    let residual = residual.map(lower);
    let sides = [x.node.clone(), weight.node.clone(), bias.node.clone()];
    let x: Tensor<B, 2> = raise(x.primitive);
    let x = match &residual {
        Some(residual) => x + raise(residual.primitive.clone()),
        None => x,
    };
    let weight: Tensor<B, 1> = raise(weight.primitive);
    let width = x.dims()[1] as f64;
    let centred = x.clone() - sums::of_rows(x) / width;
    let variance = sums::of_rows(centred.clone().square()) / width;
    let factors = (variance + eps).sqrt().recip(); // [tokens, 1]
    let normed = centred * factors.clone();
    let bias: Tensor<B, 1> = raise(bias.primitive);
    let out = normed.clone() * weight.clone().unsqueeze() + bias.unsqueeze();
    let state = (normed, factors, weight);
    match residual {
        Some(residual) => {
            let [x, weight, bias] = sides;
            let nodes = [x, residual.node.clone(), weight, bias];
            record!(B, C, steps::NormalizeSum, nodes, state, out)
        }
        None => record!(B, C, steps::Normalize, sides, state, out),
    }
}

/// Attention with the full matrix of scores; rows that do not take up equally many tokens go the
/// composed way.
pub(super) fn attend<B: Backend, C: CheckpointStrategy>(
    projected: Outer<B, C, 2>,
    rows: &Rows,
    heads: usize,
    dropout: Option<Dropout>,
    precision: Precision,
) -> Outer<B, C, 2> {
    if !rows.are_level() {
        return plain::attend(projected, rows, heads, dropout, precision);
    }
    let projected = lower(projected);
    let nodes = [projected.node.clone()];
    let projected = rounded(raise::<B, 2>(projected.primitive), precision);
    let (count, longest) = (rows.count(), rows.longest());
    let [tokens, width] = projected.dims();
    let width = width / 3;
    let split = |side: usize| -> Tensor<B, 4> {
        let x = projected.clone().narrow(1, side * width, width);
        let x = x.reshape([count, longest, heads, width / heads]);
        x.swap_dims(1, 2) // [rows, heads, len, dim]
    };
    let [query, key, value] = [0, 1, 2].map(split);
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let scores = query.clone().matmul(key.clone().swap_dims(2, 3));
    let scores = widened(scores, precision) * scale;
    let scores = match rows.are_full() {
        true => scores,
        false => scores + plain::padding_scores(rows, &projected.device()),
    };
    let scores = (scores.clone() - scores.max_dim(3)).exp();
    let probabilities = scores.clone() / scores.sum_dim(3);
    let mask = dropout.map(|dropout| {
        let mask = dropout::attention_mask(dropout, rows, heads);
        let mask = TensorData::new(mask, [count, heads, longest, longest]);
        Tensor::<B, 4>::from_data(mask, &projected.device())
    });
    let kept = match &mask {
        Some(mask) => probabilities.clone() * mask.clone(),
        None => probabilities.clone(),
    };
    let context = rounded(kept, precision).matmul(value.clone());
    let context = context.swap_dims(1, 2).reshape([tokens, width]);
    let out = widened(context, precision);
    let state = steps::Attended {
        sides: [query, key, value],
        probabilities: rounded(probabilities, precision),
        mask,
        scale,
        precision,
    };
    record!(B, C, steps::Attend, nodes, state, out)
}

pub(super) fn cross_entropy<B: Backend, C: CheckpointStrategy>(
    logits: Outer<B, C, 2>,
    labels: Tensor<Autodiff<B, C>, 1, Int>,
) -> Outer<B, C, 1> {
    let logits = lower(logits);
    let nodes = [logits.node.clone()];
    let logits: Tensor<B, 2> = raise(logits.primitive);
    let items = logits.dims()[0];
    let labels = labels.inner().reshape([items, 1]);
    let highest = sums::highest_of_rows(logits.clone()); // [items, 1]
    let exponentials = (logits.clone() - highest.clone()).exp();
    let log_sums = sums::of_rows(exponentials).log() + highest;
    let picked = logits.clone().gather(1, labels.clone());
    let out = sums::of_columns(log_sums.clone() - picked) / items as f64;
    record!(
        B,
        C,
        steps::CrossEntropy,
        nodes,
        (logits, labels, log_sums),
        out
    )
}

pub(super) fn pick<B: Backend, C: CheckpointStrategy>(
    table: Outer<B, C, 2>,
    indices: Tensor<Autodiff<B, C>, 1, Int>,
) -> Outer<B, C, 2> {
    let (table, indices) = (lower(table), indices.inner());
    let nodes = [table.node.clone()];
    let table: Tensor<B, 2> = raise(table.primitive);
    let rows = table.dims()[0];
    let out = table.select(0, indices.clone());
    record!(B, C, steps::Pick, nodes, (indices, rows), out)
}

/// Gives a backend's training form these operations.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
macro_rules! implement {
    ($backend:ty) => {
        impl crate::AlbertBackend for $backend {}

        impl<C: CheckpointStrategy> crate::AlbertBackend for Autodiff<$backend, C> {
            fn dense(
                x: Tensor<Self, 2>,
                weight: Tensor<Self, 2>,
                bias: Tensor<Self, 1>,
                precision: Precision,
            ) -> Tensor<Self, 2> {
                dense(x, weight, bias, precision)
            }

            fn pick(table: Tensor<Self, 2>, indices: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
                pick(table, indices)
            }

            fn activate(x: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
                activate(x, kind)
            }

            fn normalize(
                x: Tensor<Self, 2>,
                residual: Option<Tensor<Self, 2>>,
                weight: Tensor<Self, 1>,
                bias: Tensor<Self, 1>,
                eps: f64,
            ) -> Tensor<Self, 2> {
                normalize(x, residual, weight, bias, eps)
            }

            fn attend(
                projected: Tensor<Self, 2>,
                rows: &Rows,
                heads: usize,
                dropout: Option<Dropout>,
                precision: Precision,
            ) -> Tensor<Self, 2> {
                attend(projected, rows, heads, dropout, precision)
            }

            fn cross_entropy(
                logits: Tensor<Self, 2>,
                labels: Tensor<Self, 1, Int>,
            ) -> Tensor<Self, 1> {
                cross_entropy(logits, labels)
            }
        }
    };
}

#[cfg(feature = "cuda")]
implement!(burn::backend::Cuda);
#[cfg(feature = "wgpu")]
implement!(burn::backend::Wgpu);

#[cfg(test)]
mod tests;
