//! Matrix products for learning: either side may be transposed, and nothing is known ahead.
//!
//! The usual scheme (Goto and van de Geijn 2008): both sides are copied into panels that the
//! inner kernel reads in order, then tiles of the result are computed in parallel. Depth is cut
//! at multiples of `DEPTH` and added up in order, so that no result depends on the tiles or on
//! the number of threads.
//!
//! Panels are made of 32-bit units along the depth: one f32, or two bf16 where the processor
//! multiplies pairs of them into f32 sums. That doubles the rate; the sums stay f32.

// Inner kernels are called through pointers and write disjoint tiles of one matrix.
#![allow(unsafe_code)]

mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::Cell;
use std::marker::PhantomData;

use pack::{Pack, Side, aligned, pack_all};
use rayon::prelude::*;

/// Units of depth in one pass of the inner kernel: a panel of the right side of 32 columns is
/// then 32 kB, what a first-level cache holds.
const DEPTH: usize = 256;

/// Units of a cache line.
const LINE: usize = 16;

/// f32s of a page: addresses so far apart share a set of a first-level cache.
const PAGE: usize = 1024;

/// How numbers enter a product; sums are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16 where the processor is faster so (AVX512-BF16 on AMD), else as they are.
    Bf16,
}

/// A matrix lying in a slice, row by row or (transposed) column by column.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Elements from one row to the next, where rows are contiguous; else from one column to the
    /// next.
    stride: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `rows` times `columns` numbers, row by row.
    ///
    /// # Panics
    /// `data` holds another count of numbers.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        let held = rows.checked_mul(columns);
        assert_eq!(Some(data.len()), held, "a {rows} x {columns} matrix");
        Self::strided(data, rows, columns, columns)
    }

    /// Rows of `columns` numbers that start `stride` apart.
    ///
    /// # Panics
    /// `data` is too short, or rows overlap.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(
            stride >= columns,
            "rows of {columns} that start {stride} apart"
        );
        if let Some(last) = rows.checked_sub(1) {
            let end = last
                .checked_mul(stride)
                .and_then(|at| at.checked_add(columns));
            assert!(
                end.is_some_and(|end| end <= data.len()),
                "a {rows} x {columns} matrix"
            );
        }
        Self {
            data,
            rows,
            columns,
            stride,
            transposed: false,
        }
    }

    /// The same numbers with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }
}

/// What the product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// One number a column, the same in every row.
    Bias(&'a [f32]),
}

impl Start<'_> {
    /// # Panics
    /// It is a bias of another length than the product has columns.
    fn check(self, columns: usize) {
        if let Start::Bias(bias) = self {
            assert_eq!(bias.len(), columns, "bias of a product");
        }
    }
}

/// The product of `a` `[m, k]` and `b` `[k, n]` plus `start`: `[m, n]`, row by row.
///
/// # Panics
/// The shapes do not fit.
pub fn matmul(precision: Precision, a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>) -> Vec<f32> {
    let (m, n) = (a.rows, b.columns);
    start.check(n);
    // SAFETY: `run` writes all m * n elements.
    unsafe {
        written(m * n, n, |out| {
            run(kernel(precision), a, b, Begin::At(start), out.target, true);
        })
    }
}

/// Adds the product of `a` `[m, k]` and `b` `[k, n]` to `out` `[m, n]`, row by row.
///
/// # Panics
/// The shapes do not fit.
pub fn add_matmul(precision: Precision, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    assert_eq!(out.len(), a.rows * b.columns, "result of a product");
    let target = Target {
        data: out.as_mut_ptr(),
        stride: b.columns,
    };
    run(kernel(precision), a, b, Begin::Held, target, true);
}

/// The right side of products, packed once for all of them.
#[derive(Debug)]
pub struct Packed {
    kernel: Kernel,
    depth: usize,
    columns: usize,
    panels: Vec<u32>,
}

impl Packed {
    /// Packs `matrix` for products in `precision`.
    pub fn new(precision: Precision, matrix: Matrix<'_>) -> Self {
        let kernel = kernel(precision);
        let mut panels = Vec::new();
        pack_all(kernel, matrix, Side::Right, &mut panels, true);
        Self {
            kernel,
            depth: matrix.rows,
            columns: matrix.columns,
            panels,
        }
    }
}

/// [`matmul`] with a right side that is packed already, to the same bits.
///
/// # Panics
/// The shapes do not fit.
pub fn matmul_packed(a: Matrix<'_>, b: &Packed, start: Start<'_>) -> Vec<f32> {
    let (m, n) = (a.rows, b.columns);
    assert_eq!(a.columns, b.depth, "depth of a product");
    start.check(n);
    // SAFETY: `multiply` writes all m * n elements.
    unsafe {
        written(m * n, n, |out| {
            let (panels, begin) = (aligned(&b.panels), Begin::At(start));
            multiply(b.kernel, a, panels, n, begin, out.target, true);
        })
    }
}

