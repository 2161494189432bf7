//! Inner kernels for AVX-512: f32, and pairs of bf16. Those for AVX2 are beside them.

mod avx2;

use std::arch::x86_64::*;
use std::sync::OnceLock;

pub(super) use avx2::AVX2;

use super::pack::{Pack, pack_f32};
use super::{DEPTH, Kernel, LeftLayout, Precision, Tile};

/// The best kernel that this processor runs, if it is better than the portable one.
pub(super) fn kernel(precision: Precision) -> Option<Kernel> {
    static FEATURES: OnceLock<(bool, bool, bool)> = OnceLock::new();
    let &(avx2, avx512, bf16) = FEATURES.get_or_init(|| {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        (
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            avx512,
            avx512 && is_x86_feature_detected!("avx512bf16") && !is_intel(),
        )
    });
    match precision {
        Precision::Bf16 if bf16 => Some(AVX512_BF16),
        _ if avx512 => Some(AVX512),
        _ if avx2 => Some(AVX2),
        _ => None,
    }
}

/// Whether Intel made this processor. Its products of bf16 pairs gained nothing and paid for the
/// rounding: on two cores of a Xeon with AMX a step of base took 1.3 to 1.6 times as long with them.
fn is_intel() -> bool {
    let leaf = __cpuid(0);
    let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    vendor.concat() == b"GenuineIntel"
}

/// 12 rows by two vectors: 24 sums, two vectors of the right side and one spread number of the
/// left in 32 registers.
const ROWS: usize = 12;
const COLUMNS: usize = 32;

const AVX512: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    unit: 1,
    panels_together: 16,
    reads_rows: true,
    pack_left: pack_left_f32,
    pack_right: pack_right_f32,
    tile: tile_f32,
};

pub(super) const AVX512_BF16: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    unit: 2,
    panels_together: 1,
    reads_rows: false,
    pack_left: pack_left_bf16,
    pack_right: pack_right_bf16,
    tile: tile_bf16,
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_left_f32(pack: Pack<'_>) {
    let by_rows = pack.depth_contiguous;
    pack_f32::<ROWS>(pack, by_rows);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_right_f32(pack: Pack<'_>) {
    if !pack.depth_contiguous {
        return pack_f32::<COLUMNS>(pack, false);
    }
    // SAFETY: `pack_turned` hands over 16 rows of 16 numbers of both, and this function's features
    // include the callee's.
    pack_turned::<COLUMNS, 16>(pack, |from, stride, to| unsafe {
        transpose_square(from.as_ptr(), stride, to.as_mut_ptr());
    });
}

/// Packs a right side whose elements of one column are neighbours: squares of `SIDE` by `SIDE`
/// numbers are turned by `turn`, the edges number by number.
///
/// `turn` reads `SIDE` rows of `SIDE` numbers, which lie so far apart as it is told, and writes them
/// as columns of rows that lie `WIDTH` apart.
#[inline(always)]
fn pack_turned<const WIDTH: usize, const SIDE: usize>(
    pack: Pack<'_>,
    turn: impl Fn(&[f32], usize, &mut [u32]),
) {
    let squares = pack.depth - pack.depth % SIDE;
    for (index, out) in pack.out.chunks_exact_mut(WIDTH * DEPTH).enumerate() {
        let first = index * WIDTH;
        let lanes = WIDTH.min(pack.lanes - first);
        if lanes < WIDTH {
            out[..pack.depth * WIDTH].fill(0);
        }
        let whole = lanes - lanes % SIDE;
        for lane in (0..whole).step_by(SIDE) {
            for d in (0..squares).step_by(SIDE) {
                let at = (pack.lane + first + lane) * pack.stride + pack.from + d;
                let from = &pack.source[at..at + (SIDE - 1) * pack.stride + SIDE];
                let to = &mut out[d * WIDTH + lane..][..(SIDE - 1) * WIDTH + SIDE];
                turn(from, pack.stride, to);
            }
        }
        for lane in 0..lanes {
            let at = (pack.lane + first + lane) * pack.stride + pack.from;
            let values = &pack.source[at..at + pack.depth];
            let done = if lane < whole { squares } else { 0 };
            let to = out[done * WIDTH..].chunks_exact_mut(WIDTH);
            for (to, value) in to.zip(&values[done..]) {
                to[lane] = value.to_bits();
            }
        }
    }
}

/// Writes 16 rows of 16 numbers, which lie `stride` apart, as the columns of rows of [`COLUMNS`].
///
/// # Safety
/// The 16 rows are there to be read, and to be written.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transpose_square(from: *const f32, stride: usize, to: *mut u32) {
    // SAFETY: the caller's promise.
    let rows: [__m512; 16] =
        std::array::from_fn(|row| unsafe { _mm512_loadu_ps(from.add(row * stride)) });
    // Within each quarter of a vector: number k of rows 4 g to 4 g + 3, for every g, at 4 g + k.
    let mut quads = [_mm512_setzero_ps(); 16];
    for (rows, quads) in rows
        .as_chunks::<4>()
        .0
        .iter()
        .zip(quads.as_chunks_mut::<4>().0)
    {
        let low = [
            _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1])),
            _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3])),
        ];
        let high = [
            _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1])),
            _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3])),
        ];
        *quads = [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1])),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1])),
            _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1])),
            _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1])),
        ];
    }
    // Quarters 0 and 2 of two vectors, or 1 and 3.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    for k in 0..4 {
        let (a, b, c, d) = (quads[k], quads[4 + k], quads[8 + k], quads[12 + k]);
        let even = [
            _mm512_shuffle_f32x4::<EVEN>(a, b),
            _mm512_shuffle_f32x4::<EVEN>(c, d),
        ];
        let odd = [
            _mm512_shuffle_f32x4::<ODD>(a, b),
            _mm512_shuffle_f32x4::<ODD>(c, d),
        ];
        let columns = [
            _mm512_shuffle_f32x4::<EVEN>(even[0], even[1]),
            _mm512_shuffle_f32x4::<EVEN>(odd[0], odd[1]),
            _mm512_shuffle_f32x4::<ODD>(even[0], even[1]),
            _mm512_shuffle_f32x4::<ODD>(odd[0], odd[1]),
        ];
        for (quarter, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((4 * quarter + k) * COLUMNS).cast(), column) };
        }
    }
}

