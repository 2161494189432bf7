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

/// Coefficients of `(2^r - 1) / r` as a polynomial in r, highest power first: a weighted minimax fit
/// on [-0.5, 0.5] with relative error 2e-9 of 2^r, made by `golden/kernels/fit_exp2.py`.
const EXP2: [f32; 6] = [
    1.535_336e-4,
    1.339_887_5e-3,
    9.618_437e-3,
    5.550_332_4e-2,
    2.402_264_8e-1,
    std::f32::consts::LN_2,
];

/// Bounds of the argument of [`exp2`].
pub(crate) const EXP2_BOUND: f32 = 126.0;

/// 2^x, accurate to 1 ulp, of arguments in [-126, 126]; others but NaN, which stays NaN, give no
/// meaningful number. With fewer than half of the operations of [`exp`].
#[inline(always)]
pub(crate) fn exp2<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // Added to a small number, it leaves the nearest integer, and 127, in the lowest bits.
    const SHIFT: f32 = 1.5 * (1 << 23) as f32 + 127.0;
    let ops = isa.f32();
    let int = isa.i32();

    let shifted = ops.add(x, ops.splat(SHIFT));
    let r = ops.sub(x, ops.sub(shifted, ops.splat(SHIFT)));
    let mut y = ops.splat(EXP2[0]);
    for coefficient in &EXP2[1..] {
        y = ops.mul_add(y, r, ops.splat(*coefficient));
    }
    y = ops.mul_add(y, r, ops.one());
    let power = int.shift_left::<23>(shifted.reinterpret_cast());
    ops.mul(y, power.reinterpret_cast())
}

#[cfg(test)]
mod tests {
    use rten_simd::SimdUnaryOp;

    use super::*;

    struct Exp2;

    impl SimdUnaryOp<f32> for Exp2 {
        #[inline(always)]
        fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
            exp2(isa, x)
        }
    }

    #[test]
    fn exp2_is_accurate_to_an_ulp() {
        let bound = EXP2_BOUND as i32 * 4096;
        let x: Vec<f32> = (-bound..=bound).map(|i| i as f32 / 4096.0).collect();
        let mut y = x.clone();
        Exp2.map_mut(&mut y);
        for (x, y) in x.iter().zip(y) {
            let expected = f64::from(*x).exp2();
            let error = (f64::from(y) / expected - 1.0).abs();
            assert!(error <= f64::from(f32::EPSILON), "2^{x} = {y}: {error}");
            if x.fract() == 0.0 {
                assert_eq!(f64::from(y), expected);
            }
        }
        let mut nan = [f32::NAN, f32::from_bits(0x7fc0_0155)];
        Exp2.map_mut(&mut nan);
        assert!(nan.iter().all(|y| y.is_nan()));
    }
}
