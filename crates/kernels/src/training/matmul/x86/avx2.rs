//! The inner kernel for AVX2: f32.

use std::arch::x86_64::*;

use super::super::pack::{Pack, pack_f32};
use super::super::{DEPTH, Kernel, LeftLayout, Tile};
use super::{fetch_ahead, pack_turned};

/// 6 rows by two vectors of 8: 12 sums and three more in 16 registers.
const ROWS: usize = 6;
const COLUMNS: usize = 16;

pub(crate) const AVX2: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    unit: 1,
    panels_together: 4,
    reads_rows: true,
    pack_left,
    pack_right,
    tile,
};

#[target_feature(enable = "avx2")]
fn pack_left(pack: Pack<'_>) {
    let by_rows = pack.depth_contiguous;
    pack_f32::<ROWS>(pack, by_rows);
}

#[target_feature(enable = "avx2")]
fn pack_right(pack: Pack<'_>) {
    if !pack.depth_contiguous {
        return pack_f32::<COLUMNS>(pack, false);
    }
    // SAFETY: `pack_turned` hands over 8 rows of 8 numbers of both, and this function's features
    // include the callee's.
    pack_turned::<COLUMNS, 8>(pack, |from, stride, to| unsafe {
        transpose_square(from.as_ptr(), stride, to.as_mut_ptr());
    });
}

/// Writes 8 rows of 8 numbers, which lie `stride` apart, as the columns of rows of [`COLUMNS`].
///
/// # Safety
/// The 8 rows are there to be read, and to be written.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn transpose_square(from: *const f32, stride: usize, to: *mut u32) {
    // SAFETY: the caller's promise.
    let rows: [__m256; 8] =
        std::array::from_fn(|row| unsafe { _mm256_loadu_ps(from.add(row * stride)) });
    // Within each half of a vector: number k of rows 4 g to 4 g + 3, at k, for both g.
    let quads = |rows: &[__m256]| {
        let low = [
            _mm256_castps_pd(_mm256_unpacklo_ps(rows[0], rows[1])),
            _mm256_castps_pd(_mm256_unpacklo_ps(rows[2], rows[3])),
        ];
        let high = [
            _mm256_castps_pd(_mm256_unpackhi_ps(rows[0], rows[1])),
            _mm256_castps_pd(_mm256_unpackhi_ps(rows[2], rows[3])),
        ];
        [
            _mm256_castpd_ps(_mm256_unpacklo_pd(low[0], low[1])),
            _mm256_castpd_ps(_mm256_unpackhi_pd(low[0], low[1])),
            _mm256_castpd_ps(_mm256_unpacklo_pd(high[0], high[1])),
            _mm256_castpd_ps(_mm256_unpackhi_pd(high[0], high[1])),
        ]
    };
    let (upper, lower) = (quads(&rows[..4]), quads(&rows[4..]));
    for (k, (upper, lower)) in upper.into_iter().zip(lower).enumerate() {
        let near = _mm256_permute2f128_ps::<0x20>(upper, lower);
        let far = _mm256_permute2f128_ps::<0x31>(upper, lower);
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to.add(k * COLUMNS).cast(), near);
            _mm256_storeu_ps(to.add((4 + k) * COLUMNS).cast(), far);
        }
    }
}

/// # Safety
/// As `super::tile_f32`.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile(tile: &Tile) {
    // SAFETY: as in `super::tile_f32`.
    unsafe {
        match tile.left_layout {
            LeftLayout::Rows => compute::<1>(tile, DEPTH),
            LeftLayout::Depths => compute::<ROWS>(tile, 1),
            LeftLayout::Source(stride) => compute::<1>(tile, stride),
        }
    }
}

/// # Safety
/// As `super::tile_f32`; element (row, depth) of the left side is at `row * row_step + depth * STEP`.
#[target_feature(enable = "avx2,fma")]
unsafe fn compute<const STEP: usize>(tile: &Tile, row_step: usize) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    // SAFETY: the left side holds `depth` units of every row that the tile has (those that it
    // lacks are read as its last one), the right panel of every column.
    unsafe {
        let last = tile.rows.saturating_sub(1);
        let rows: [*const f32; ROWS] =
            std::array::from_fn(|row| tile.left.cast::<f32>().add(row.min(last) * row_step));
        let mut right = tile.right.cast::<f32>();
        let mut d = 0;
        macro_rules! unit {
            () => {{
                let (low, high) = (_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8)));
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let spread = _mm256_set1_ps(*row.add(d * STEP));
                    sums[0] = _mm256_fmadd_ps(spread, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(spread, high, sums[1]);
                }
                right = right.add(COLUMNS);
                d += 1;
            }};
        }
        // As in `super::compute_f32`.
        let mut out = tile.out.cast_const();
        while d < tile.rows.min(tile.depth) {
            _mm_prefetch::<_MM_HINT_ET0>(out.cast());
            _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(COLUMNS - 1).cast());
            out = out.wrapping_add(tile.stride);
            unit!();
        }
        while d < tile.depth {
            fetch_ahead(tile, d);
            unit!();
        }
        // A copy, as in `super::compute_f32`.
        let done = sums;
        if tile.rows == ROWS && tile.columns == COLUMNS {
            store_whole(tile, &done);
        } else {
            store_part(tile, &done);
        }
    }
}

/// # Safety
/// As `super::tile_f32`; the tile is whole.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_whole(tile: &Tile, sums: &[[__m256; 2]; ROWS]) {
    // SAFETY: all rows and columns lie within `out`, and within the bias if any.
    unsafe {
        let mut start = [_mm256_setzero_ps(); 2];
        if !tile.bias.is_null() {
            start = [
                _mm256_loadu_ps(tile.bias),
                _mm256_loadu_ps(tile.bias.add(8)),
            ];
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = tile.out.add(row * tile.stride);
            if tile.add {
                start = [_mm256_loadu_ps(out), _mm256_loadu_ps(out.add(8))];
            }
            _mm256_storeu_ps(out, _mm256_add_ps(start[0], sums[0]));
            _mm256_storeu_ps(out.add(8), _mm256_add_ps(start[1], sums[1]));
        }
    }
}

/// # Safety
/// As `super::tile_f32`.
#[target_feature(enable = "avx2")]
#[cold]
unsafe fn store_part(tile: &Tile, sums: &[[__m256; 2]; ROWS]) {
    let mut block = [[0.0_f32; COLUMNS]; ROWS];
    for (block, sums) in block.iter_mut().zip(sums) {
        // SAFETY: a row of the block is two vectors long.
        unsafe {
            _mm256_storeu_ps(block.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(block.as_mut_ptr().add(8), sums[1]);
        }
    }
    for (row, sums) in block.iter().enumerate().take(tile.rows) {
        // SAFETY: the tile's rows and columns lie within `out`, and within the bias if any.
        unsafe {
            let out = tile.out.add(row * tile.stride);
            for (column, sum) in sums.iter().enumerate().take(tile.columns) {
                let start = match (tile.add, tile.bias.is_null()) {
                    (true, _) => *out.add(column),
                    (false, true) => 0.0,
                    (false, false) => *tile.bias.add(column),
                };
                out.add(column).write(start + sum);
            }
        }
    }
}
