//! The operations composed of Burn's own: their definition, for any device.

use albert_checkpoint::Activation;
use burn::tensor::backend::Backend;
use burn::tensor::{
    FloatDType, IndexingUpdateOp, Int, Tensor, TensorData, activation as burn_activation,
};

use super::{Precision, Shared};

use crate::dropout::{self, Dropout};
use crate::rows::{Rows, Selection};

/// Added to the scores of padding before the softmax: its probability is then exactly 0 in f32,
/// and the largest negative number would overflow when the row's maximum is subtracted.
const PADDING_SCORE: f32 = -1e9;

pub(super) fn dense<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    precision: Precision,
) -> Tensor<B, 2> {
    multiply(x, weight.transpose(), precision) + bias.unsqueeze()
}

/// A product whose factors are rounded first where the precision says so. Each use rounds by
/// itself: gradients of one shared rounding would be summed in bf16.
fn multiply<B: Backend, const D: usize>(
    left: Tensor<B, D>,
    right: Tensor<B, D>,
    precision: Precision,
) -> Tensor<B, D> {
    let product = rounded(left, precision).matmul(rounded(right, precision));
    widened(product, precision)
}

/// As the precision has the factors of products.
pub(super) fn rounded<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    precision: Precision,
) -> Tensor<B, D> {
    match precision {
        Precision::F32 => x,
        Precision::Bf16 => x.cast(FloatDType::BF16),
    }
}

/// A product as the rest of the model has its numbers.
pub(super) fn widened<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    precision: Precision,
) -> Tensor<B, D> {
    match precision {
        Precision::F32 => x,
        Precision::Bf16 => x.cast(FloatDType::F32),
    }
}

pub(super) fn pick<B: Backend>(table: Tensor<B, 2>, indices: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    table.select(0, indices)
}

pub(super) fn activate<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    match activation {
        Activation::GeluNew => {
            let cubic = x.clone() * (x.clone().square() * 0.044715 + 1.0);
            let inner = cubic * (2.0 / std::f64::consts::PI).sqrt();
            x * (inner.tanh() + 1.0) * 0.5
        }
        Activation::Gelu => burn_activation::gelu(x),
        Activation::Relu => burn_activation::relu(x),
        Activation::Tanh => x.tanh(),
        Activation::Silu => burn_activation::silu(x),
    }
}

pub(super) fn normalize<B: Backend>(
    x: Tensor<B, 2>,
    residual: Option<Tensor<B, 2>>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, 2> {
    let x = match residual {
        Some(residual) => x + residual,
        None => x,
    };
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

pub(super) fn share<B: Backend>(
    weights: Vec<Tensor<B, 2>>,
    biases: Vec<Tensor<B, 1>>,
    precision: Precision,
) -> Shared<B> {
    Shared::new(
        below_each_other(weights),
        below_each_other(biases),
        precision,
    )
}

fn below_each_other<B: Backend, const D: usize>(parts: Vec<Tensor<B, D>>) -> Tensor<B, D> {
    match <[_; 1]>::try_from(parts) {
        Ok([one]) => one,
        Err(parts) => Tensor::cat(parts, 0),
    }
}

/// Attention with the full matrix of scores, of rows that are or get padded to the longest.
pub(super) fn attend<B: Backend>(
    projected: Tensor<B, 2>,
    rows: &Rows,
    heads: usize,
    dropout: Option<Dropout>,
    precision: Precision,
) -> Tensor<B, 2> {
    let device = projected.device();
    let (count, longest) = (rows.count(), rows.longest());
    let width = projected.dims()[1] / 3;
    let dim = width / heads;
    let (full, level) = (rows.are_full(), rows.are_level());
    let indices = |indices: Vec<i32>| -> Tensor<B, 1, Int> {
        Tensor::from_data(TensorData::from(indices.as_slice()), &device)
    };

    // Padding repeats the row's first token; its scores are masked and its outputs dropped.
    let spread: Option<Tensor<B, 1, Int>> = (!level).then(|| {
        let lengths = rows.lengths().iter().zip(rows.starts());
        let of_row = |(&length, &start): (&usize, &usize)| {
            (0..longest).map(move |j| (start + if j < length { j } else { 0 }) as i32)
        };
        indices(lengths.flat_map(of_row).collect())
    });
    let split = |side: usize| -> Tensor<B, 4> {
        let x = projected.clone().narrow(1, side * width, width);
        let padded = match &spread {
            Some(spread) => x.select(0, spread.clone()),
            None => x,
        };
        // [rows, len, heads, dim] -> [rows, heads, len, dim]
        padded.reshape([count, longest, heads, dim]).swap_dims(1, 2)
    };

    let scores = multiply(split(0), split(1).transpose(), precision); // [rows, heads, len, len]
    let scores = scores / (dim as f64).sqrt();
    let scores = if full {
        scores
    } else {
        scores + padding_scores(rows, &device)
    };
    let mut probabilities = burn_activation::softmax(scores, 3);
    if let Some(dropout) = dropout {
        let mask = dropout::attention_mask(dropout, rows, heads);
        let mask = TensorData::new(mask, [count, heads, longest, longest]);
        probabilities = probabilities * Tensor::from_data(mask, &device);
    }
    let context = multiply(probabilities, split(2), precision); // [rows, heads, len, dim]
    let context = context.swap_dims(1, 2).reshape([count * longest, width]);
    if level {
        context
    } else {
        context.select(0, indices(rows.padded_indices(longest)))
    }
}

/// What is added to the scores of each row's keys, `[rows, 1, 1, longest]`: nothing, and much less than
/// nothing for padding.
pub(super) fn padding_scores<B: Backend>(rows: &Rows, device: &B::Device) -> Tensor<B, 4> {
    let (count, longest) = (rows.count(), rows.longest());
    let lengths = rows.lengths().iter();
    let scores = lengths.flat_map(|&length| {
        (0..longest).map(move |j| if j < length { 0.0 } else { PADDING_SCORE })
    });
    let scores = TensorData::new(scores.collect::<Vec<f32>>(), [count, 1, 1, longest]);
    Tensor::from_data(scores, device)
}

/// Attention of all tokens, those selected kept.
pub(super) fn attend_selected<B: Backend>(
    [query, key, value]: [Tensor<B, 2>; 3],
    rows: &Rows,
    selection: &Selection,
    heads: usize,
    precision: Precision,
) -> Tensor<B, 2> {
    let indices = selection.indices::<B>(&key.device());
    let queries = key.zeros_like();
    let queries = queries.select_assign(0, indices.clone(), query, IndexingUpdateOp::Add);
    let projected = Tensor::cat(vec![queries, key, value], 1);
    attend(projected, rows, heads, None, precision).select(0, indices)
}

pub(super) fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let [items, _] = logits.dims();
    let log_probabilities = burn_activation::log_softmax(logits, 1);
    let picked = log_probabilities.gather(1, labels.reshape([items, 1]));
    picked.mean().neg()
}
