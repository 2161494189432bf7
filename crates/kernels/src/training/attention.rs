//! Scaled dot-product attention of ragged rows, and its backward pass, which computes the
//! probabilities again rather than keep them.

// Heads write disjoint columns of one matrix.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::dropout::{draw, head_stream, threshold};
use super::matmul::{Matrix, Precision, Shared, multiply_alone, written};
use super::vectorized::{exp, largest, sum, vectorized};

/// Rows that lie end to end, and how their width splits into heads.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Length of each row.
    pub lengths: &'a [usize],
    /// Queries of each row: all tokens by default, else so many, in any order.
    pub queries: Option<&'a [usize]>,
    /// Heads; the width is `heads * dim`.
    pub heads: usize,
    /// Width of one head.
    pub dim: usize,
    /// How numbers enter the products.
    pub precision: Precision,
    /// The stream and the rate of dropout on the probabilities. Only where all tokens ask.
    pub dropout: Option<(u64, f32)>,
}

/// Queries, keys and values, each `[tokens, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Projected<'a> {
    sides: [&'a [f32]; 3],
    stride: usize,
}

impl<'a> Projected<'a> {
    /// Beside each other in one matrix `[tokens, 3 * width]`.
    pub fn joined(values: &'a [f32], width: usize) -> Self {
        let from = |side: usize| values.get(side * width..).unwrap_or_default();
        Self {
            sides: [from(0), from(1), from(2)],
            stride: 3 * width,
        }
    }

    /// Each in a matrix of its own; there may be fewer queries than keys and values.
    pub fn separate(sides: [&'a [f32]; 3], width: usize) -> Self {
        Self {
            sides,
            stride: width,
        }
    }
}

/// One head of one row.
#[derive(Clone, Copy)]
struct Head {
    /// `row * heads + head`.
    index: usize,
    /// The row's first query and how many there are.
    query: usize,
    queries: usize,
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

    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn queries(&self) -> usize {
        self.queries.unwrap_or(self.lengths).iter().sum()
    }

    /// Panics where the values are too few; see [`attention`].
    fn check(&self, projected: Projected<'_>) {
        let (tokens, queries, width) = (self.tokens(), self.queries(), self.width());
        let asked = self.queries.unwrap_or(self.lengths);
        assert_eq!(asked.len(), self.lengths.len(), "rows of queries");
        assert!(!asked.contains(&0), "a row without a query");
        assert!(
            self.dropout.is_none() || self.queries.is_none(),
            "dropout where not all tokens ask"
        );
        for (side, rows) in projected.sides.iter().zip([queries, tokens, tokens]) {
            let needed = rows
                .checked_sub(1)
                .map_or(0, |last| last * projected.stride + width);
            assert!(side.len() >= needed, "attention over {tokens} tokens");
        }
    }

    /// Runs `work(head)` for every head of every row.
    fn for_each(&self, work: impl Fn(Head) + Sync) {
        let queries = self.queries.unwrap_or(self.lengths);
        let mut starts = Vec::with_capacity(self.lengths.len());
        let (mut query, mut start) = (0, 0);
        for (&length, &queries) in self.lengths.iter().zip(queries) {
            starts.push((query, start));
            start += length;
            query += queries;
        }
        let heads = 0..self.lengths.len() * self.heads;
        heads.into_par_iter().with_max_len(1).for_each(|index| {
            let (row, head) = (index / self.heads, index % self.heads);
            let (query, start) = starts[row];
            work(Head {
                index,
                query,
                queries: queries[row],
                start,
                length: self.lengths[row],
                column: head * self.dim,
            });
        });
    }

    /// One head's queries (side 0) `[queries, dim]`, keys (1) or values (2) `[length, dim]`.
    fn side<'a>(&self, projected: Projected<'a>, head: Head, side: usize) -> Matrix<'a> {
        let (start, count) = head.rows(side);
        let stride = projected.stride;
        let data = &projected.sides[side][start * stride + head.column..];
        Matrix::strided(data, count, self.dim, stride)
    }

    /// The probabilities of one head, `[queries, length]`.
    fn probabilities(&self, projected: Projected<'_>, head: Head) -> Vec<f32> {
        let length = head.length;
        let (query, key) = (self.side(projected, head, 0), self.side(projected, head, 1));
        // SAFETY: the product writes the whole matrix, which is the task's own.
        let mut scores = unsafe {
            written(head.queries * length, length, |out| {
                multiply_alone(self.precision, query, key.transposed(), out, 0);
            })
        };
        softmax_rows(&mut scores, length, 1.0 / (self.dim as f32).sqrt());
        scores
    }
}

impl Head {
    /// The first row and the number of rows of queries (side 0), keys (1) or values (2).
    fn rows(&self, side: usize) -> (usize, usize) {
        match side {
            0 => (self.query, self.queries),
            _ => (self.start, self.length),
        }
    }
}

