//! Vectorised elementary functions that the kernels share.

use rten_simd::ops::{BitOps, FloatOps, IntOps, NumOps};
use rten_simd::{Isa, Simd};

/// exp(x), accurate to 1 ulp; the argument is held inside [-87.3, 88.7], where the result is a
/// normal number. NaN stays NaN.
///
/// exp(x) = 2^k exp(r) with k = round(x / ln 2), so |r| <= ln 2 / 2, where the Taylor series to
/// the seventh power is within 6e-9 of exp(r): a tenth of f32's rounding.
#[inline(always)]
pub(crate) fn exp<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let int = isa.i32();

    let low = ops.splat(-87.3);
    let high = ops.splat(88.7);
    // Selects rather than min and max, whose answer for NaN differs between processors.
    let x = ops.select(low, x, ops.lt(x, low));
    let x = ops.select(high, x, ops.gt(x, high));

    // ln 2 in two parts; the first has few enough bits that its product with k is exact.
    let k = ops.round_ties_even(ops.mul(x, ops.splat(std::f32::consts::LOG2_E)));
    let r = ops.mul_add(k, ops.splat(-0.693_359_4), x);
    let r = ops.mul_add(k, ops.splat(2.121_944_4e-4), r);

    let mut y = ops.splat(1.0 / 5040.0);
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        y = ops.mul_add(y, r, ops.splat(coefficient));
    }
    // 2^k y in two steps, because 2^k alone is out of range at k = 128.
    let k = ops.to_int_trunc(k);
    let half = int.shift_right::<1>(k);
    let power = |k: I::I32| -> I::F32 {
        int.shift_left::<23>(int.add(k, int.splat(127)))
            .reinterpret_cast()
    };
    ops.mul(ops.mul(y, power(half)), power(int.sub(k, half)))
}
