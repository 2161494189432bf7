//! Softmax attention over ragged batches.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

use crate::math::{EXP2_BOUND, exp2};
use crate::split::OutPointer;
use crate::tile::{self, Rows, multiply_panel};

/// Queries whose scores are held at once: three or six tiles.
const SCORES: usize = 36;

/// Keys and values are fetched so many tokens before they are packed.
const AHEAD: usize = 8;

/// Elements of pairs of a query and a key that one thread goes through faster than several start to.
const ONE_THREAD: usize = 1 << 17;

/// Scaled dot-product attention, `softmax(q kᵀ / sqrt(head_dim)) v` (Vaswani et al. 2017), of every
/// row of a ragged batch over itself.
///
/// `qkv` is `[tokens, 3 * heads * head_dim]`: a token's query, key and value, each with the heads
/// side by side. `rows` are the rows' token ranges; they follow each other from 0 to `tokens`. `out`
/// is `[tokens, heads * head_dim]`.
///
/// A thread takes one head of one row at a time, and keeps memory for the keys and values of the
/// longest that it had, and for 36 scores a key.
///
/// # Panics
/// If the slices do not have these shapes or the rows do not tile the tokens.
pub fn attention(
    qkv: &[f32],
    rows: &[Range<usize>],
    heads: usize,
    head_dim: usize,
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

    let task = Task {
        qkv,
        heads,
        head_dim,
        out: OutPointer(out.as_mut_ptr()),
        few: rows.len() * heads < 2 * rayon::current_num_threads(),
    };
    task.attend(rows, 0..heads);
}

/// Attention over a batch, of which threads take rows and heads.
#[derive(Clone, Copy)]
struct Task<'a> {
    /// `[tokens, 3 * heads * head_dim]`
    qkv: &'a [f32],
    heads: usize,
    head_dim: usize,
    /// `[tokens, heads * head_dim]`
    out: OutPointer,
    /// Whether there are too few heads of rows to keep every thread busy.
    few: bool,
}

thread_local! {
    /// Keys, values and scores of a thread.
    static MEMORY: RefCell<Memory> = const {
        RefCell::new(Memory {
            packed: Vec::new(),
            scores: Vec::new(),
        })
    };
}

struct Memory {
    /// A head's keys and values, see [`Packed`].
    packed: Vec<f32>,
    /// `[36, keys rounded up to panels]`
    scores: Vec<f32>,
}

impl Task<'_> {
    /// Attention of some heads of some rows.
    ///
    /// They are halved by cost, again and again, and whoever has nothing to do takes a half: nothing
    /// is written down for it, and a long row weighs more than a short one.
    fn attend(self, rows: &[Range<usize>], heads: Range<usize>) {
        let pairs: usize = rows.iter().map(pairs).sum();
        if pairs * heads.len() * self.head_dim <= ONE_THREAD || rows.len() * heads.len() == 1 {
            for row in rows.iter().filter(|row| !row.is_empty()) {
                for head in heads.clone() {
                    self.attend_head(row, head, 0..row.len());
                }
            }
        } else if rows.len() > 1 {
            let (first, second) = rows.split_at(half(rows, pairs));
            rayon::join(
                || self.attend(first, heads.clone()),
                || self.attend(second, heads.clone()),
            );
        } else {
            let middle = heads.start + heads.len().div_ceil(2);
            rayon::join(
                || self.attend(rows, heads.start..middle),
                || self.attend(rows, middle..heads.end),
            );
        }
    }

    /// Attention of one head of one row for some of its queries. Threads that share it pack its keys
    /// and values each for itself.
    fn attend_head(self, row: &Range<usize>, head: usize, queries: Range<usize>) {
        if self.few && queries.len() > 2 * SCORES {
            let middle = queries.start + (queries.len() / 2).next_multiple_of(SCORES);
            rayon::join(
                || self.attend_head(row, head, queries.start..middle),
                || self.attend_head(row, head, middle..queries.end),
            );
            return;
        }
        // The memory is fetched out here: within `eval` the closure would not be compiled for the
        // instruction set that runs it.
        MEMORY.with_borrow_mut(|memory| {
            let task = self;
            let row = row.clone();
            Head {
                task,
                row,
                head,
                queries,
                memory,
            }
            .dispatch();
        });
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

/// How a head's keys and values are packed, in panels of two vectors' width.
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
    fn keys_len(self) -> usize {
        self.keys.next_multiple_of(self.panel) * self.head_dim
    }

    fn len(self) -> usize {
        self.keys_len() + self.head_dim.next_multiple_of(self.panel) * self.keys
    }

    /// Packs the keys and values of one head: `keys` and `values` begin at the first token's, and the
    /// next token's lie `stride` behind.
    #[inline(always)]
    fn pack<I: Isa>(self, isa: I, keys: &[f32], values: &[f32], stride: usize, packed: &mut [f32]) {
        let ops = isa.f32();
        let columns = self.panel;
        let (key_panels, value_panels) = packed.split_at_mut(self.keys_len());
        let panels = key_panels.chunks_exact_mut(self.head_dim * columns);
        for (first, panel) in (0..).step_by(columns).zip(panels) {
            let here = columns.min(self.keys - first);
            if here < columns {
                panel.fill(0.0);
            }
            for c in 0..here {
                let key = &keys[(first + c) * stride..][..self.head_dim];
                for later in [keys, values] {
                    let later = later.as_ptr().wrapping_add((first + c + AHEAD) * stride);
                    for line in (0..self.head_dim).step_by(tile::LINE) {
                        tile::prefetch(later.wrapping_add(line));
                    }
                }
                for (value, row) in key.iter().zip(panel.chunks_exact_mut(columns)) {
                    // SAFETY: it is an element of the row. Volatile, or the compiler scatters
                    // vectors of AVX-512, which takes several times as long.
                    unsafe { std::ptr::from_mut(&mut row[c]).write_volatile(*value) };
                }
            }
        }
        let panels = value_panels.chunks_exact_mut(self.keys * columns);
        for (first, panel) in (0..).step_by(columns).zip(panels) {
            let here = columns.min(self.head_dim - first);
            for (token, row) in panel.chunks_exact_mut(columns).enumerate() {
                let value = &values[token * stride + first..][..here];
                let vectors = value.chunks_exact(ops.len());
                let rest = vectors.remainder();
                for (value, row) in vectors.zip(row.chunks_exact_mut(ops.len())) {
                    ops.store(ops.load(value), row);
                }
                row[here - rest.len()..here].copy_from_slice(rest);
                row[here..].fill(0.0);
            }
        }
    }
}

