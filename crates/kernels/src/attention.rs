//! Softmax attention over ragged batches.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

use crate::math::exp;
use crate::tile::{self, Rows, multiply_panel};

/// Queries that one task takes through all heads: enough to use the keys and values in the second
/// cache many times, few enough to give every thread work on one short row.
const QUERIES: usize = 36;

/// Queries whose scores are held at once: three or six tiles.
const SCORES: usize = 36;

/// Elements of pairs of a query and a key that one thread goes through faster than several start to.
const ONE_THREAD: usize = 1 << 17;

/// Memory for keys and values in the order of the products, kept from call to call.
#[derive(Default)]
pub struct AttentionWorkspace {
    packed: Vec<f32>,
}

/// Scaled dot-product attention, `softmax(q kᵀ / sqrt(head_dim)) v` (Vaswani et al. 2017), of every
/// row of a ragged batch over itself.
///
/// `qkv` is `[tokens, 3 * heads * head_dim]`: a token's query, key and value, each with the heads
/// side by side. `rows` are the rows' token ranges; they follow each other from 0 to `tokens`. `out`
/// is `[tokens, heads * head_dim]`.
///
/// A query's scores over its row are held at once, never those of all queries: memory beyond the
/// workspace (the keys and values once more) is 36 scores a key and thread.
///
/// # Panics
/// If the slices do not have these shapes or the rows do not tile the tokens.
pub fn attention(
    qkv: &[f32],
    rows: &[Range<usize>],
    heads: usize,
    head_dim: usize,
    workspace: &mut AttentionWorkspace,
    out: &mut [f32],
) {
    let width = heads * head_dim;
    assert!(width > 0, "{heads} heads of {head_dim}");
    assert_eq!(qkv.len(), 3 * out.len(), "elements of qkv against out");
    let mut tokens = 0;
    for row in rows {
        assert!(
            row.start == tokens && row.end >= tokens,
            "row {row:?} after token {tokens}"
        );
        tokens = row.end;
    }
    assert_eq!(out.len(), tokens * width, "elements of out");

    let shape = Shape { heads, head_dim };
    let total: usize = rows.iter().map(|row| shape.packed_len(row)).sum();
    if workspace.packed.len() < total {
        workspace.packed.resize(total, 0.0);
    }
    let packed = &mut workspace.packed[..total];
    shape.attend_rows(rows, qkv, packed, out);
}

/// The heads of a token.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    head_dim: usize,
}

impl Shape {
    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of a row's keys and values when packed.
    fn packed_len(self, row: &Range<usize>) -> usize {
        self.heads * Packed::of(row.len(), self.head_dim).len()
    }

    /// Attention of rows, `qkv`, `packed` and `out` being their parts.
    ///
    /// The rows are halved by cost, again and again, and whoever has nothing to do takes a half:
    /// nothing is written down for it, and a long row weighs more than a short one.
    fn attend_rows(self, rows: &[Range<usize>], qkv: &[f32], packed: &mut [f32], out: &mut [f32]) {
        let pairs: usize = rows.iter().map(pairs).sum();
        let small = pairs * self.width() <= ONE_THREAD;
        if small || rows.len() == 1 {
            let (mut qkv, mut packed, mut out) = (qkv, packed, out);
            for row in rows.iter().filter(|row| !row.is_empty()) {
                let (tokens, rest) = qkv.split_at(row.len() * 3 * self.width());
                let (of_row, behind) = packed.split_at_mut(self.packed_len(row));
                let (result, tail) = out.split_at_mut(row.len() * self.width());
                (qkv, packed, out) = (rest, behind, tail);
                self.attend_row(tokens, of_row, result, small);
            }
            return;
        }
        let (first, second) = rows.split_at(half(rows, pairs));
        let tokens = second[0].start - first[0].start;
        let (qkv, behind) = qkv.split_at(tokens * 3 * self.width());
        let elements = first.iter().map(|row| self.packed_len(row)).sum();
        let (packed, others) = packed.split_at_mut(elements);
        let (out, tail) = out.split_at_mut(tokens * self.width());
        rayon::join(
            || self.attend_rows(first, qkv, packed, out),
            || self.attend_rows(second, behind, others, tail),
        );
    }

    /// Attention of one row, on this thread alone or over the current pool.
    fn attend_row(self, tokens: &[f32], packed: &mut [f32], out: &mut [f32], alone: bool) {
        let pack = |(head, packed): (usize, &mut [f32])| {
            pack(tokens, head, self.heads, self.head_dim, packed);
        };
        let of_head = packed.len() / self.heads;
        if alone {
            packed.chunks_exact_mut(of_head).enumerate().for_each(pack);
        } else {
            let heads = packed.par_chunks_exact_mut(of_head).enumerate();
            heads.for_each(pack);
        }
        let attend = Attend {
            queries: tokens,
            packed,
            keys: out.len() / self.width(),
            shape: self,
            out,
        };
        match alone {
            true => attend.run(),
            false => attend.run_shared(),
        }
    }
}

