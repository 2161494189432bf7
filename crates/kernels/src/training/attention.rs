//! Scaled dot-product attention of ragged rows, and its backward pass, which computes the
//! probabilities again rather than keep them.

// Heads write disjoint columns of one matrix.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::dropout::{draw, head_stream, threshold};
use super::matmul::{Matrix, Precision, Shared, multiply_alone};
use super::vectorized::{exp, largest, sum, vectorized};

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

/// One head of one row.
#[derive(Clone, Copy)]
struct Head {
    /// `row * heads + head`.
    index: usize,
    /// The row's first token.
    start: usize,
    length: usize,
    /// The head's first column.
    column: usize,
}

impl Layout<'_> {
    fn width(&self) -> usize {
        self.heads * self.dim
    }

    /// Runs `work(head)` for every head of every row.
    fn for_each(&self, work: impl Fn(Head) + Sync) {
        let mut starts = Vec::with_capacity(self.lengths.len());
        let mut start = 0;
        for &length in self.lengths {
            starts.push(start);
            start += length;
        }
        let heads = 0..self.lengths.len() * self.heads;
        heads.into_par_iter().for_each(|index| {
            let (row, head) = (index / self.heads, index % self.heads);
            work(Head {
                index,
                start: starts[row],
                length: self.lengths[row],
                column: head * self.dim,
            });
        });
    }

    /// One head's queries (side 0), keys (1) or values (2), `[length, dim]`.
    fn side<'a>(&self, projected: &'a [f32], head: Head, side: usize) -> Matrix<'a> {
        let stride = 3 * self.width();
        let first = head.start * stride + self.column(head, side);
        Matrix::strided(&projected[first..], head.length, self.dim, stride)
    }

    /// The column of one head's queries, keys or values.
    fn column(&self, head: Head, side: usize) -> usize {
        side * self.width() + head.column
    }

    /// The probabilities of one head, `[length, length]`.
    fn probabilities(&self, projected: &[f32], head: Head) -> Vec<f32> {
        let length = head.length;
        let (query, key) = (self.side(projected, head, 0), self.side(projected, head, 1));
        let mut scores = vec![0.0; length * length];
        let out = Shared::new(&mut scores, length);
        // SAFETY: this matrix is the task's own.
        unsafe { multiply_alone(self.precision, query, key.transposed(), out, 0) };
        softmax_rows(&mut scores, length, 1.0 / (self.dim as f32).sqrt());
        scores
    }
}

/// `softmax(query key^T / sqrt(dim)) value`, each row and head by itself: `[tokens, width]`.
///
/// `projected` is `[tokens, 3 * width]`: queries, keys and values beside each other.
///
/// # Panics
/// The lengths do not add up to the tokens.
pub fn attention(layout: Layout<'_>, projected: &[f32]) -> Vec<f32> {
    let width = layout.width();
    let tokens: usize = layout.lengths.iter().sum();
    assert_eq!(
        projected.len(),
        tokens * 3 * width,
        "attention over {tokens} tokens"
    );
    let mut out = vec![0.0; tokens * width];
    let target = Shared::new(&mut out, width);
    layout.for_each(|head| {
        let mut probabilities = layout.probabilities(projected, head);
        if let Some((stream, rate)) = layout.dropout {
            drop_values(head_stream(stream, head.index), rate, &mut probabilities);
        }
        let probabilities = Matrix::new(&probabilities, head.length, head.length);
        let value = layout.side(projected, head, 2);
        let first = head.start * width + head.column;
        // SAFETY: this task alone writes this head of this row.
        unsafe { multiply_alone(layout.precision, probabilities, value, target, first) };
    });
    out
}

/// The gradient with respect to `projected`, where that with respect to the result is `gradient`
/// `[tokens, width]`.
///
/// # Panics
/// As [`attention`].
pub fn attention_backward(layout: Layout<'_>, projected: &[f32], gradient: &[f32]) -> Vec<f32> {
    let width = layout.width();
    let tokens: usize = layout.lengths.iter().sum();
    assert_eq!(
        projected.len(),
        tokens * 3 * width,
        "attention over {tokens} tokens"
    );
    assert_eq!(
        gradient.len(),
        tokens * width,
        "attention over {tokens} tokens"
    );
    let mut out = vec![0.0; tokens * 3 * width];
    let target = Shared::new(&mut out, 3 * width);
    layout.for_each(|head| {
        let length = head.length;
        let side = |side| layout.side(projected, head, side);
        let write = |side, left: Matrix<'_>, right: Matrix<'_>| {
            let first = head.start * 3 * width + layout.column(head, side);
            // SAFETY: this task alone writes this head of this row.
            unsafe { multiply_alone(layout.precision, left, right, target, first) };
        };
        let gradient = &gradient[head.start * width + head.column..];
        let gradient = Matrix::strided(gradient, length, layout.dim, width);
        let mut probabilities = layout.probabilities(projected, head);

        // Of the probabilities: gradient value^T, through dropout.
        let mut slopes = vec![0.0; length * length];
        let own = Shared::new(&mut slopes, length);
        // SAFETY: this matrix is the task's own.
        unsafe { multiply_alone(layout.precision, gradient, side(2).transposed(), own, 0) };
        if let Some((stream, rate)) = layout.dropout {
            let stream = head_stream(stream, head.index);
            drop_values(stream, rate, &mut slopes);
            let mut dropped = probabilities.clone();
            drop_values(stream, rate, &mut dropped);
            write(
                2,
                Matrix::new(&dropped, length, length).transposed(),
                gradient,
            );
        } else {
            write(
                2,
                Matrix::new(&probabilities, length, length).transposed(),
                gradient,
            );
        }

        // Of the scores, over the probabilities.
        let scale = 1.0 / (layout.dim as f32).sqrt();
        softmax_backward_rows(&slopes, &mut probabilities, length, scale);
        let scores = Matrix::new(&probabilities, length, length);
        write(0, scores, side(1));
        write(1, scores.transposed(), side(0));
    });
    out
}

vectorized! {
    fn softmax_rows(scores: &mut [f32], length: usize, scale: f32) {
        for row in scores.chunks_exact_mut(length) {
            let largest = largest(row);
            for x in row.iter_mut() {
                *x = exp((*x - largest) * scale);
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
