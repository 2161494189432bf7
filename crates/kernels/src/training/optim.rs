//! Optimiser steps and norms over flat slices.

use rayon::prelude::*;

/// Values worked on by one task. Sums of blocks are added in order, so that their size, and not
/// the number of threads, decides the rounding.
const BLOCK: usize = 1 << 14;

/// The sum of squares, each block in f32 lanes, the blocks in f64, in a fixed order.
pub fn square_sum(values: &[f32]) -> f64 {
    let blocks: Vec<f64> = values.par_chunks(BLOCK).map(square_sum_block).collect();
    blocks.iter().sum()
}

fn square_sum_block(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; 16];
    let chunks = values.chunks_exact(16);
    for value in chunks.remainder() {
        lanes[0] += value * value;
    }
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

/// Multiplies every value by `factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(BLOCK).for_each(|block| {
        for value in block {
            *value *= factor;
        }
    });
}

/// The numbers of one LAMB step for one tensor.
#[derive(Clone, Copy, Debug)]
pub struct LambFactors {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// The gradient's part in the first moment: `1 - beta_1`, subtracted in 64 bits.
    pub rest_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// The squared gradient's part in the second moment: `1 - beta_2`, subtracted in 64 bits; in
    /// 32 bits, 0.999 would leave a thousandth that is off by a hundred-thousandth of itself.
    pub rest_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Share of the weight added to the update.
    pub weight_decay: f32,
    /// Step size.
    pub learning_rate: f32,
    /// Whether the update is rescaled to the weight's norm.
    pub adapted: bool,
}

/// One LAMB step (You et al. 2019, without bias correction) on one tensor. All slices are as long
/// as each other; `gradient` is overwritten with the update.
pub fn lamb(
    factors: LambFactors,
    weight: &mut [f32],
    gradient: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let LambFactors {
        beta_1,
        rest_1,
        beta_2,
        rest_2,
        ..
    } = factors;
    let blocks = weight
        .par_chunks(BLOCK)
        .zip(gradient.par_chunks_mut(BLOCK))
        .zip(first.par_chunks_mut(BLOCK))
        .zip(second.par_chunks_mut(BLOCK));
    let squares: Vec<(f64, f64)> = blocks
        .map(|(((weight, gradient), first), second)| {
            let values = weight.iter().zip(&mut *gradient).zip(first).zip(second);
            for (((w, g), m), v) in values {
                *m = beta_1 * *m + rest_1 * *g;
                *v = beta_2 * *v + rest_2 * *g * *g;
                *g = *m / (v.sqrt() + factors.epsilon) + factors.weight_decay * w;
            }
            if factors.adapted {
                (square_sum_block(weight), square_sum_block(gradient))
            } else {
                (0.0, 0.0)
            }
        })
        .collect();
    let weight_norm = squares.iter().map(|s| s.0).sum::<f64>().sqrt();
    let update_norm = squares.iter().map(|s| s.1).sum::<f64>().sqrt();
    let ratio = if weight_norm > 0.0 && update_norm > 0.0 {
        (weight_norm / update_norm) as f32
    } else {
        1.0
    };
    let step = factors.learning_rate * ratio;
    let blocks = weight.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK));
    blocks.for_each(|(weight, update)| {
        for (w, u) in weight.iter_mut().zip(update) {
            *w -= step * u;
        }
    });
}

/// The numbers of one AdamW step for one tensor.
#[derive(Clone, Copy, Debug)]
pub struct AdamWFactors {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// The gradient's part in the first moment: `1 - beta_1`, subtracted in 64 bits.
    pub rest_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// The squared gradient's part in the second moment: `1 - beta_2`, subtracted in 64 bits; in
    /// 32 bits, 0.999 would leave a thousandth that is off by a hundred-thousandth of itself.
    pub rest_2: f32,
    /// Added to the root of the corrected second moment.
    pub epsilon: f32,
    /// What is left of the weight after decay: `1 - learning rate * weight decay`.
    pub keep: f32,
    /// Learning rate over the first moment's bias correction.
    pub step_size: f32,
    /// Root of the second moment's bias correction.
    pub root_correction: f32,
}

/// One AdamW step (Loshchilov and Hutter 2017) on one tensor. All slices are as long as each
/// other.
pub fn adamw(
    factors: AdamWFactors,
    weight: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let AdamWFactors {
        beta_1,
        rest_1,
        beta_2,
        rest_2,
        ..
    } = factors;
    let blocks = weight
        .par_chunks_mut(BLOCK)
        .zip(gradient.par_chunks(BLOCK))
        .zip(first.par_chunks_mut(BLOCK))
        .zip(second.par_chunks_mut(BLOCK));
    blocks.for_each(|(((weight, gradient), first), second)| {
        let values = weight.iter_mut().zip(gradient).zip(first).zip(second);
        for (((w, g), m), v) in values {
            *m = beta_1 * *m + rest_1 * g;
            *v = beta_2 * *v + rest_2 * g * g;
            let root = v.sqrt() / factors.root_correction + factors.epsilon;
            *w = factors.keep * *w - factors.step_size * *m / root;
        }
    });
}