/// A matrix whose disjoint parts several tasks write.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    target: Target,
    length: usize,
    life: PhantomData<&'a mut f32>,
}

impl Shared<'_> {
    /// Elements from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.target.stride
    }
}

/// A new slice of `count` numbers that `write` fills, as a matrix whose rows start `stride` apart.
///
/// # Safety
/// `write` writes every number.
pub(super) unsafe fn written(
    count: usize,
    stride: usize,
    write: impl FnOnce(Shared<'_>),
) -> Vec<f32> {
    let mut numbers: Vec<f32> = Vec::with_capacity(count);
    write(Shared {
        target: Target {
            data: numbers.as_mut_ptr(),
            stride,
        },
        length: count,
        life: PhantomData,
    });
    // SAFETY: there is capacity for `count` numbers, and the caller's `write` wrote them all.
    unsafe { numbers.set_len(count) };
    numbers
}

/// The product of two small matrices on this thread, written to `out` from element `first` on.
///
/// # Safety
/// Tasks that write to one `out` at the same time write different elements.
///
/// # Panics
/// The shapes do not fit.
pub(super) unsafe fn multiply_alone(
    precision: Precision,
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: Shared<'_>,
    first: usize,
) {
    assert_eq!(a.columns, b.rows, "depth of a product");
    let stride = out.target.stride;
    let end = first + a.rows.saturating_sub(1) * stride + b.columns;
    assert!(
        end <= out.length && b.columns <= stride,
        "result of a product"
    );
    let target = Target {
        // SAFETY: within the slice, as checked above.
        data: unsafe { out.target.data.add(first) },
        stride,
    };
    run(
        kernel(precision),
        a,
        b,
        Begin::At(Start::Zero),
        target,
        false,
    );
}

/// What an element begins with.
#[derive(Clone, Copy)]
enum Begin<'a> {
    At(Start<'a>),
    /// What lies in its place.
    Held,
}

/// An inner kernel and how its panels are packed.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// Rows and columns of the tile that it computes.
    rows: usize,
    columns: usize,
    /// Elements in a unit of depth.
    unit: usize,
    /// Panels that one call packs: where lanes are neighbours in the source, neighbouring panels
    /// share its cache lines.
    panels_together: usize,
    /// Whether the tile also reads rows of the left side where they lie, without packing.
    reads_rows: bool,
    /// Packs `rows` rows by some depth of the left side.
    pack_left: unsafe fn(Pack<'_>),
    /// Packs `columns` columns by some depth of the right side, `[depth][columns]`.
    pack_right: unsafe fn(Pack<'_>),
    tile: unsafe fn(&Tile),
}

/// One call of the inner kernel.
struct Tile {
    depth: usize,
    left: *const u32,
    left_layout: LeftLayout,
    right: *const u32,
    out: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
    /// The bias at this tile's first column, or null.
    bias: *const f32,
    /// Whether to add to what `out` holds.
    add: bool,
    /// Bytes that a later tile reads, to be fetched into the cache meanwhile: so many a unit of
    /// depth, from here on.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ahead: *const u8,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ahead_step: usize,
}

/// How the left side lies before a tile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeftLayout {
    /// A panel `[row][DEPTH]`.
    Rows,
    /// A panel `[depth][row]`.
    Depths,
    /// Not packed: rows of the matrix, so many elements apart. Only before kernels that read it.
    Source(usize),
}

#[derive(Clone, Copy)]
struct Target {
    data: *mut f32,
    stride: usize,
}

impl Target {
    fn at(self, row: usize, column: usize) -> *mut f32 {
        self.data.wrapping_add(row * self.stride + column)
    }
}

// SAFETY: tasks write disjoint tiles of what the pointer leads to, and `run` outlives them.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// Whether [`Precision::Bf16`] multiplies pairs of bf16 on this processor, where it would else change
/// nothing.
pub fn multiplies_bf16() -> bool {
    kernel(Precision::Bf16).unit == 2
}

/// The best kernel of this processor.
fn kernel(precision: Precision) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = x86::kernel(precision) {
        return kernel;
    }
    let _ = precision;
    portable::KERNEL
}