/// `softmax(query key^T / sqrt(dim)) value`, each row and head by itself: `[queries, width]`.
///
/// # Panics
/// There are fewer values than the lengths and queries add up to, a row has no query, or dropout is
/// asked for where not all tokens ask.
pub fn attention(layout: Layout<'_>, projected: Projected<'_>) -> Vec<f32> {
    layout.check(projected);
    let width = layout.width();
    let attend = |target: Shared<'_>| {
        layout.for_each(|head| {
            let mut probabilities = layout.probabilities(projected, head);
            if let Some((stream, rate)) = layout.dropout {
                drop_values(head_stream(stream, head.index), rate, &mut probabilities);
            }
            let probabilities = Matrix::new(&probabilities, head.queries, head.length);
            let value = layout.side(projected, head, 2);
            let first = head.query * width + head.column;
            // SAFETY: this task alone writes this head of this row.
            unsafe { multiply_alone(layout.precision, probabilities, value, target, first) };
        });
    };
    // SAFETY: the heads of a query are all its columns, and every query is in a row.
    unsafe { written(layout.queries() * width, width, attend) }
}

/// The gradient with respect to queries, keys and values beside each other `[tokens, 3 * width]`,
/// where that with respect to the result is `gradient` `[tokens, width]`.
///
/// # Panics
/// As [`attention`], or the layout has fewer queries than tokens.
pub fn attention_backward(
    layout: Layout<'_>,
    projected: Projected<'_>,
    gradient: &[f32],
) -> Vec<f32> {
    assert!(layout.queries.is_none(), "gradients beside each other");
    let width = layout.width();
    let backward = |target: Shared<'_>| {
        let targets = [0, width, 2 * width].map(|first| (target, first));
        attention_backward_into(layout, projected, gradient, targets);
    };
    // SAFETY: as in `attention`, for each of the three sides.
    unsafe { written(layout.tokens() * 3 * width, 3 * width, backward) }
}

/// The gradients with respect to queries `[queries, width]`, keys and values `[tokens, width]`,
/// where that with respect to the result is `gradient` `[queries, width]`.
///
/// # Panics
/// As [`attention`].
pub fn attention_backward_separate(
    layout: Layout<'_>,
    projected: Projected<'_>,
    gradient: &[f32],
) -> [Vec<f32>; 3] {
    let (width, queries, tokens) = (layout.width(), layout.queries(), layout.tokens());
    let (mut key, mut value) = (Vec::new(), Vec::new());
    // SAFETY: as in `attention`, for each of the three sides.
    let query = unsafe {
        written(queries * width, width, |query| {
            key = written(tokens * width, width, |key| {
                value = written(tokens * width, width, |value| {
                    let targets = [(query, 0), (key, 0), (value, 0)];
                    attention_backward_into(layout, projected, gradient, targets);
                });
            });
        })
    };
    [query, key, value]
}

/// Writes the gradients of queries, keys and values, each to its target from a column on.
fn attention_backward_into(
    layout: Layout<'_>,
    projected: Projected<'_>,
    gradient: &[f32],
    targets: [(Shared<'_>, usize); 3],
) {
    layout.check(projected);
    let width = layout.width();
    assert_eq!(
        gradient.len(),
        layout.queries() * width,
        "gradient of attention"
    );
    layout.for_each(|head| {
        let (queries, length) = (head.queries, head.length);
        let side = |side| layout.side(projected, head, side);
        let write = |side: usize, left: Matrix<'_>, right: Matrix<'_>| {
            let (target, column) = targets[side];
            let first = head.rows(side).0 * target.stride() + column + head.column;
            // SAFETY: this task alone writes this head of this row.
            unsafe { multiply_alone(layout.precision, left, right, target, first) };
        };
        let gradient = &gradient[head.query * width + head.column..];
        let gradient = Matrix::strided(gradient, queries, layout.dim, width);
        let mut probabilities = layout.probabilities(projected, head);

        // Of the probabilities: gradient value^T, through dropout.
        // SAFETY: the product writes the whole matrix, which is the task's own.
        let mut slopes = unsafe {
            written(queries * length, length, |own| {
                multiply_alone(layout.precision, gradient, side(2).transposed(), own, 0);
            })
        };
        if let Some((stream, rate)) = layout.dropout {
            let stream = head_stream(stream, head.index);
            drop_values(stream, rate, &mut slopes);
            let mut dropped = probabilities.clone();
            drop_values(stream, rate, &mut dropped);
            let dropped = Matrix::new(&dropped, queries, length);
            write(2, dropped.transposed(), gradient);
        } else {
            let probabilities = Matrix::new(&probabilities, queries, length);
            write(2, probabilities.transposed(), gradient);
        }

        // Of the scores, over the probabilities.
        let scale = 1.0 / (layout.dim as f32).sqrt();
        softmax_backward_rows(&slopes, &mut probabilities, length, scale);
        let scores = Matrix::new(&probabilities, queries, length);
        write(0, scores, side(1));
        write(1, scores.transposed(), side(0));
    });
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
