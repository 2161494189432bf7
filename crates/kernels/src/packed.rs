//! Products with a weight matrix that was packed once.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use crate::activation::{self, Activation};
use crate::tile::{self, LINE, tile};

/// Inputs that are summed before the sum is added to the result: a panel of two AVX-512 vectors by
/// this is 32 KB, and a block of rows by this stays in the second cache.
const DEPTH: usize = 256;

/// Rows of a block, a multiple of the tallest tile.
const ROWS: usize = 144;

/// Distance between the rows of a block that was copied: not a multiple of 4 KB, at which the rows
/// of a tile would push each other out of the first cache.
const STRIDE: usize = DEPTH + 16;

/// A weight matrix in the order in which the product's inner loop reads it.
///
/// Packing costs about as much as a product with a few rows, so it is done once, at load, and every
/// layer that shares the weights shares the packed copy. It lies in panels of as many outputs as
/// two vectors hold, each panel `[inputs, 2 * lanes]`, what is missing in the last filled with
/// zeros.
///
/// # The same bits for a row, whatever is beside it
///
/// An element of a product is a sum over the inputs in blocks of 256, each block summed in order by
/// multiply-adds from zero, the blocks added in order, then the bias. Tile heights, blocks of rows
/// and the split over threads decide which thread computes an element, not how.
pub struct PackedMatrix {
    inputs: usize,
    outputs: usize,
    /// Outputs in a panel.
    width: usize,
    /// The panels begin at `start`, on a cache line.
    data: Vec<f32>,
    start: usize,
}

impl PackedMatrix {
    /// Packs `weight` of shape `[outputs, inputs]`, row-major, as PyTorch's `Linear` holds it.
    ///
    /// # Panics
    /// If `weight` does not have `outputs * inputs` elements.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "elements of the weight");
        let width = 2 * crate::Isa::used().lanes();
        let len = outputs.next_multiple_of(width) * inputs;
        let mut data = vec![0.0; len + LINE];
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>());
        if inputs > 0 {
            data[start..start + len]
                .par_chunks_mut(inputs * width)
                .zip(weight.par_chunks(inputs * width))
                .for_each(|(panel, weight)| {
                    for (column, weight) in weight.chunks_exact(inputs).enumerate() {
                        for (row, value) in panel.chunks_exact_mut(width).zip(weight) {
                            row[column] = *value;
                        }
                    }
                });
        }
        PackedMatrix {
            inputs,
            outputs,
            width,
            data,
            start,
        }
    }

    /// Number of inputs, the length of a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs, the length of a row of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `out = x weightᵀ + bias`: `x` is `[rows, inputs]`, `bias` `[outputs]`, `out`
    /// `[rows, outputs]`.
    ///
    /// # Panics
    /// If the slices do not have these shapes.
    pub fn multiply(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        self.run(x, bias, None, out);
    }

    /// `out = activation(x weightᵀ + bias)`, shapes as in [`multiply`](Self::multiply). The
    /// activation is applied while the result is in the first cache.
    ///
    /// # Panics
    /// If the slices do not have these shapes.
    pub fn multiply_activate(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) {
        self.run(x, bias, Some(activation), out);
    }

    fn run(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        out: &mut [f32],
    ) {
        if self.outputs == 0 {
            return assert!(out.is_empty(), "elements of the product");
        }
        let rows = out.len() / self.outputs;
        assert_eq!(out.len(), rows * self.outputs, "elements of the product");
        assert_eq!(x.len(), rows * self.inputs, "elements of the rows");
        assert!(
            bias.is_none_or(|bias| bias.len() == self.outputs),
            "elements of the bias"
        );

        // Blocks of rows of even size; then so many groups of panels that every thread gets a few
        // tasks, to even out what else the processor has to do.
        let row_blocks = rows.div_ceil(ROWS);
        let panels = self.outputs.div_ceil(self.width);
        let threads = rayon::current_num_threads();
        let groups = match threads {
            1 => 1,
            _ => (4 * threads)
                .div_ceil(row_blocks.max(1))
                .next_multiple_of(threads)
                .min(panels),
        };
        let out = OutPointer(out.as_mut_ptr());
        let task = |index: usize| {
            let (block, group) = (index / groups, index % groups);
            let rows = part(rows, row_blocks, block);
            let panels = part(panels, groups, group);
            BLOCK_BUFFER.with_borrow_mut(|buffer| {
                buffer.resize(ROWS * STRIDE + ROWS * self.width, 0.0);
                Block {
                    matrix: self,
                    x,
                    bias,
                    activation,
                    rows,
                    panels,
                    buffer,
                    out,
                }
                .dispatch();
            });
        };
        if row_blocks * groups == 1 || threads == 1 {
            (0..row_blocks * groups).for_each(task);
        } else {
            (0..row_blocks * groups)
                .into_par_iter()
                .with_max_len(1)
                .for_each(task);
        }
    }
}

/// The `index`-th of `parts` parts of `0..len` whose sizes differ by at most one.
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

thread_local! {
    /// A copied block of rows, and a block of results of a panel that is not full.
    static BLOCK_BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The result that several threads write, each elements of its own.
#[derive(Clone, Copy)]
struct OutPointer(*mut f32);

// SAFETY: the pointer is used by `Block::eval` alone, and no two blocks share an element.
unsafe impl Send for OutPointer {}
// SAFETY: as above.
unsafe impl Sync for OutPointer {}

/// A block of rows times a group of panels.
struct Block<'a> {
    matrix: &'a PackedMatrix,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    rows: Range<usize>,
    panels: Range<usize>,
    buffer: &'a mut [f32],
    out: OutPointer,
}

