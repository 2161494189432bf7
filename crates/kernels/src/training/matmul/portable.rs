//! The inner kernel in plain Rust, which compilers turn into what the target has.

use super::pack::{Pack, pack_f32};
use super::{DEPTH, Kernel, LeftLayout, Tile};

const ROWS: usize = 4;
const COLUMNS: usize = 16;

pub(super) const KERNEL: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    unit: 1,
    panels_together: 4,
    reads_rows: true,
    pack_left,
    pack_right,
    tile,
};

fn pack_left(pack: Pack<'_>) {
    let by_rows = pack.depth_contiguous;
    pack_f32::<ROWS>(pack, by_rows);
}

fn pack_right(pack: Pack<'_>) {
    pack_f32::<COLUMNS>(pack, false);
}

/// # Safety
/// The panels of `tile` are full and its part of `out` is writable.
unsafe fn tile(tile: &Tile) {
    // SAFETY: the caller's promise, and the strides are those that packing wrote.
    unsafe {
        match tile.left_layout {
            LeftLayout::Rows => compute(tile, DEPTH, 1),
            LeftLayout::Depths => compute(tile, 1, ROWS),
            LeftLayout::Source(stride) => compute(tile, stride, 1),
        }
    }
}

/// # Safety
/// As `tile`; element (row, depth) of the left panel is at `row * row_step + depth * depth_step`.
#[inline(always)]
unsafe fn compute(tile: &Tile, row_step: usize, depth_step: usize) {
    let mut sums = [[0.0_f32; COLUMNS]; ROWS];
    // Rows that the tile lacks are read as its last one; their sums are not stored.
    let last = tile.rows.saturating_sub(1);
    for d in 0..tile.depth {
        // SAFETY: the caller's promise.
        let right = unsafe { &*tile.right.add(d * COLUMNS).cast::<[f32; COLUMNS]>() };
        for (row, sums) in sums.iter_mut().enumerate() {
            let at = row.min(last) * row_step + d * depth_step;
            // SAFETY: as above.
            let left = unsafe { *tile.left.add(at).cast::<f32>() };
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: the tile's rows and columns lie within `out`, and within the bias if any.
        unsafe {
            let out = tile.out.add(row * tile.stride);
            for (column, sum) in sums.iter().enumerate().take(tile.columns) {
                let start = if tile.add {
                    *out.add(column)
                } else if tile.bias.is_null() {
                    0.0
                } else {
                    *tile.bias.add(column)
                };
                *out.add(column) = start + sum;
            }
        }
    }
}