thread_local! {
    /// Panels of the last product's sides, kept for the next. Taken while in use: a task may be run
    /// in the middle of another on the same thread.
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

fn run(
    kernel: Kernel,
    a: Matrix<'_>,
    b: Matrix<'_>,
    begin: Begin<'_>,
    out: Target,
    parallel: bool,
) {
    assert_eq!(a.columns, b.rows, "depth of a product");
    let mut right = RIGHT.take();
    pack_all(kernel, b, Side::Right, &mut right, parallel);
    let panels = aligned(&right);
    multiply(kernel, a, panels, b.columns, begin, out, parallel);
    RIGHT.set(right);
}

/// Computes the tiles of a product of `a` and `n` columns that are packed in `right_used`; `a` is
/// packed where the kernel does not read it as it lies.
fn multiply(
    kernel: Kernel,
    a: Matrix<'_>,
    right_used: &[u32],
    n: usize,
    begin: Begin<'_>,
    out: Target,
    parallel: bool,
) {
    let (m, depth) = (a.rows, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    if depth == 0 {
        fill(begin, out, m, n);
        return;
    }
    let units = depth.div_ceil(kernel.unit);
    let passes = units.div_ceil(DEPTH);
    let left_panels = m.div_ceil(kernel.rows);
    let right_panels = n.div_ceil(kernel.columns);
    let left_panel = kernel.rows * DEPTH;
    let right_panel = kernel.columns * DEPTH;

    let left_layout = match a.transposed {
        true => LeftLayout::Depths,
        // Rows a multiple of a page apart would all fall into the same few lines of the first
        // cache, which packing spreads.
        false if kernel.reads_rows && !a.stride.is_multiple_of(PAGE) => {
            LeftLayout::Source(a.stride)
        }
        false => LeftLayout::Rows,
    };
    let mut left = LEFT.take();
    if !matches!(left_layout, LeftLayout::Source(_)) {
        pack_all(kernel, a, Side::Left, &mut left, parallel);
    }
    let left_used = aligned(&left);
    let (tile_rows, tile_columns) = match parallel {
        true => tiling(left_panels, right_panels),
        false => (left_panels, right_panels),
    };
    let across = right_panels.div_ceil(tile_columns.max(1));
    let tiles = left_panels.div_ceil(tile_rows.max(1)) * across;
    let stride = out.stride;
    let compute = |tile: usize| {
        let (first_left, first_right) = (tile / across * tile_rows, tile % across * tile_columns);
        let lefts = first_left..(first_left + tile_rows).min(left_panels);
        for pass in 0..passes {
            let depth = DEPTH.min(units - pass * DEPTH);
            for j in first_right..(first_right + tile_columns).min(right_panels) {
                let right = &right_used[(pass * right_panels + j) * right_panel..];
                // While this panel meets the left ones, each fetches its share of the next.
                let next = right[right_panel.min(right.len() - right_panel)..].as_ptr();
                let ahead_step = (size_of::<u32>() * right_panel).div_ceil(lefts.len() * depth);
                let column = j * kernel.columns;
                let bias = match begin {
                    Begin::At(Start::Bias(bias)) if pass == 0 => bias[column..].as_ptr(),
                    _ => std::ptr::null(),
                };
                for i in lefts.clone() {
                    let ahead = (i - first_left) * depth * ahead_step;
                    let row = i * kernel.rows;
                    let left = match left_layout {
                        LeftLayout::Source(stride) => {
                            let at = row * stride + pass * DEPTH;
                            // SAFETY: `Matrix` holds the row, and the depth from here on.
                            unsafe { a.data.as_ptr().add(at).cast() }
                        }
                        _ => left_used[(pass * left_panels + i) * left_panel..].as_ptr(),
                    };
                    let tile = Tile {
                        depth,
                        left,
                        left_layout,
                        right: right.as_ptr(),
                        out: out.at(row, column),
                        stride,
                        rows: kernel.rows.min(m - row),
                        columns: kernel.columns.min(n - column),
                        bias,
                        add: pass > 0 || matches!(begin, Begin::Held),
                        ahead: next.cast::<u8>().wrapping_add(ahead),
                        ahead_step,
                    };
                    // SAFETY: the kernel was chosen for this processor's features; both panels
                    // are full; the tile lies within `out` and belongs to this task alone.
                    unsafe { (kernel.tile)(&tile) };
                }
            }
        }
    };
    if parallel {
        (0..tiles).into_par_iter().with_max_len(1).for_each(compute);
    } else {
        (0..tiles).for_each(compute);
    }
    LEFT.set(left);
}

/// A product over no depth: where it starts from.
fn fill(begin: Begin<'_>, out: Target, m: usize, n: usize) {
    for row in 0..m {
        for column in 0..n {
            let value = match begin {
                Begin::At(Start::Zero) => 0.0,
                Begin::At(Start::Bias(bias)) => bias[column],
                Begin::Held => continue,
            };
            // SAFETY: `out` is `m` by `n`.
            unsafe { out.at(row, column).write(value) };
        }
    }
}

/// Panels down and across in one task: blocks of the left side that a second-level cache holds
/// beside a strip of the right, and several tasks a thread.
fn tiling(left_panels: usize, right_panels: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    let (mut down, mut across) = (12.min(left_panels), 16.min(right_panels));
    let tasks =
        |down: usize, across: usize| left_panels.div_ceil(down) * right_panels.div_ceil(across);
    while threads > 1 && tasks(down, across) < 8 * threads && (down > 4 || across > 2) {
        if across > 2 && across * 2 >= down {
            across = across.div_ceil(2);
        } else {
            down = down.div_ceil(2);
        }
    }
    (down.max(1), across.max(1))
}

#[cfg(test)]
mod tests;