impl SimdOp for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let PackedMatrix {
            inputs,
            outputs,
            width,
            ref data,
            start,
        } = *self.matrix;
        let count = self.rows.len();
        assert!(count <= ROWS && width == tile::width(isa));
        let (copied, partial) = self.buffer.split_at_mut(ROWS * STRIDE);

        let mut first = 0;
        loop {
            let depth = DEPTH.min(inputs - first);
            for (row, copy) in self.rows.clone().zip(copied.chunks_exact_mut(STRIDE)) {
                copy[..depth].copy_from_slice(&self.x[row * inputs + first..][..depth]);
            }
            for index in self.panels.clone() {
                let panel = &data[start + (index * inputs + first) * width..][..depth * width];
                let next = panel.as_ptr().wrapping_add(inputs * width);
                let columns = index * width..outputs.min((index + 1) * width);
                let full = columns.len() == width;
                let (target, stride) = if full {
                    // SAFETY: the block's rows and columns are inside the `[rows, outputs]`
                    // elements of the result, which `run` checked.
                    let target =
                        unsafe { self.out.0.add(self.rows.start * outputs + columns.start) };
                    (target, outputs)
                } else {
                    (partial.as_mut_ptr(), width)
                };
                // SAFETY: `target` has `count` rows of `width` elements `stride` apart, either in
                // the result, where this block alone writes them, or in `partial`, which has
                // ROWS * width elements and belongs to this thread.
                unsafe {
                    add_products(
                        isa,
                        copied,
                        panel,
                        next,
                        depth,
                        target,
                        stride,
                        count,
                        first > 0,
                    );
                }
                if first + depth < inputs {
                    // A panel that is not full is the last; what it has so far is kept in
                    // `partial` until the next block of depth.
                    continue;
                }
                let mut bias = [0.0; 2 * tile::MAX_LANES];
                if let Some(values) = self.bias {
                    bias[..columns.len()].copy_from_slice(&values[columns.clone()]);
                }
                for row in 0..count {
                    // SAFETY: as above; nothing else refers to these elements meanwhile.
                    let row =
                        unsafe { std::slice::from_raw_parts_mut(target.add(row * stride), width) };
                    finish(isa, row, &bias, self.activation);
                }
                if !full {
                    for (row, values) in self.rows.clone().zip(partial.chunks_exact(width)) {
                        // SAFETY: row and columns are inside the result, and of this block alone.
                        let out = unsafe {
                            std::slice::from_raw_parts_mut(
                                self.out.0.add(row * outputs + columns.start),
                                columns.len(),
                            )
                        };
                        out.copy_from_slice(&values[..columns.len()]);
                    }
                }
            }
            first += depth;
            if first >= inputs {
                break;
            }
        }
    }
}

/// Sets, or with `add` increases, `count` rows of a panel's results. The first tiles fetch what
/// will be multiplied next, from `next` on: weights that all lie in the third cache or beyond would
/// else keep the first tile of every panel waiting.
///
/// # Safety
/// `target` must be valid for reads and writes of `count` rows of a panel's width, `stride` apart.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn add_products<I: Isa>(
    isa: I,
    rows: &[f32],
    panel: &[f32],
    next: *const f32,
    depth: usize,
    target: *mut f32,
    stride: usize,
    count: usize,
    add: bool,
) {
    let tallest = tile::height(isa);
    // A tile fetches a line a unit of depth, so it takes `width / LINE` tiles.
    let mut wanted = next..next.wrapping_add(panel.len());
    let mut row = 0;
    while row < count {
        let rows = &rows[row * STRIDE..];
        let mut ahead = panel.as_ptr();
        if wanted.start < wanted.end {
            ahead = wanted.start;
            wanted.start = wanted.start.wrapping_add(depth * LINE);
        }
        macro_rules! add_tile {
            ($height:literal) => {
                // SAFETY: the tile is no taller than what is left of the rows.
                unsafe {
                    let target = target.add(row * stride);
                    let sums = tile::<I, $height>(isa, rows, STRIDE, panel, depth, ahead);
                    store::<I, $height>(isa, &sums, target, stride, add)
                }
            };
        }
        row += match count - row {
            12.. if tallest == 12 => add_tile!(12),
            8.. if tallest == 12 => add_tile!(8),
            6.. => add_tile!(6),
            4.. => add_tile!(4),
            2.. => add_tile!(2),
            _ => add_tile!(1),
        };
    }
}

/// Writes a tile's sums, or with `add` adds them; returns the tile's height.
///
/// # Safety
/// As [`add_products`], for `HEIGHT` rows.
#[inline(always)]
unsafe fn store<I: Isa, const HEIGHT: usize>(
    isa: I,
    sums: &[[I::F32; 2]; HEIGHT],
    target: *mut f32,
    stride: usize,
    add: bool,
) -> usize {
    let ops = isa.f32();
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: r < HEIGHT, and two vectors are a panel's width.
            unsafe {
                let target = target.add(r * stride + v * ops.len());
                let sum = if add {
                    ops.add(ops.load_ptr(target), *sum)
                } else {
                    *sum
                };
                ops.store_ptr(sum, target);
            }
        }
    }
    HEIGHT
}

/// Adds the bias to a panel's width of one row and applies the activation.
#[inline(always)]
fn finish<I: Isa>(isa: I, row: &mut [f32], bias: &[f32], function: Option<Activation>) {
    let ops = isa.f32();
    for (out, bias) in row
        .chunks_exact_mut(ops.len())
        .zip(bias.chunks_exact(ops.len()))
    {
        let sum = ops.add(ops.load(out), ops.load(bias));
        let value = match function {
            None => sum,
            Some(function) => activation::evaluate(isa, function, sum),
        };
        ops.store(value, out);
    }
}