/// # Safety
/// The panels of `tile` are full and its part of `out` is writable.
#[target_feature(enable = "avx512f")]
unsafe fn tile_f32(tile: &Tile) {
    // SAFETY: the caller's promise, and the strides are those that packing wrote.
    unsafe {
        match tile.left_layout {
            LeftLayout::Rows => compute_f32::<1>(tile, DEPTH),
            LeftLayout::Depths => compute_f32::<ROWS>(tile, 1),
            LeftLayout::Source(stride) => compute_f32::<1>(tile, stride),
        }
    }
}

/// # Safety
/// As `tile_f32`; element (row, depth) of the left side is at `row * row_step + depth * STEP`.
#[target_feature(enable = "avx512f")]
unsafe fn compute_f32<const STEP: usize>(tile: &Tile, row_step: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
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
                let (low, high) = (_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16)));
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let spread = _mm512_set1_ps(*row.add(d * STEP));
                    sums[0] = _mm512_fmadd_ps(spread, low, sums[0]);
                    sums[1] = _mm512_fmadd_ps(spread, high, sums[1]);
                }
                right = right.add(COLUMNS);
                d += 1;
            }};
        }
        // A row of the result is asked for every two units: all at once they would keep the left
        // side waiting.
        let mut out = tile.out.cast_const();
        while d < (2 * tile.rows).min(tile.depth - tile.depth % 2) {
            _mm_prefetch::<_MM_HINT_ET0>(out.cast());
            _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(16).cast());
            unit!();
            _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(COLUMNS - 1).cast());
            out = out.wrapping_add(tile.stride);
            unit!();
        }
        while d < tile.depth {
            fetch_ahead(tile, d);
            unit!();
        }
        // A copy, or the address of the sums would keep one of them in memory inside the loop,
        // which halves the speed.
        let done = sums;
        store(tile, &done);
    }
}

/// # Safety
/// As `tile_f32`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile_bf16(tile: &Tile) {
    // SAFETY: as in `tile_f32`.
    unsafe {
        if tile.left_layout == LeftLayout::Rows {
            compute_bf16::<DEPTH, 1>(tile);
        } else {
            compute_bf16::<1, ROWS>(tile);
        }
    }
}

/// # Safety
/// As `compute_f32`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn compute_bf16<const ROW: usize, const STEP: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    // SAFETY: panels hold `depth` units of every row and column.
    unsafe {
        prefetch_out(tile);
        let (mut left, mut right) = (tile.left.cast::<i32>(), tile.right.cast::<i32>());
        let pairs = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
        for d in 0..tile.depth {
            fetch_ahead(tile, d);
            let low = pairs(_mm512_loadu_si512(right.cast()));
            let high = pairs(_mm512_loadu_si512(right.add(16).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let spread = pairs(_mm512_set1_epi32(*left.add(row * ROW)));
                sums[0] = _mm512_dpbf16_ps(sums[0], spread, low);
                sums[1] = _mm512_dpbf16_ps(sums[1], spread, high);
            }
            left = left.add(STEP);
            right = right.add(COLUMNS);
        }
        // A copy, or the address of the sums would keep one of them in memory inside the loop,
        // which halves the speed.
        let done = sums;
        store(tile, &done);
    }
}

/// Asks for what a later tile reads at this unit of depth.
#[inline(always)]
fn fetch_ahead(tile: &Tile, d: usize) {
    // SAFETY: a prefetch of any address is allowed.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(tile.ahead.wrapping_add(d * tile.ahead_step).cast()) };
}

/// Asks for the cache lines that the tile will be written to, while its sums are computed.
#[inline(always)]
fn prefetch_out(tile: &Tile) {
    for row in 0..tile.rows {
        let out = tile.out.wrapping_add(row * tile.stride);
        for column in [0, 16, COLUMNS - 1] {
            // SAFETY: a prefetch of any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(out.wrapping_add(column).cast()) };
        }
    }
}

