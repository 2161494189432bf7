//! What the tests hold an operation and its plain twin together with.

use std::cell::Cell;

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};

use crate::Cpu;

pub(super) type Cpu2 = Tensor<Cpu, 2>;

thread_local! {
    /// Each test has a thread of its own, so each draws the same numbers in every run.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// A uniform number from 0 to 1, by SplitMix64.
pub(super) fn uniform() -> f64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Numbers of variance 1: the sum of twelve uniform ones, less 6.
pub(super) fn random<const D: usize>(shape: [usize; D]) -> Tensor<Cpu, D> {
    let number = || (0..12).map(|_| uniform()).sum::<f64>() as f32 - 6.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
}

/// Holds the results and the gradients of all inputs of two functions together. Both sum in f32
/// in different orders: a sum of n terms differs by about sqrt(n) units of rounding of its size,
/// of which the largest here (n = 600) allows 3e-6; the gradient passes several such sums.
pub(super) fn agree<const N: usize>(
    inputs: [Tensor<Cpu, 2>; N],
    fused: impl Fn([Tensor<Cpu, 2>; N]) -> Cpu2,
    plain: impl Fn([Tensor<Cpu, 2>; N]) -> Cpu2,
) {
    let ours = fused(inputs.clone());
    let theirs = plain(inputs.clone());
    near("result", ours.clone().inner(), theirs.clone().inner());
    let weights = random(ours.dims()).detach();
    let ours = (ours * weights.clone()).sum().backward();
    let theirs = (theirs * weights).sum().backward();
    for (i, input) in inputs.iter().enumerate() {
        match (input.grad(&ours), input.grad(&theirs)) {
            (Some(ours), Some(theirs)) => near(&format!("gradient {i}"), ours, theirs),
            (ours, theirs) => panic!("gradient {i}: {} {}", ours.is_some(), theirs.is_some()),
        }
    }
}

fn near(what: &str, ours: Tensor<Flex, 2>, theirs: Tensor<Flex, 2>) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let scale = theirs.clone().abs().max().into_scalar().max(1e-3);
    let difference = (ours - theirs).abs().max().into_scalar();
    assert!(
        difference <= 1e-5 * scale,
        "{what}: {difference} of {scale}"
    );
}
