//! Layer normalisation, alone and with the residual that precedes it.

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

/// Rows that one thread takes at a time.
const ROWS: usize = 8;

/// Normalises every row of `x`, `[rows, width]`, in place: mean 0, variance 1, then `weight` and
/// `bias`, both `[width]` (Ba et al. 2016). `epsilon` is added to the variance.
///
/// # Panics
/// If `weight` and `bias` differ in length or `x` is not whole rows of it.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = check(x.len(), weight, bias);
    x.par_chunks_mut(ROWS * width.max(1)).for_each(|rows| {
        Normalise {
            x: rows,
            residual: None,
            weight,
            bias,
            epsilon,
        }
        .dispatch();
    });
}

/// [`layer_norm`] of `x + residual`, both `[rows, width]`, into `x`.
///
/// # Panics
/// As [`layer_norm`], or if `residual` is not of `x`'s length.
pub fn add_layer_norm(x: &mut [f32], residual: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = check(x.len(), weight, bias);
    assert_eq!(x.len(), residual.len(), "elements of the residual");
    let chunk = ROWS * width.max(1);
    x.par_chunks_mut(chunk)
        .zip(residual.par_chunks(chunk))
        .for_each(|(rows, residual)| {
            Normalise {
                x: rows,
                residual: Some(residual),
                weight,
                bias,
                epsilon,
            }
            .dispatch();
        });
}

fn check(len: usize, weight: &[f32], bias: &[f32]) -> usize {
    let width = weight.len();
    assert_eq!(width, bias.len(), "elements of weight and bias");
    assert!(
        width > 0 && len.is_multiple_of(width),
        "{len} elements in rows of {width}"
    );
    width
}

struct Normalise<'a> {
    x: &'a mut [f32],
    residual: Option<&'a [f32]>,
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
}

impl SimdOp for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let width = self.weight.len();
        for (index, row) in self.x.chunks_exact_mut(width).enumerate() {
            if let Some(residual) = self.residual {
                add(isa, row, &residual[index * width..][..width]);
            }
            normalise(isa, row, self.weight, self.bias, self.epsilon);
        }
    }
}

/// `x += y`.
#[inline(always)]
fn add<I: Isa>(isa: I, x: &mut [f32], y: &[f32]) {
    let ops = isa.f32();
    let lanes = ops.len();
    let mut left = x.chunks_exact_mut(lanes);
    let mut right = y.chunks_exact(lanes);
    for (x, y) in left.by_ref().zip(right.by_ref()) {
        ops.store(ops.add(ops.load(x), ops.load(y)), x);
    }
    for (x, y) in left.into_remainder().iter_mut().zip(right.remainder()) {
        *x += y;
    }
}

#[inline(always)]
fn normalise<I: Isa>(isa: I, x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let ops = isa.f32();
    let lanes = ops.len();
    let width = x.len() as f32;

    let mean = sum(
        isa,
        x,
        #[inline(always)]
        |v| v,
        |v| v,
    ) / width;
    let means = ops.splat(mean);
    // The variance is that of the differences, in a second pass: the mean of the squares less the
    // square of the mean loses all its digits where the mean is large.
    let squares = sum(
        isa,
        x,
        #[inline(always)]
        |v| {
            let d = ops.sub(v, means);
            ops.mul(d, d)
        },
        |v| (v - mean) * (v - mean),
    );
    let scale = 1.0 / (squares / width + epsilon).sqrt();
    let scales = ops.splat(scale);

    let mut values = x.chunks_exact_mut(lanes);
    let mut weights = weight.chunks_exact(lanes);
    let mut biases = bias.chunks_exact(lanes);
    for ((x, w), b) in values.by_ref().zip(weights.by_ref()).zip(biases.by_ref()) {
        let y = ops.mul(ops.sub(ops.load(x), means), scales);
        ops.store(ops.mul_add(y, ops.load(w), ops.load(b)), x);
    }
    let weights = weights.remainder().iter().zip(biases.remainder());
    for (x, (w, b)) in values.into_remainder().iter_mut().zip(weights) {
        *x = (*x - mean) * scale * w + b;
    }
}

/// Sum of a function of the elements, in two vectors of partial sums.
#[inline(always)]
fn sum<I: Isa>(
    isa: I,
    x: &[f32],
    vector: impl Fn(I::F32) -> I::F32,
    scalar: impl Fn(f32) -> f32,
) -> f32 {
    let ops = isa.f32();
    let lanes = ops.len();
    let mut even = ops.zero();
    let mut odd = ops.zero();
    let mut pairs = x.chunks_exact(2 * lanes);
    for pair in pairs.by_ref() {
        let (first, second) = pair.split_at(lanes);
        even = ops.add(even, vector(ops.load(first)));
        odd = ops.add(odd, vector(ops.load(second)));
    }
    let mut singles = pairs.remainder().chunks_exact(lanes);
    for single in singles.by_ref() {
        even = ops.add(even, vector(ops.load(single)));
    }
    let partial: f32 = ops.add(even, odd).to_array().into_iter().sum();
    let rest: f32 = singles.remainder().iter().map(|v| scalar(*v)).sum();
    partial + rest
}