/// # Safety
/// The tile's part of `out` is writable, and the bias is null or covers its columns.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(tile: &Tile, sums: &[[__m512; 2]; ROWS]) {
    let columns = ((1_u64 << tile.columns) - 1) as u32;
    let masks = [columns as u16, (columns >> 16) as u16];
    for (row, sums) in sums.iter().enumerate() {
        if row >= tile.rows {
            break;
        }
        for (half, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
            // SAFETY: masked lanes are neither read nor written, and the others lie within.
            unsafe {
                let out = tile.out.wrapping_add(row * tile.stride + half * 16);
                let sum = if tile.add {
                    _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, out))
                } else if tile.bias.is_null() {
                    sum
                } else {
                    let bias = tile.bias.wrapping_add(half * 16);
                    _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, bias))
                };
                _mm512_mask_storeu_ps(out, mask, sum);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_left_bf16(pack: Pack<'_>) {
    if pack.depth_contiguous {
        for row in 0..ROWS {
            let to = &mut pack.out[row * DEPTH..][..pack.depth.div_ceil(2)];
            if row < pack.lanes {
                let at = (pack.lane + row) * pack.stride + pack.from;
                let values = &pack.source[at..at + pack.depth];
                // SAFETY: `to` holds a pair for every two values, the last perhaps half.
                unsafe { round_run(values, to) };
            } else {
                to.fill(0);
            }
        }
    } else {
        // SAFETY: this function's features include the callee's.
        unsafe { pack_pairs::<ROWS>(pack) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_right_bf16(pack: Pack<'_>) {
    if !pack.depth_contiguous {
        // SAFETY: this function's features include the callee's.
        unsafe { pack_pairs::<COLUMNS>(pack) };
        return;
    }
    let units = pack.depth.div_ceil(2);
    if pack.lanes < COLUMNS {
        pack.out[..units * COLUMNS].fill(0);
    }
    let mut run = [0_u32; DEPTH];
    for column in 0..pack.lanes {
        let at = (pack.lane + column) * pack.stride + pack.from;
        let values = &pack.source[at..at + pack.depth];
        // SAFETY: `run` holds a pair for every two values, the last perhaps half.
        unsafe { round_run(values, &mut run[..units]) };
        let to = pack.out[..units * COLUMNS].chunks_exact_mut(COLUMNS);
        for (to, pair) in to.zip(&run) {
            to[column] = *pair;
        }
    }
}

/// The bits of 16 bf16.
fn as_integers(rounded: __m256bh) -> __m256i {
    // SAFETY: both types are 256 bits, and every pattern of bits is valid in each.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(rounded) }
}

/// Rounds neighbouring values to pairs; the half pair at an odd end is filled with 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn round_run(values: &[f32], to: &mut [u32]) {
    let (chunks, rest) = values.as_chunks::<16>();
    let (targets, rest_targets) = to.as_chunks_mut::<8>();
    for (chunk, target) in chunks.iter().zip(&mut *targets) {
        // SAFETY: 16 values are read and 8 units written.
        unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(chunk.as_ptr()));
            _mm256_storeu_si256(target.as_mut_ptr().cast(), as_integers(rounded));
        }
    }
    if !rest.is_empty() {
        let mask = ((1_u32 << rest.len()) - 1) as u16;
        let units = rest.len().div_ceil(2);
        let target = match rest_targets.len() {
            0 => &mut targets[chunks.len()][..],
            _ => rest_targets,
        };
        // SAFETY: masked lanes are neither read nor written.
        unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, rest.as_ptr()));
            let mask = ((1_u32 << units) - 1) as u8;
            let target = target.as_mut_ptr().cast();
            _mm256_mask_storeu_epi32(target, mask, as_integers(rounded));
        }
    }
}

/// Packs pairs of values that lie a stride apart, `[depth / 2][WIDTH]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn pack_pairs<const WIDTH: usize>(pack: Pack<'_>) {
    for unit in 0..pack.depth.div_ceil(2) {
        let d = pack.from + 2 * unit;
        let at = d * pack.stride + pack.lane;
        let first = &pack.source[at..at + pack.lanes];
        let second = match 2 * unit + 1 < pack.depth {
            true => &pack.source[at + pack.stride..at + pack.stride + pack.lanes],
            false => &[],
        };
        let to = &mut pack.out[unit * WIDTH..(unit + 1) * WIDTH];
        for half in (0..WIDTH).step_by(16) {
            let lanes = |length: usize| ((1_u32 << length.saturating_sub(half).min(16)) - 1) as u16;
            // SAFETY: masked lanes are neither read nor written.
            unsafe {
                let load = |values: &[f32]| {
                    let at = values.as_ptr().wrapping_add(half);
                    let rounded =
                        _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes(values.len()), at));
                    _mm512_cvtepu16_epi32(as_integers(rounded))
                };
                let pairs = _mm512_or_si512(load(first), _mm512_slli_epi32(load(second), 16));
                let to_at = to.as_mut_ptr().wrapping_add(half).cast();
                _mm512_mask_storeu_epi32(to_at, lanes(WIDTH), pairs);
            }
        }
    }
}