/// What a row costs.
fn pairs(row: &Range<usize>) -> usize {
    row.len() * row.len()
}

/// How many of several rows are about half of the `whole` cost; at least one, and not all.
fn half(rows: &[Range<usize>], whole: usize) -> usize {
    let (mut count, mut before) = (1, pairs(&rows[0]));
    // A row goes to the half that it has more of.
    while count + 1 < rows.len() && 2 * before + pairs(&rows[count]) <= whole {
        before += pairs(&rows[count]);
        count += 1;
    }
    count
}

/// How one head's keys and values of one row are packed, in panels of two vectors' width.
///
/// Keys: for every `panel` keys, `[head_dim, panel]`. Values: for every `panel` dimensions,
/// `[keys, panel]`. What lies beyond the last key or dimension is zero.
#[derive(Clone, Copy)]
struct Packed {
    keys: usize,
    head_dim: usize,
    panel: usize,
}

impl Packed {
    fn of(keys: usize, head_dim: usize) -> Self {
        let panel = 2 * crate::Isa::used().lanes();
        Packed {
            keys,
            head_dim,
            panel,
        }
    }

    fn keys_len(self) -> usize {
        self.keys.next_multiple_of(self.panel) * self.head_dim
    }

    fn len(self) -> usize {
        self.keys_len() + self.head_dim.next_multiple_of(self.panel) * self.keys
    }
}

/// Packs one head of one row; `tokens` is the row's part of `qkv`.
fn pack(tokens: &[f32], head: usize, heads: usize, head_dim: usize, packed: &mut [f32]) {
    let width = heads * head_dim;
    let layout = Packed::of(tokens.len() / (3 * width), head_dim);
    let Packed {
        keys,
        panel: columns,
        ..
    } = layout;
    let (key_panels, value_panels) = packed.split_at_mut(layout.keys_len());

    for (p, panel) in key_panels.chunks_exact_mut(head_dim * columns).enumerate() {
        let here = columns.min(keys - p * columns);
        if here < columns {
            panel.fill(0.0);
        }
        for c in 0..here {
            let token = &tokens[(p * columns + c) * 3 * width..][..3 * width];
            let key = &token[width + head * head_dim..][..head_dim];
            for (value, row) in key.iter().zip(panel.chunks_exact_mut(columns)) {
                row[c] = *value;
            }
        }
    }
    for (p, panel) in value_panels.chunks_exact_mut(keys * columns).enumerate() {
        let first = p * columns;
        let here = columns.min(head_dim - first);
        for (token, row) in tokens
            .chunks_exact(3 * width)
            .zip(panel.chunks_exact_mut(columns))
        {
            let value = &token[2 * width + head * head_dim + first..][..here];
            row[..here].copy_from_slice(value);
            row[here..].fill(0.0);
        }
    }
}

/// Queries of one row through all heads.
struct Attend<'a> {
    /// `[queries, 3 * heads * head_dim]`
    queries: &'a [f32],
    /// The row's heads, packed.
    packed: &'a [f32],
    keys: usize,
    shape: Shape,
    /// `[queries, heads * head_dim]`
    out: &'a mut [f32],
}

thread_local! {
    /// Scores of a thread, `[36, keys rounded up to panels]`.
    static SCORE_BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Attend<'_> {
    /// Halves the queries again and again, over the current pool.
    fn run_shared(self) {
        let width = self.shape.width();
        let count = self.out.len() / width;
        if count <= QUERIES {
            return self.run();
        }
        let first = (count / 2).next_multiple_of(QUERIES);
        let (queries, others) = self.queries.split_at(first * 3 * width);
        let (out, tail) = self.out.split_at_mut(first * width);
        let [first, second] = [(queries, out), (others, tail)].map(|(queries, out)| Attend {
            queries,
            out,
            ..self
        });
        rayon::join(|| first.run_shared(), || second.run_shared());
    }

    fn run(self) {
        // The buffer is fetched out here: within `eval` the closure would not be compiled for the
        // instruction set that runs it.
        SCORE_BUFFER.with_borrow_mut(|scores| {
            let stride = self.keys.next_multiple_of(2 * tile::MAX_LANES);
            if scores.len() < SCORES * stride {
                scores.resize(SCORES * stride, 0.0);
            }
            let scores = &mut scores[..SCORES * stride];
            AttendWith { task: self, scores }.dispatch();
        });
    }
}

