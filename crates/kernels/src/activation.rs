//! The activation functions of transformers' ALBERTs.

use rayon::prelude::*;
use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdUnaryOp};

use crate::math::{EXP2_BOUND, exp, exp2};

/// Elements that one thread takes at a time: small enough to stay in its first cache.
const CHUNK: usize = 4096;

/// A function of one number, to be applied to each element of a product or a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// See [`gelu_tanh`].
    GeluTanh,
    /// See [`gelu_erf`].
    GeluErf,
    /// See [`relu`].
    Relu,
    /// See [`tanh`].
    Tanh,
    /// See [`silu`].
    Silu,
}

impl Activation {
    /// Applies the function to every element in place.
    pub fn apply(self, x: &mut [f32]) {
        if x.len() <= CHUNK {
            self.map_mut(x);
        } else {
            x.par_chunks_mut(CHUNK)
                .for_each(|chunk| self.map_mut(chunk));
        }
    }
}

impl SimdUnaryOp<f32> for Activation {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        evaluate(isa, *self, x)
    }
}

/// The function of each lane of a vector.
#[inline(always)]
pub(crate) fn evaluate<I: Isa>(isa: I, function: Activation, x: I::F32) -> I::F32 {
    match function {
        Activation::GeluTanh => eval_gelu_tanh(isa, x),
        Activation::GeluErf => eval_gelu_erf(isa, x),
        Activation::Relu => eval_relu(isa, x),
        Activation::Tanh => eval_tanh(isa, x),
        Activation::Silu => eval_silu(isa, x),
    }
}

/// Gaussian error linear unit in its tanh form, `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
/// (Hendrycks and Gimpel 2016): transformers' `gelu_new`.
pub fn gelu_tanh(x: &mut [f32]) {
    Activation::GeluTanh.apply(x);
}

/// Gaussian error linear unit, `x Φ(x)` with the normal distribution's true Φ: transformers'
/// `gelu`.
///
/// Accurate to a few ulp for negative x too, where `0.5 x (1 + erf(x / sqrt 2))` cancels.
pub fn gelu_erf(x: &mut [f32]) {
    Activation::GeluErf.apply(x);
}

/// `max(x, 0)`.
pub fn relu(x: &mut [f32]) {
    Activation::Relu.apply(x);
}

/// Hyperbolic tangent, within 2 ulp.
pub fn tanh(x: &mut [f32]) {
    Activation::Tanh.apply(x);
}

/// Sigmoid linear unit, `x / (1 + exp(-x))`.
pub fn silu(x: &mut [f32]) {
    Activation::Silu.apply(x);
}

#[inline(always)]
fn eval_gelu_tanh<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)): one exponential, and nothing cancels.
    const SCALE: f32 = -2.0 * 0.797_884_6 * std::f32::consts::LOG2_E;
    let ops = isa.f32();
    let square = ops.mul(x, x);
    let u = ops.mul_add(square, ops.splat(SCALE * 0.044_715), ops.splat(SCALE));
    // What the bounds make of NaN does not matter: x is NaN then.
    let power = ops.max(ops.mul(u, x), ops.splat(-EXP2_BOUND));
    let e = exp2(isa, ops.min(power, ops.splat(EXP2_BOUND)));
    ops.div(x, ops.add(e, ops.one()))
}

/// Coefficients of `g(t) (t + A)`, where `g(t) = exp(t²/2) Φ(-t)`, as a polynomial in
/// `q = (t - A) / (t + A)`, highest power first: a weighted minimax fit on [0, 15] with relative
/// error 1.5e-8, made by `golden/kernels/fit_gelu.py`.
const MILLS: [f32; 10] = [
    -1.577_031_2e-4,
    -3.116_24e-4,
    6.844_132_4e-4,
    2.523_934e-3,
    -1.600_830_1e-3,
    -1.638_618_7e-2,
    9.235_876e-3,
    1.319_869_8e-1,
    -4.336_92e-1,
    7.066_566_3e-1,
];
const A: f32 = 2.5;

#[inline(always)]
fn eval_gelu_erf<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let t = ops.abs(x);

    // Φ(-t) = exp(-t²/2) g(t). The exponential gets the rounding error of t² back.
    let square = ops.mul(t, t);
    let lost = ops.mul_add(t, t, ops.neg(square));
    let e = exp(isa, ops.mul(square, ops.splat(-0.5)));
    let e = ops.mul_add(ops.mul(e, lost), ops.splat(-0.5), e);

    let r = ops.reciprocal(ops.add(t, ops.splat(A)));
    let q = ops.mul(ops.sub(t, ops.splat(A)), r);
    let mut g = ops.splat(MILLS[0]);
    for coefficient in &MILLS[1..] {
        g = ops.mul_add(g, q, ops.splat(*coefficient));
    }
    let tail = ops.mul(ops.mul(g, r), e);

    // x Φ(x) is x Φ(-t) below zero and x - x Φ(-t) above.
    let low = ops.mul(x, tail);
    ops.select(low, ops.sub(x, low), ops.lt(x, ops.zero()))
}

#[inline(always)]
fn eval_relu<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // A select, not a maximum, so that NaN stays NaN on every processor.
    let ops = isa.f32();
    ops.select(ops.zero(), x, ops.lt(x, ops.zero()))
}

#[inline(always)]
fn eval_silu<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let e = exp(isa, ops.neg(x));
    ops.div(x, ops.add(e, ops.one()))
}

/// Coefficients of `(tanh(x) - x) / x^3` as a polynomial in x², highest power first: a weighted
/// minimax fit on [-0.625, 0.625] with relative error 4.4e-9 of tanh, made by
/// `golden/kernels/fit_tanh.py`.
const TANH: [f32; 5] = [
    -5.704_978_5e-3,
    2.063_907_9e-2,
    -5.373_971e-2,
    1.333_144_2e-1,
    -3.333_328e-1,
];

#[inline(always)]
fn eval_tanh<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let t = ops.abs(x);

    let square = ops.mul(x, x);
    let mut small = ops.splat(TANH[0]);
    for coefficient in &TANH[1..] {
        small = ops.mul_add(small, square, ops.splat(*coefficient));
    }
    let small = ops.mul_add(ops.mul(small, square), x, x);

    // tanh(t) = 1 - 2 / (exp(2t) + 1), which cancels for small t only.
    let e = exp(isa, ops.add(t, t));
    let large = ops.sub(ops.one(), ops.div(ops.splat(2.0), ops.add(e, ops.one())));
    let large = ops.select(ops.neg(large), large, ops.lt(x, ops.zero()));
    ops.select(small, large, ops.lt(t, ops.splat(0.625)))
}
