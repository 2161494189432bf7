//! The inner loop of all products: a few rows times a panel of two vectors' width.
#![allow(unsafe_code)]

use rten_simd::Isa;
use rten_simd::ops::{BitOps, NumOps};

/// Elements of a cache line.
pub(crate) const LINE: usize = 16;

/// Lanes of the widest vectors.
pub(crate) const MAX_LANES: usize = 16;

/// Columns of a panel: two vectors.
#[inline(always)]
pub(crate) fn width<I: Isa>(isa: I) -> usize {
    2 * isa.f32().len()
}

/// Rows of the tallest tile whose sums, a row of the panel and a broadcast stay in registers: 24
/// sums of AVX-512's and NEON's 32 registers, 12 of AVX2's 16.
#[inline(always)]
pub(crate) fn height<I: Isa>(isa: I) -> usize {
    if isa.f32().len() == 16 || cfg!(target_arch = "aarch64") {
        12
    } else {
        6
    }
}

/// Rows of a matrix laid at a constant distance from each other.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// From the first element of the first row on.
    pub data: &'a [f32],
    /// Elements from the start of a row to the start of the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
}

/// `out[r][c] = sum over k of rows[r][k] * panel[k * width + c]`, for the first `columns` columns.
///
/// Row `r` of `out` starts at `r * out_stride`. Each element is summed in order of k by
/// multiply-adds from zero, whatever the number of rows and wherever the row stands among them.
///
/// # Panics
/// If a slice is too short for `depth` and the counts.
#[inline(always)]
pub(crate) fn multiply_panel<I: Isa>(
    isa: I,
    rows: Rows<'_>,
    panel: &[f32],
    depth: usize,
    out: &mut [f32],
    out_stride: usize,
    columns: usize,
) {
    let mut first = 0;
    while first < rows.count {
        let data = &rows.data[first * rows.stride..];
        let out = &mut out[first * out_stride..];
        // Keys and values are in the second cache already.
        let ahead = panel.as_ptr();
        macro_rules! sums {
            ($height:literal) => {{
                let sums = tile::<I, $height>(isa, data, rows.stride, panel, depth, ahead);
                store(isa, &sums, out, out_stride, columns)
            }};
        }
        first += match rows.count - first {
            12.. if height(isa) == 12 => sums!(12),
            8.. if height(isa) == 12 => sums!(8),
            6.. => sums!(6),
            4.. => sums!(4),
            2.. => sums!(2),
            _ => sums!(1),
        };
    }
}

/// The sums of `HEIGHT` rows, which start `stride` apart, times a panel. Meanwhile one cache line
/// from `ahead` on is fetched into the second cache for each unit of depth.
///
/// # Panics
/// If `rows` or `panel` is too short for `depth`.
#[inline(always)]
pub(crate) fn tile<I: Isa, const HEIGHT: usize>(
    isa: I,
    rows: &[f32],
    stride: usize,
    panel: &[f32],
    depth: usize,
    ahead: *const f32,
) -> [[I::F32; 2]; HEIGHT] {
    let ops = isa.f32();
    let lanes = ops.len();
    assert!(
        rows.len() >= (HEIGHT - 1) * stride + depth,
        "elements of the rows"
    );
    assert!(panel.len() >= depth * 2 * lanes, "elements of the panel");
    let (rows, panel) = (rows.as_ptr(), panel.as_ptr());

    let mut sums = [[ops.zero(); 2]; HEIGHT];
    for k in 0..depth {
        prefetch(ahead.wrapping_add(k * LINE));
        // SAFETY: k < depth, so both vectors end inside the depth * 2 * lanes elements that the
        // panel was checked to have.
        let columns = unsafe {
            let row = panel.add(k * 2 * lanes);
            [ops.load_ptr(row), ops.load_ptr(row.add(lanes))]
        };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: r < HEIGHT and k < depth, so the element is before
            // (HEIGHT - 1) * stride + depth, which the rows were checked to have.
            let value = ops.splat(unsafe { *rows.add(r * stride + k) });
            sums[0] = ops.mul_add(value, columns[0], sums[0]);
            sums[1] = ops.mul_add(value, columns[1], sums[1]);
        }
    }
    sums
}

/// Asks for a cache line; any address will do, one that is not mapped has no effect.
#[inline(always)]
pub(crate) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the instruction reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Writes the first `columns` of a tile's sums; returns its height.
#[inline(always)]
fn store<I: Isa, const HEIGHT: usize>(
    isa: I,
    sums: &[[I::F32; 2]; HEIGHT],
    out: &mut [f32],
    out_stride: usize,
    columns: usize,
) -> usize {
    let ops = isa.f32();
    let lanes = ops.len();
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[r * out_stride..][..columns];
        if columns == 2 * lanes {
            for (sum, out) in sums.iter().zip(out.chunks_exact_mut(lanes)) {
                ops.store(*sum, out);
            }
        } else {
            let mut row = [0.0; 2 * MAX_LANES];
            for (sum, row) in sums.iter().zip(row.chunks_exact_mut(lanes)) {
                ops.store(*sum, row);
            }
            out.copy_from_slice(&row[..columns]);
        }
    }
    HEIGHT
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Random shapes around the tiles' edges, against a plain sum in f64.
    fn against_plain<I: Isa>(isa: I) {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..100 {
            let count = rng.random_range(1..=17);
            let depth = rng.random_range(0..=70);
            let width = width(isa);
            let columns = rng.random_range(1..=width);
            let (stride, out_stride) = (depth + rng.random_range(0..3), columns + 5);
            let data: Vec<f32> = (0..count * stride)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let panel: Vec<f32> = (0..depth * width)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let mut out = vec![f32::NAN; count * out_stride];
            let rows = Rows {
                data: &data,
                stride,
                count,
            };
            multiply_panel(isa, rows, &panel, depth, &mut out, out_stride, columns);
            for r in 0..count {
                for c in 0..out_stride {
                    let got = out[r * out_stride + c];
                    if c >= columns {
                        assert!(got.is_nan(), "column {c} of {columns} was written");
                        continue;
                    }
                    let expected: f64 = (0..depth)
                        .map(|k| f64::from(data[r * stride + k]) * f64::from(panel[k * width + c]))
                        .sum();
                    // 70 roundings of sums below 70, of which most are below 10.
                    assert!((f64::from(got) - expected).abs() < 2e-5);
                }
            }
        }
    }

    #[test]
    fn generic() {
        against_plain(rten_simd::isa::GenericIsa::new());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avx2_and_avx512() {
        if let Some(isa) = rten_simd::isa::Avx2Isa::new() {
            against_plain(isa);
        }
        if let Some(isa) = rten_simd::isa::Avx512Isa::new() {
            against_plain(isa);
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn neon() {
        if let Some(isa) = rten_simd::isa::ArmNeonIsa::new() {
            against_plain(isa);
        }
    }
}