/// A task with its scores, `[36, keys rounded up to panels]`.
struct AttendWith<'a, 'b> {
    task: Attend<'a>,
    scores: &'b mut [f32],
}

impl SimdOp for AttendWith<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        attend(isa, self.task, self.scores);
    }
}

#[inline(always)]
fn attend<I: Isa>(isa: I, task: Attend<'_>, scores: &mut [f32]) {
    let Attend {
        queries,
        packed,
        keys,
        shape: Shape { heads, head_dim },
        out,
    } = task;
    let width = heads * head_dim;
    let stride = keys.next_multiple_of(2 * tile::MAX_LANES);
    let layout = Packed {
        keys,
        head_dim,
        panel: tile::width(isa),
    };
    let columns = layout.panel;
    let scale = 1.0 / (head_dim as f32).sqrt();

    for (head, packed) in packed.chunks_exact(layout.len()).enumerate() {
        let (key_panels, value_panels) = packed.split_at(layout.keys_len());
        let blocks = queries
            .chunks(SCORES * 3 * width)
            .zip(out.chunks_mut(SCORES * width));
        for (queries, out) in blocks {
            let count = out.len() / width;
            let queries = Rows {
                data: &queries[head * head_dim..],
                stride: 3 * width,
                count,
            };
            for (panel, first) in key_panels
                .chunks_exact(head_dim * columns)
                .zip((0..).step_by(columns))
            {
                let out = &mut scores[first..];
                multiply_panel(isa, queries, panel, head_dim, out, stride, columns);
            }

            let mut sums = [0.0; SCORES];
            for (row, sum) in scores.chunks_exact_mut(stride).zip(&mut sums[..count]) {
                *sum = exponentials(isa, &mut row[..keys], scale);
            }

            let weights = Rows {
                data: scores,
                stride,
                count,
            };
            let out = &mut out[head * head_dim..];
            for (panel, first) in value_panels
                .chunks_exact(keys * columns)
                .zip((0..).step_by(columns))
            {
                let columns = columns.min(head_dim - first);
                multiply_panel(isa, weights, panel, keys, &mut out[first..], width, columns);
            }
            for (r, sum) in sums[..count].iter().enumerate() {
                divide(isa, &mut out[r * width..][..head_dim], *sum);
            }
        }
    }
}

/// Replaces scores by `exp(scale * (score - largest))` and returns their sum.
#[inline(always)]
fn exponentials<I: Isa>(isa: I, scores: &mut [f32], scale: f32) -> f32 {
    let ops = isa.f32();
    let lanes = ops.len();

    let mut largest = ops.splat(f32::NEG_INFINITY);
    let mut vectors = scores.chunks_exact(lanes);
    for vector in vectors.by_ref() {
        largest = ops.max(largest, ops.load(vector));
    }
    let rest = vectors.remainder().iter().copied();
    let largest = largest
        .to_array()
        .into_iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, f32::max);

    let (offset, scales) = (ops.splat(largest), ops.splat(scale));
    let mut sums = ops.zero();
    let mut vectors = scores.chunks_exact_mut(lanes);
    for vector in vectors.by_ref() {
        let y = exp(isa, ops.mul(ops.sub(ops.load(vector), offset), scales));
        sums = ops.add(sums, y);
        ops.store(y, vector);
    }
    let mut sum: f32 = sums.to_array().into_iter().sum();
    let rest = vectors.into_remainder();
    let (padded, _) = ops.load_pad(rest);
    let y = exp(isa, ops.mul(ops.sub(padded, offset), scales)).to_array();
    for (value, y) in rest.iter_mut().zip(y) {
        *value = y;
        sum += y;
    }
    sum
}

#[inline(always)]
fn divide<I: Isa>(isa: I, x: &mut [f32], by: f32) {
    let ops = isa.f32();
    let divisor = ops.splat(by);
    let mut vectors = x.chunks_exact_mut(ops.len());
    for vector in vectors.by_ref() {
        ops.store(ops.div(ops.load(vector), divisor), vector);
    }
    for value in vectors.into_remainder() {
        *value /= by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cost_about_the_same() {
        let rows = |lengths: &[usize]| -> Vec<Range<usize>> {
            let ends = lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end - length..*end)
            });
            ends.collect()
        };
        for (lengths, expected) in [
            (&[5, 5][..], 1),
            (&[5, 5, 5, 5], 2),
            (&[1, 1, 1, 1, 9], 4),
            (&[9, 1, 1, 1, 1], 1),
            (&[3, 4, 5, 0], 2),
            (&[0, 0, 0], 2),
        ] {
            let rows = rows(lengths);
            let whole = rows.iter().map(pairs).sum();
            assert_eq!(half(&rows, whole), expected, "{lengths:?}");
        }
    }
}
