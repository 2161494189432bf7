//! Dropout whose masks depend on nothing but the seed, the step and the place.
//!
//! Burn draws from one global generator, so that a mask would depend on what was drawn before.
//! Here each value is drawn by its own counter ([`albert_kernels::training::dropout`]): resuming
//! at a step, or splitting the work differently, gives the same masks.

use albert_kernels::training::dropout::{head_stream, mask};
use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::Rows;

/// What a training step's dropout is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The step; within a step that accumulates gradients, count each forward pass.
    pub step: u64,
}

/// The places in the model where Google's code drops values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Site {
    Embeddings,
    AttentionProbabilities,
    AttentionOutput,
    FeedForward,
    Classifier,
}

/// One application of dropout: its own stream of random numbers, and how much to drop.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The stream; the value at position i is a function of this and i.
    pub stream: u64,
    /// The share of values that become zero; the others grow by `1 / (1 - rate)`.
    pub rate: f32,
}

impl DropoutKey {
    /// The dropout at `site` of layer `layer`, or none when nothing is dropped there.
    pub(crate) fn at(key: Option<Self>, site: Site, layer: usize, rate: f32) -> Option<Dropout> {
        let key = key.filter(|_| rate > 0.0)?;
        let stream = [key.step, site as u64, layer as u64]
            .into_iter()
            .fold(mix(key.seed), |stream, part| mix(stream ^ mix(part)));
        Some(Dropout { stream, rate })
    }
}

/// The finaliser of SplitMix64, a bijection that spreads every bit over all others.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Applies dropout to `x` (`[tokens, width]`, same shape out).
pub(crate) fn apply<B: Backend>(x: Tensor<B, 2>, dropout: Option<Dropout>) -> Tensor<B, 2> {
    match dropout {
        None => x,
        Some(dropout) => {
            let shape = x.shape();
            let mut values = vec![0.0; shape.num_elements()];
            mask(dropout.stream, dropout.rate, &mut values);
            let mask = Tensor::from_data(TensorData::new(values, shape), &x.device());
            x * mask
        }
    }
}

/// As [`apply`] for the tokens of rows: padding between them draws nothing, so that rows get the same
/// masks with it and without.
pub(crate) fn apply_to_rows<B: Backend>(
    x: Tensor<B, 2>,
    rows: &Rows,
    dropout: Option<Dropout>,
) -> Tensor<B, 2> {
    let Some(padded) = dropout.filter(|_| !rows.are_loose()) else {
        return apply(x, dropout);
    };
    let width = x.dims()[1];
    let drawn: usize = rows.lengths().iter().sum();
    let mut drawn = vec![0.0; drawn * width];
    mask(padded.stream, padded.rate, &mut drawn);
    let mut values = vec![0.0; rows.tokens() * width];
    let mut from = drawn.as_slice();
    for (&start, &length) in rows.starts().iter().zip(rows.lengths()) {
        let (row, rest) = from.split_at(length * width);
        values[start * width..][..row.len()].copy_from_slice(row);
        from = rest;
    }
    let mask = TensorData::new(values, x.shape());
    x.clone() * Tensor::from_data(mask, &x.device())
}

/// The mask on attention probabilities `[rows, heads, longest, longest]`, zero where padded.
///
/// Row `row`'s head `head` has a stream of its own, counted by `query * length + key`, so that a
/// row's mask depends on its place in the batch and not on how long the others are.
pub(crate) fn attention_mask(dropout: Dropout, rows: &Rows, heads: usize) -> Vec<f32> {
    let longest = rows.longest();
    let mut values = vec![0.0; rows.count() * heads * longest * longest];
    let blocks = values.chunks_exact_mut(longest * longest).enumerate();
    for (index, block) in blocks {
        let length = rows.lengths()[index / heads];
        let mut drawn = vec![0.0; length * length];
        mask(head_stream(dropout.stream, index), dropout.rate, &mut drawn);
        for (to, from) in block.chunks_mut(longest).zip(drawn.chunks(length)) {
            to[..length].copy_from_slice(from);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn padding_changes_no_mask() -> crate::Result<()> {
        let (lengths, width) = ([3, 1, 4], 5);
        let (loose, padded) = (Rows::new(&lengths)?, Rows::padded(&lengths, 4)?);
        let dropout = Some(Dropout {
            stream: 9,
            rate: 0.4,
        });
        let masks = |rows: &Rows| -> Vec<f32> {
            let ones = Tensor::<Flex, 2>::ones([rows.tokens(), width], &Default::default());
            apply_to_rows(ones, rows, dropout)
                .into_data()
                .iter::<f32>()
                .collect()
        };
        let (loose_masks, padded_masks) = (masks(&loose), masks(&padded));
        assert!(loose_masks.contains(&0.0) && loose_masks.iter().any(|&factor| factor > 1.0));
        let kept = padded.starts().iter().zip(&lengths);
        let kept =
            kept.flat_map(|(start, length)| &padded_masks[start * width..][..length * width]);
        assert!(kept.eq(&loose_masks));
        Ok(())
    }
}
