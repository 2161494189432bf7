//! Products with a weight matrix that was packed once.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use crate::activation::{self, Activation};
use crate::split::{OutPointer, in_blocks};
use crate::tile::{self, LINE, tile};

/// Inputs that are summed before the sum is added to the result, for panels of `width` outputs. A
/// panel of AVX-512's two vectors by this is 32 KB. Narrower panels come from the second cache in
/// time, and are summed three times as deep: results are written and read again the less.
const fn depth(width: usize) -> usize {
    if width < 32 { 768 } else { 256 }
}

/// Distance between rows of a copied block of depth: not a multiple of 4 KB, at which the rows
/// of a tile would push each other out of the first cache.
const fn stride(width: usize) -> usize {
    depth(width) + 16
}

/// Rows that are copied together: the tallest tile.
const GROUP: usize = 12;

/// Rows of a block.
const ROWS: usize = 12 * GROUP;

/// Rows that are multiplied before the next are looked at; bounds the memory for their copy.
const ROWS_AT_ONCE: usize = 8 * ROWS;

/// Elements that one thread copies faster than several start to.
const ONE_THREAD: usize = 1 << 16;

/// A weight matrix in the order in which the product's inner loop reads it.
///
/// Packing costs about as much as a product with a few rows, so it is done once, at load, and every
/// layer that shares the weights shares the packed copy. It lies in panels of as many outputs as
/// two vectors hold, each panel `[inputs, 2 * lanes]`, what is missing in the last filled with
/// zeros.
///
/// # The same bits for a row, whatever is beside it
///
/// An element of a product is a sum over the inputs in blocks of 768, or of 256 with AVX-512, each
/// block summed in order by multiply-adds from zero, the blocks added in order, then the bias. Tile
/// heights, blocks of rows and the split over threads decide which thread computes an element, not
/// how.
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

        for first in (0..rows).step_by(ROWS_AT_ONCE) {
            let rows = first..rows.min(first + ROWS_AT_ONCE);
            let x = &x[rows.start * self.inputs..rows.end * self.inputs];
            let out = &mut out[rows.start * self.outputs..rows.end * self.outputs];
            let mut copied = COPIED_ROWS.take();
            self.copy(x, rows.len(), &mut copied);
            self.run_copied(&copied, bias, activation, out);
            COPIED_ROWS.set(copied);
        }
    }

    /// Copies rows so that each group's blocks of depth lie together:
    /// `[groups, depths, GROUP, stride]`.
    fn copy(&self, x: &[f32], rows: usize, copied: &mut Vec<f32>) {
        let group_len = self.group_len();
        let len = rows.div_ceil(GROUP) * group_len;
        copied.resize(copied.len().max(len), 0.0);
        let (depth, stride) = (depth(self.width), stride(self.width));
        let copy = |(group, copied): (usize, &mut [f32])| {
            for row in group * GROUP..rows.min((group + 1) * GROUP) {
                let x = &x[row * self.inputs..][..self.inputs];
                for (index, x) in x.chunks(depth).enumerate() {
                    let first = (index * GROUP + row % GROUP) * stride;
                    copied[first..first + x.len()].copy_from_slice(x);
                }
            }
        };
        let groups = &mut copied[..len];
        if x.len() < ONE_THREAD {
            groups
                .chunks_exact_mut(group_len)
                .enumerate()
                .for_each(copy);
        } else {
            groups
                .par_chunks_exact_mut(group_len)
                .enumerate()
                .for_each(copy);
        }
    }

    /// Elements of a copied group of rows.
    fn group_len(&self) -> usize {
        self.inputs.div_ceil(depth(self.width)).max(1) * GROUP * stride(self.width)
    }

    fn run_copied(
        &self,
        copied: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        out: &mut [f32],
    ) {
        let rows = out.len() / self.outputs;
        let panels = self.outputs.div_ceil(self.width);
        let out = OutPointer(out.as_mut_ptr());
        in_blocks(rows, GROUP, ROWS, panels, |rows, panels| {
            Block {
                matrix: self,
                copied,
                bias,
                activation,
                rows,
                panels,
                out,
            }
            .dispatch();
        });
    }
}

