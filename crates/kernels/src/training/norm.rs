//! Layer normalisation with its residual connection, and sums over rows.

use rayon::prelude::*;

use super::fill::filled;
use super::vectorized::{sum, vectorized};

/// Rows that one task takes at a time; sums over rows are added block by block, in order.
const BLOCK: usize = 64;

/// Normalises each row of `x` (plus `residual`) to mean 0 and variance 1, then scales and shifts.
///
/// Returns the result, the normalised rows before scaling, and for each row the factor by which
/// it was normalised; the backward pass wants the latter two.
pub fn layer_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    weight: &[f32],
    bias: &[f32],
    eps: f64,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let block = BLOCK * width;
    let ([out, normed], factors) = filled(x.len(), block, |index, [out, normed]| {
        let range = index * block..index * block + out.len();
        let residual = residual.map(|residual| &residual[range.clone()]);
        let mut factors = vec![0.0; out.len() / width];
        forward(
            &x[range],
            residual,
            weight,
            bias,
            eps,
            out,
            normed,
            &mut factors,
        );
        factors
    });
    let factors = factors.concat();
    (out, normed, factors)
}

/// Gradients with respect to the input (and the residual alike), the weight and the bias.
pub fn layer_norm_backward(
    normed: &[f32],
    factors: &[f32],
    weight: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let block = BLOCK * width;
    let ([input], partial) = filled(gradient.len(), block, |index, [input]| {
        let (mut of_weight, mut of_bias) = (vec![0.0; width], vec![0.0; width]);
        backward(
            &normed[index * block..],
            &factors[index * BLOCK..][..input.len() / width],
            weight,
            &gradient[index * block..],
            input,
            &mut of_weight,
            &mut of_bias,
        );
        (of_weight, of_bias)
    });
    let (mut of_weight, mut of_bias) = (vec![0.0; width], vec![0.0; width]);
    for (weights, biases) in &partial {
        add(weights, &mut of_weight);
        add(biases, &mut of_bias);
    }
    (input, of_weight, of_bias)
}

/// The sum of all rows of `width` numbers.
pub fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let blocks = values.par_chunks(BLOCK * width).with_max_len(1);
    let partial: Vec<Vec<f32>> = blocks
        .map(|block| {
            let mut sums = vec![0.0; width];
            for row in block.chunks_exact(width) {
                add(row, &mut sums);
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; width];
    for partial in &partial {
        add(partial, &mut sums);
    }
    sums
}

vectorized! {
    fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }

    fn forward(
        x: &[f32],
        residual: Option<&[f32]>,
        weight: &[f32],
        bias: &[f32],
        eps: f64,
        out: &mut [f32],
        normed: &mut [f32],
        factors: &mut [f32],
    ) {
        let width = weight.len();
        let bias = &bias[..width];
        for (row, factor) in factors.iter_mut().enumerate() {
            let range = row * width..(row + 1) * width;
            let normed = &mut normed[range.clone()];
            normed.copy_from_slice(&x[range.clone()]);
            if let Some(residual) = residual {
                for (x, r) in normed.iter_mut().zip(&residual[range.clone()]) {
                    *x += r;
                }
            }
            let mean = sum(width, |i| normed[i]) / width as f32;
            for x in normed.iter_mut() {
                *x -= mean;
            }
            let variance = sum(width, |i| normed[i] * normed[i]) / width as f32;
            *factor = (1.0 / (f64::from(variance) + eps).sqrt()) as f32;
            let out = &mut out[range];
            for (((out, x), w), b) in out.iter_mut().zip(normed).zip(weight).zip(bias) {
                *x *= *factor;
                *out = *x * w + b;
            }
        }
    }

    fn backward(
        normed: &[f32],
        factors: &[f32],
        weight: &[f32],
        gradient: &[f32],
        input: &mut [f32],
        of_weight: &mut [f32],
        of_bias: &mut [f32],
    ) {
        let width = weight.len();
        let (of_weight, of_bias) = (&mut of_weight[..width], &mut of_bias[..width]);
        for (row, factor) in factors.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            let (normed, gradient) = (&normed[range.clone()], &gradient[range.clone()]);
            let input = &mut input[range];
            for (((sum, g), x), bias) in of_weight.iter_mut().zip(gradient).zip(normed).zip(&mut *of_bias) {
                *sum += g * x;
                *bias += g;
            }
            let mean = sum(width, |i| gradient[i] * weight[i]) / width as f32;
            let slope = sum(width, |i| gradient[i] * weight[i] * normed[i]) / width as f32;
            for (((input, g), w), x) in input.iter_mut().zip(gradient).zip(weight).zip(normed) {
                *input = factor * (g * w - mean - x * slope);
            }
        }
    }
}
