//! What the tests hold an operation and its plain twin together with.

use std::cell::Cell;

use burn::backend::Flex;
use burn::tensor::{Int, Tensor, TensorData};

use albert_checkpoint::Activation;

use super::{Precision, Shared, plain};
use crate::Cpu;
use crate::dropout::Dropout;
use crate::rows::Rows;

pub(super) type Cpu1 = Tensor<Cpu, 1>;
pub(super) type Cpu2 = Tensor<Cpu, 2>;

/// Attention without dropout and with it.
pub(super) const DROPOUTS: [Option<Dropout>; 2] = [
    None,
    Some(Dropout {
        stream: 77,
        rate: 0.3,
    }),
];

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
/// 8e-6 for the longest here (n = 4500); the gradient passes several such sums.
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

fn flat(x: Cpu2) -> Cpu1 {
    x.flatten(0, 1)
}

/// Holds a form of [`AlbertBackend::dense`](super::AlbertBackend::dense) and the plain one together.
pub(super) fn dense(ours: impl Fn(Cpu2, Cpu2, Cpu1, Precision) -> Cpu2) {
    for (tokens, inputs, outputs) in [
        (1, 1, 1),
        (7, 33, 19),
        (600, 40, 65),
        (24, 300, 64),
        (4500, 8, 5),
        // Vocabularies: cut into 16 parts, 15, and one that cannot be cut.
        (9, 6, 16_000),
        (9, 6, 30_000),
        (9, 6, 8_209),
    ] {
        agree(
            [
                random([tokens, inputs]),
                random([outputs, inputs]),
                random([1, outputs]),
            ],
            |[x, w, b]| ours(x, w, flat(b), Precision::F32),
            |[x, w, b]| plain::dense(x, w, flat(b), Precision::F32),
        );
    }
}

/// The same for layers that are shared, three beside each other and one alone, in two products each.
pub(super) fn shared(
    share: impl Fn(Vec<Cpu2>, Vec<Cpu1>, Precision) -> Shared<Cpu>,
    dense: impl Fn(Cpu2, &Shared<Cpu>) -> Cpu2,
) {
    let precision = Precision::F32;
    for (tokens, width) in [(1, 4), (70, 24), (600, 24)] {
        let weight = || random([width, width]);
        let bias = || random([1, width]);
        let x = random([tokens, width]);
        agree(
            [x, weight(), weight(), weight(), bias(), bias(), bias()],
            |[x, q, k, v, a, b, c]| {
                let shared = share(vec![q, k, v], vec![flat(a), flat(b), flat(c)], precision);
                let once = dense(x, &shared);
                dense(once.narrow(1, width, width), &shared)
            },
            |[x, q, k, v, a, b, c]| {
                let sides = [(q, flat(a)), (k, flat(b)), (v, flat(c))];
                let of = |x: Cpu2, (weight, bias): (Cpu2, Cpu1)| {
                    plain::dense(x, weight, bias, precision)
                };
                let once = of(x, sides[1].clone());
                Tensor::cat(sides.map(|side| of(once.clone(), side)).into(), 1)
            },
        );
        agree(
            [random([tokens, width]), weight(), bias()],
            |[x, w, b]| {
                let shared = share(vec![w], vec![flat(b)], precision);
                dense(dense(x, &shared), &shared)
            },
            |[x, w, b]| {
                let of = |x| plain::dense(x, w.clone(), flat(b.clone()), precision);
                of(of(x))
            },
        );
    }
}

/// The same for GELU.
pub(super) fn gelu(ours: impl Fn(Cpu2, Activation) -> Cpu2) {
    // Far below zero GELU is a small difference of numbers near 1, right to their rounding alone:
    // a row must be long enough to hold a value that sets the scale.
    for shape in [[1, 19], [5, 77], [300, 128]] {
        agree(
            [random(shape).mul_scalar(3.0).detach().require_grad()],
            |[x]| ours(x, Activation::GeluNew),
            |[x]| plain::activate(x, Activation::GeluNew),
        );
    }
}

/// The same for the norm, of rows and of sums.
pub(super) fn norm(ours: impl Fn(Cpu2, Option<Cpu2>, Cpu1, Cpu1, f64) -> Cpu2) {
    let eps = 1e-12;
    for (tokens, width) in [(1, 8), (65, 33), (200, 128)] {
        let sides = || [random([1, width]), random([1, width])];
        let [w, b] = sides();
        agree(
            [random([tokens, width]), random([tokens, width]), w, b],
            |[x, r, w, b]| ours(x, Some(r), flat(w), flat(b), eps),
            |[x, r, w, b]| plain::normalize(x, Some(r), flat(w), flat(b), eps),
        );
        let [w, b] = sides();
        agree(
            [random([tokens, width]), w, b],
            |[x, w, b]| ours(x, None, flat(w), flat(b), eps),
            |[x, w, b]| plain::normalize(x, None, flat(w), flat(b), eps),
        );
    }
}

/// The same for attention, of rows with and without padding in need.
pub(super) fn attention(
    ours: impl Fn(Cpu2, &Rows, usize, Option<Dropout>, Precision) -> Cpu2,
) -> crate::Result<()> {
    for (lengths, heads, dim) in [
        (vec![1], 1, 4),
        (vec![5, 5, 5], 2, 8),
        (vec![17, 1, 33], 4, 12),
        (vec![70, 128], 2, 64),
    ] {
        let rows = Rows::new(&lengths)?;
        let shape = [rows.tokens(), 3 * heads * dim];
        for dropout in DROPOUTS {
            agree(
                [random(shape)],
                |[x]| ours(x, &rows, heads, dropout, Precision::F32),
                |[x]| plain::attend(x, &rows, heads, dropout, Precision::F32),
            );
        }
    }
    Ok(())
}

/// The same for cross-entropy.
pub(super) fn cross_entropy(ours: impl Fn(Cpu2, Tensor<Cpu, 1, Int>) -> Cpu1) {
    for (items, classes) in [(1, 2), (33, 100), (200, 100), (4, 16_000)] {
        let labels: Vec<i32> = (0..items).map(|i| (i * 37 % classes) as i32).collect();
        let labels = TensorData::from(labels.as_slice());
        let labels = || Tensor::from_data(labels.clone(), &Default::default());
        agree(
            [random([items, classes])
                .mul_scalar(4.0)
                .detach()
                .require_grad()],
            |[x]| ours(x, labels()).unsqueeze(),
            |[x]| plain::cross_entropy(x, labels()).unsqueeze(),
        );
    }
}
