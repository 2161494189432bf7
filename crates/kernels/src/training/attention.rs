//! Scaled dot-product attention of ragged rows, and its backward pass, which computes the
//! probabilities again rather than keep them.

// Heads write disjoint columns of one matrix.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::dropout::{draw, head_stream, threshold};
use super::matmul::{Matrix, Precision, Shared, multiply_alone};
use super::vectorized::{exp, sum, vectorized};

/// Rows that lie end to end, and how their width splits into heads.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Length of each row.
    pub lengths: &'a [usize],
    /// Heads; the width is `heads * dim`.
    pub heads: usize,
    /// Width of one head.
    pub dim: usize,
    /// How numbers enter the products.
    pub precision: Precision,
    /// The stream and the rate of dropout on the probabilities.
    pub dropout: Option<(u64, f32)>,
}

impl Layout<'_> {
    fn width(&self) -> usize {
        self.heads * self.dim
    }

    /// Runs `work(row * heads + head, first element, length)` for every head of every row.
    fn for_each(&self, work: impl Fn(usize, usize, usize) + Sync) {
        let mut starts = Vec::with_capacity(self.lengths.len());
        let mut start = 0;
        for &length in self.lengths {
            starts.push(start);
            start += length;
        }
        let heads = 0..self.lengths.len() * self.heads;
        heads.into_par_iter().for_each(|index| {
            let (row, head) = (index / self.heads, index % self.heads);
            let first = starts[row] * self.width() + head * self.dim;
            work(index, first, self.lengths[row]);
        });
    }

    /// One head of one row of `side`, `[length, dim]`, whose first element is `first`.
    fn head<'a>(&self, side: &'a [f32], first: usize, length: usize) -> Matrix<'a> {
        Matrix::strided(&side[first..], length, self.dim, self.width())
    }

    /// The probabilities of one head, `[length, length]`.
    fn probabilities(&self, query: Matrix<'_>, key: Matrix<'_>, length: usize) -> Vec<f32> {
        let mut scores = vec![0.0; length * length];
        let out = Shared::new(&mut scores, length);
        // SAFETY: this matrix is the task's own.
        unsafe { multiply_alone(self.precision, query, key.transposed(), out, 0) };
        softmax_rows(&mut scores, length, 1.0 / (self.dim as f32).sqrt());
        scores
    }
}

/// `softmax(query key^T / sqrt(dim)) value`, each row and head by itself; all are
/// `[tokens, heads * dim]`.
///
/// # Panics
/// The lengths do not add up to the tokens.
pub fn attention(layout: Layout<'_>, query: &[f32], key: &[f32], value: &[f32]) -> Vec<f32> {
    let width = layout.width();
    let tokens: usize = layout.lengths.iter().sum();
    for side in [query, key, value] {
        assert_eq!(side.len(), tokens * width, "attention over {tokens} tokens");
    }
    let mut out = vec![0.0; tokens * width];
    let target = Shared::new(&mut out, width);
    layout.for_each(|index, first, length| {
        let mut probabilities = layout.probabilities(
            layout.head(query, first, length),
            layout.head(key, first, length),
            length,
        );
        if let Some((stream, rate)) = layout.dropout {
            drop_values(head_stream(stream, index), rate, &mut probabilities);
        }
        let probabilities = Matrix::new(&probabilities, length, length);
        // SAFETY: this task alone writes this head of this row.
        unsafe {
            multiply_alone(
                layout.precision,
                probabilities,
                layout.head(value, first, length),
                target,
                first,
            )
        };
    });
    out
}

/// Gradients with respect to query, key and value.
///
/// # Panics
/// As [`attention`].
pub fn attention_backward(
    layout: Layout<'_>,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    gradient: &[f32],
) -> [Vec<f32>; 3] {
    let width = layout.width();
    let tokens: usize = layout.lengths.iter().sum();
    for side in [query, key, value, gradient] {
        assert_eq!(side.len(), tokens * width, "attention over {tokens} tokens");
    }
    let mut out = [(); 3].map(|()| vec![0.0; tokens * width]);
    let [of_query, of_key, of_value] = out.each_mut().map(|out| Shared::new(out, width));
    layout.for_each(|index, first, length| {
        let precision = layout.precision;
        let mut probabilities = layout.probabilities(
            layout.head(query, first, length),
            layout.head(key, first, length),
            length,
        );

        // Of the probabilities: gradient value^T, through dropout.
        let mut slopes = vec![0.0; length * length];
        let out = Shared::new(&mut slopes, length);
        // SAFETY: this matrix is the task's own.
        unsafe {
            multiply_alone(
                precision,
                layout.head(gradient, first, length),
                layout.head(value, first, length).transposed(),
                out,
                0,
            )
        };
        if let Some((stream, rate)) = layout.dropout {
            let stream = head_stream(stream, index);
            drop_values(stream, rate, &mut slopes);
            let mut dropped = probabilities.clone();
            drop_values(stream, rate, &mut dropped);
            let dropped = Matrix::new(&dropped, length, length).transposed();
            // SAFETY: this task alone writes this head of this row.
            unsafe {
                multiply_alone(
                    precision,
                    dropped,
                    layout.head(gradient, first, length),
                    of_value,
                    first,
                )
            };
        } else {
            let probabilities = Matrix::new(&probabilities, length, length).transposed();
            // SAFETY: this task alone writes this head of this row.
            unsafe {
                multiply_alone(
                    precision,
                    probabilities,
                    layout.head(gradient, first, length),
                    of_value,
                    first,
                )
            };
        }

        // Of the scores, over the probabilities.
        let scale = 1.0 / (layout.dim as f32).sqrt();
        softmax_backward_rows(&slopes, &mut probabilities, length, scale);
        let scores = Matrix::new(&probabilities, length, length);
        // SAFETY: this task alone writes this head of this row.
        unsafe {
            multiply_alone(
                precision,
                scores,
                layout.head(key, first, length),
                of_query,
                first,
            )
        };
        // SAFETY: this task alone writes this head of this row.
        unsafe {
            multiply_alone(
                precision,
                scores.transposed(),
                layout.head(query, first, length),
                of_key,
                first,
            )
        };
    });
    out
}

vectorized! {
    fn softmax_rows(scores: &mut [f32], length: usize, scale: f32) {
        for row in scores.chunks_exact_mut(length) {
            let mut largest = f32::NEG_INFINITY;
            for x in row.iter_mut() {
                *x *= scale;
                largest = if *x > largest { *x } else { largest };
            }
            for x in row.iter_mut() {
                *x = exp(*x - largest);
            }
            let factor = 1.0 / sum(length, |i| row[i]);
            for x in row.iter_mut() {
                *x *= factor;
            }
        }
    }

    /// Turns probabilities into the gradient of the unscaled scores, `slopes` being that of the
    /// probabilities.
    fn softmax_backward_rows(slopes: &[f32], probabilities: &mut [f32], length: usize, scale: f32) {
        let rows = probabilities.chunks_exact_mut(length).zip(slopes.chunks_exact(length));
        for (probabilities, slopes) in rows {
            let mean = sum(length, |i| probabilities[i] * slopes[i]);
            for (p, slope) in probabilities.iter_mut().zip(slopes) {
                *p *= (slope - mean) * scale;
            }
        }
    }

    fn drop_values(stream: u64, rate: f32, values: &mut [f32]) {
        let (threshold, scale) = (threshold(rate), 1.0 / (1.0 - rate));
        for (i, value) in values.iter_mut().enumerate() {
            let kept = draw(stream, i as u32) >= threshold;
            *value *= if kept { scale } else { 0.0 };
        }
    }
}
