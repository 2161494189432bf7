//! The inner loop of attention's two products: a few rows times a panel of 32 columns.
#![allow(unsafe_code)]

use rten_simd::Isa;
use rten_simd::ops::{BitOps, NumOps};

/// Columns of a panel, on every instruction set: two vectors of AVX-512, four of AVX2.
pub(crate) const PANEL: usize = 32;

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

/// `out[r][c] = sum over k of rows[r][k] * panel[k * 32 + c]`, for the first `columns` columns.
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
    // Tiles that keep the accumulators, a row of the panel and a broadcast in registers.
    match isa.f32().len() {
        16 => tiles::<I, 8, 2>(isa, rows, panel, depth, out, out_stride, columns),
        8 => tiles::<I, 3, 4>(isa, rows, panel, depth, out, out_stride, columns),
        4 => tiles::<I, 2, 8>(isa, rows, panel, depth, out, out_stride, columns),
        lanes => unreachable!("vectors of {lanes} numbers"),
    }
}

#[inline(always)]
fn tiles<I: Isa, const ROWS: usize, const VECTORS: usize>(
    isa: I,
    rows: Rows<'_>,
    panel: &[f32],
    depth: usize,
    out: &mut [f32],
    out_stride: usize,
    columns: usize,
) {
    let mut first = 0;
    while rows.count - first >= ROWS {
        let part = &rows.data[first * rows.stride..];
        let sums = tile::<I, ROWS, VECTORS>(isa, part, rows.stride, panel, depth);
        store(
            isa,
            &sums,
            &mut out[first * out_stride..],
            out_stride,
            columns,
        );
        first += ROWS;
    }
    while first < rows.count {
        let part = &rows.data[first * rows.stride..];
        let sums = tile::<I, 1, VECTORS>(isa, part, rows.stride, panel, depth);
        store(
            isa,
            &sums,
            &mut out[first * out_stride..],
            out_stride,
            columns,
        );
        first += 1;
    }
}

#[inline(always)]
fn tile<I: Isa, const ROWS: usize, const VECTORS: usize>(
    isa: I,
    rows: &[f32],
    stride: usize,
    panel: &[f32],
    depth: usize,
) -> [[I::F32; VECTORS]; ROWS] {
    let ops = isa.f32();
    let lanes = ops.len();
    assert!(
        rows.len() >= (ROWS - 1) * stride + depth,
        "elements of the rows"
    );
    assert!(
        panel.len() >= depth * lanes * VECTORS,
        "elements of the panel"
    );
    let (rows, panel) = (rows.as_ptr(), panel.as_ptr());

    let mut sums = [[ops.zero(); VECTORS]; ROWS];
    for k in 0..depth {
        let mut columns = [ops.zero(); VECTORS];
        for (v, column) in columns.iter_mut().enumerate() {
            // SAFETY: k < depth and v < VECTORS, so the vector ends inside the
            // depth * lanes * VECTORS elements that the panel was checked to have.
            *column = unsafe { ops.load_ptr(panel.add((k * VECTORS + v) * lanes)) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: r < ROWS and k < depth, so the element is before (ROWS - 1) * stride + depth,
            // which the rows were checked to have.
            let value = ops.splat(unsafe { *rows.add(r * stride + k) });
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = ops.mul_add(value, column, *sum);
            }
        }
    }
    sums
}

#[inline(always)]
fn store<I: Isa, const ROWS: usize, const VECTORS: usize>(
    isa: I,
    sums: &[[I::F32; VECTORS]; ROWS],
    out: &mut [f32],
    out_stride: usize,
    columns: usize,
) {
    let ops = isa.f32();
    let lanes = ops.len();
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[r * out_stride..][..columns];
        if columns == PANEL {
            for (sum, out) in sums.iter().zip(out.chunks_exact_mut(lanes)) {
                ops.store(*sum, out);
            }
        } else {
            let mut row = [0.0; PANEL];
            for (sum, row) in sums.iter().zip(row.chunks_exact_mut(lanes)) {
                ops.store(*sum, row);
            }
            out.copy_from_slice(&row[..columns]);
        }
    }
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
            let columns = [1, 4, 8, 15, 16, 17, 31, 32][rng.random_range(0..8)];
            let (stride, out_stride) = (depth + rng.random_range(0..3), columns + 5);
            let data: Vec<f32> = (0..count * stride)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let panel: Vec<f32> = (0..depth * PANEL)
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
                        .map(|k| f64::from(data[r * stride + k]) * f64::from(panel[k * PANEL + c]))
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