/// Some queries of one head of one row.
struct Head<'a, 'm> {
    task: Task<'a>,
    row: Range<usize>,
    head: usize,
    queries: Range<usize>,
    memory: &'m mut Memory,
}

impl SimdOp for Head<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Task {
            qkv,
            heads,
            head_dim,
            out,
            ..
        } = self.task;
        let width = heads * head_dim;
        let layout = Packed {
            keys: self.row.len(),
            head_dim,
            panel: tile::width(isa),
        };
        let (keys, columns) = (layout.keys, layout.panel);
        let stride = keys.next_multiple_of(columns);
        let Memory { packed, scores } = self.memory;
        let packed = enough(packed, layout.len());
        let scores = enough(scores, SCORES * stride);

        let qkv = &qkv[self.row.start * 3 * width + self.head * head_dim..];
        layout.pack(isa, &qkv[width..], &qkv[2 * width..], 3 * width, packed);
        let (key_panels, value_panels) = packed.split_at(layout.keys_len());
        let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();

        for query in self.queries.clone().step_by(SCORES) {
            let count = SCORES.min(self.queries.end - query);
            let queries = Rows {
                data: &qkv[query * 3 * width..],
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
            let mut result = [0.0; SCORES * 2 * tile::MAX_LANES];
            for (panel, first) in value_panels
                .chunks_exact(keys * columns)
                .zip((0..).step_by(columns))
            {
                multiply_panel(isa, weights, panel, keys, &mut result, columns, columns);
                let here = columns.min(head_dim - first);
                for (r, sum) in sums[..count].iter().enumerate() {
                    let at = (self.row.start + query + r) * width + self.head * head_dim + first;
                    // SAFETY: row and head are inside the `[tokens, heads * head_dim]` elements of
                    // the result, which `attention` checked, and this task's alone.
                    let out = unsafe { std::slice::from_raw_parts_mut(out.0.add(at), here) };
                    divide(isa, &result[r * columns..][..here], *sum, out);
                }
            }
        }
    }
}

/// The first `len` elements of memory that only grows; what they hold is left over.
#[inline(always)]
fn enough(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    &mut memory[..len]
}

/// Replaces scores by `2^(scale * (score - largest))` and returns their sum.
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
        let y = power(isa, ops.mul(ops.sub(ops.load(vector), offset), scales));
        sums = ops.add(sums, y);
        ops.store(y, vector);
    }
    let mut sum: f32 = sums.to_array().into_iter().sum();
    let rest = vectors.into_remainder();
    let (padded, _) = ops.load_pad(rest);
    let y = power(isa, ops.mul(ops.sub(padded, offset), scales)).to_array();
    for (value, y) in rest.iter_mut().zip(y) {
        *value = y;
        sum += y;
    }
    sum
}

/// 2^x of what is not above zero.
#[inline(always)]
fn power<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let least = ops.splat(-EXP2_BOUND);
    // A select, not a maximum, so that NaN stays NaN on every processor.
    exp2(isa, ops.select(least, x, ops.lt(x, least)))
}

#[inline(always)]
fn divide<I: Isa>(isa: I, x: &[f32], by: f32, out: &mut [f32]) {
    let ops = isa.f32();
    let divisor = ops.splat(by);
    let mut vectors = x.chunks_exact(ops.len());
    let mut quotients = out.chunks_exact_mut(ops.len());
    for (vector, quotient) in vectors.by_ref().zip(quotients.by_ref()) {
        ops.store(ops.div(ops.load(vector), divisor), quotient);
    }
    let rest = vectors.remainder().iter();
    for (value, quotient) in rest.zip(quotients.into_remainder()) {
        *quotient = value / by;
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