thread_local! {
    /// Memory for [`PackedMatrix::copy`].
    static COPIED_ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A block of rows times a group of panels.
struct Block<'a> {
    matrix: &'a PackedMatrix,
    /// `[groups, depths, GROUP, stride]`
    copied: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    /// Starts at a group's first row.
    rows: Range<usize>,
    panels: Range<usize>,
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
        let group_len = self.matrix.group_len();
        let copied = &self.copied[self.rows.start / GROUP * group_len..];
        // Results of the last panel if it is not full, kept here from one block of depth to the
        // next.
        let mut partial = [0.0; ROWS * 2 * tile::MAX_LANES];

        // Known when this is compiled.
        let (most, stride) = (depth(tile::width(isa)), stride(tile::width(isa)));
        let mut first = 0;
        loop {
            let depth = most.min(inputs - first);
            for index in self.panels.clone() {
                let panel = &data[start + (index * inputs + first) * width..][..depth * width];
                let pass = Pass {
                    copied: &copied[first / most * GROUP * stride..],
                    group_len,
                    panel,
                    next: panel.as_ptr().wrapping_add(inputs * width),
                    depth,
                    add: first > 0,
                };
                let columns = index * width..outputs.min((index + 1) * width);
                let full = columns.len() == width;
                let target = if full {
                    // SAFETY: the block's rows and columns are inside the `[rows, outputs]`
                    // elements of the result, which `run` checked.
                    let first =
                        unsafe { self.out.0.add(self.rows.start * outputs + columns.start) };
                    Target {
                        first,
                        stride: outputs,
                        rows: count,
                    }
                } else {
                    Target {
                        first: partial.as_mut_ptr(),
                        stride: width,
                        rows: count,
                    }
                };
                // SAFETY: the target is in the result, where this block alone writes these
                // elements, or in `partial`, which has room for ROWS rows of a panel's width.
                unsafe { pass.run(isa, target) };
                if first + depth < inputs {
                    continue;
                }
                let mut bias = [0.0; 2 * tile::MAX_LANES];
                if let Some(values) = self.bias {
                    bias[..columns.len()].copy_from_slice(&values[columns.clone()]);
                }
                for row in 0..count {
                    // SAFETY: as above; nothing else refers to these elements meanwhile.
                    let row = unsafe {
                        let first = target.first.add(row * target.stride);
                        std::slice::from_raw_parts_mut(first, width)
                    };
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

/// The part of a panel's product that one block of depth adds.
struct Pass<'a> {
    /// The block of depth of the first group of rows; the next group's is `group_len` on.
    copied: &'a [f32],
    group_len: usize,
    /// `[depth, width]`
    panel: &'a [f32],
    /// Where the panel starts that will be multiplied next.
    next: *const f32,
    depth: usize,
    /// Whether to add to what the target holds, or to replace it.
    add: bool,
}

/// Where a panel's results go: `rows` rows of its width, `stride` apart.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    stride: usize,
    rows: usize,
}

impl Pass<'_> {
    /// Multiplies, tile by tile. The first tiles fetch the next panel: weights that all lie in the
    /// third cache or beyond would else keep the first tile of every panel waiting.
    ///
    /// # Safety
    /// The target must be valid for reads and writes of its rows.
    #[inline(always)]
    unsafe fn run<I: Isa>(&self, isa: I, target: Target) {
        let &Pass {
            copied,
            group_len,
            panel,
            next,
            depth,
            add,
        } = self;
        let tallest = tile::height(isa);
        let stride = stride(tile::width(isa));
        // A tile fetches a line a unit of depth, so it takes `width / LINE` tiles.
        let mut wanted = next..next.wrapping_add(panel.len());
        let mut row = 0;
        while row < target.rows {
            let rows = &copied[row / GROUP * group_len + row % GROUP * stride..];
            let mut ahead = panel.as_ptr();
            if wanted.start < wanted.end {
                ahead = wanted.start;
                wanted.start = wanted.start.wrapping_add(depth * LINE);
            }
            macro_rules! tile {
                ($height:literal) => {{
                    let sums = tile::<I, $height>(isa, rows, stride, panel, depth, ahead);
                    // SAFETY: the tile is no taller than what is left of the target's rows.
                    unsafe {
                        let first = target.first.add(row * target.stride);
                        store::<I, $height>(isa, &sums, first, target.stride, add);
                    }
                    $height
                }};
            }
            row += match target.rows - row {
                12.. if tallest == 12 => tile!(12),
                8.. if tallest == 12 => tile!(8),
                6.. => tile!(6),
                4.. => tile!(4),
                2.. => tile!(2),
                _ => tile!(1),
            };
        }
    }
}

/// Writes a tile's sums to rows `stride` apart, or with `add` adds them.
///
/// # Safety
/// The rows must be valid for reads and writes.
#[inline(always)]
unsafe fn store<I: Isa, const HEIGHT: usize>(
    isa: I,
    sums: &[[I::F32; 2]; HEIGHT],
    first: *mut f32,
    stride: usize,
    add: bool,
) {
    let ops = isa.f32();
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: r < HEIGHT, and two vectors are a panel's width.
            unsafe {
                let target = first.add(r * stride + v * ops.len());
                let sum = if add {
                    ops.add(ops.load_ptr(target), *sum)
                } else {
                    *sum
                };
                ops.store_ptr(sum, target);
            }
        }
    }
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
