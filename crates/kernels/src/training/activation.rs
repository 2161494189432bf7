//! GELU in its tanh form (Hendrycks and Gimpel 2016), and its derivative.

use rayon::prelude::*;

use super::fill::filled;
use super::vectorized::{exp, vectorized};

/// Elements that one task takes at a time.
const BLOCK: usize = 1 << 14;

/// -2 sqrt(2 / pi).
const SCALE: f32 = -1.595_769_2;
const CUBIC: f32 = 0.044_715;

/// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` of each element.
pub fn gelu_tanh(x: &[f32]) -> Vec<f32> {
    let ([out], _) = filled(x.len(), BLOCK, |index, [out]| {
        forward(&x[index * BLOCK..], out);
    });
    out
}

/// The gradient with respect to `x`, written over the gradient with respect to the result.
pub fn gelu_tanh_backward(x: &[f32], gradient: &mut [f32]) {
    let blocks = gradient
        .par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK))
        .with_max_len(1);
    blocks.for_each(|(gradient, x)| backward(x, gradient));
}

vectorized! {
    fn forward(x: &[f32], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            // 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)): one exponential, and nothing cancels.
            let u = SCALE * x * (1.0 + CUBIC * x * x);
            *out = x / (1.0 + exp(u));
        }
    }

    fn backward(x: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let u = SCALE * x * (1.0 + CUBIC * x * x);
            let share = 1.0 / (1.0 + exp(u));
            let slope = -SCALE * (1.0 + 3.0 * CUBIC * x * x);
            *gradient *= share + x * share * (1.0 - share) * slope;
        }
    }
}
