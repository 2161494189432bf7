//! Every kernel against its plain twin: results and gradients.

use std::cell::Cell;

use burn::tensor::TensorData;

use super::*;
use crate::Cpu;

type Cpu2 = Tensor<Cpu, 2>;

thread_local! {
    /// Each test has a thread of its own, so each draws the same numbers in every run.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// A uniform number from 0 to 1, by SplitMix64.
fn uniform() -> f64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Numbers of variance 1: the sum of twelve uniform ones, less 6.
fn random<const D: usize>(shape: [usize; D]) -> Tensor<Cpu, D> {
    let number = || (0..12).map(|_| uniform()).sum::<f64>() as f32 - 6.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
}

/// Holds the results and the gradients of all inputs of two functions together. Both sum in f32
/// in different orders: a sum of n terms differs by about sqrt(n) units of rounding of its size,
/// of which the largest here (n = 600) allows 3e-6; the gradient passes several such sums.
fn agree<const N: usize>(
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

#[test]
fn dense_equals_its_plain_twin() {
    for (tokens, inputs, outputs) in [(1, 1, 1), (7, 33, 19), (600, 40, 65), (24, 300, 64)] {
        agree(
            [
                random([tokens, inputs]),
                random([outputs, inputs]),
                random([1, outputs]),
            ],
            |[x, w, b]| Cpu::dense(x, w, b.flatten(0, 1), Precision::F32),
            |[x, w, b]| plain::dense(x, w, b.flatten(0, 1), Precision::F32),
        );
    }
}

#[test]
fn projection_equals_its_plain_twin() {
    for (tokens, width) in [(1, 4), (70, 24)] {
        let weight = || random([width, width]);
        let bias = || random([1, width]);
        let inputs = [
            random([tokens, width]),
            weight(),
            weight(),
            weight(),
            bias(),
            bias(),
            bias(),
        ];
        let flat = |b: [Cpu2; 3]| b.map(|b| b.flatten(0, 1));
        agree(
            inputs,
            |[x, q, k, v, a, b, c]| Cpu::project(x, [q, k, v], flat([a, b, c]), Precision::F32),
            |[x, q, k, v, a, b, c]| plain::project(x, [q, k, v], flat([a, b, c]), Precision::F32),
        );
    }
}

#[test]
fn gelu_equals_its_plain_twin() {
    // Far below zero GELU is a small difference of numbers near 1, right to their rounding alone:
    // a row must be long enough to hold a value that sets the scale.
    for shape in [[1, 19], [5, 77], [300, 128]] {
        agree(
            [random(shape).mul_scalar(3.0).detach().require_grad()],
            |[x]| Cpu::activate(x, Activation::GeluNew),
            |[x]| plain::activate(x, Activation::GeluNew),
        );
    }
}

#[test]
fn norm_equals_its_plain_twin() {
    for (tokens, width) in [(1, 8), (65, 33), (200, 128)] {
        let sides = || [random([1, width]), random([1, width])];
        let ([w, b], eps) = (sides(), 1e-12);
        agree(
            [random([tokens, width]), random([tokens, width]), w, b],
            |[x, r, w, b]| Cpu::normalize(x, Some(r), w.flatten(0, 1), b.flatten(0, 1), eps),
            |[x, r, w, b]| plain::normalize(x, Some(r), w.flatten(0, 1), b.flatten(0, 1), eps),
        );
        let [w, b] = sides();
        agree(
            [random([tokens, width]), w, b],
            |[x, w, b]| Cpu::normalize(x, None, w.flatten(0, 1), b.flatten(0, 1), eps),
            |[x, w, b]| plain::normalize(x, None, w.flatten(0, 1), b.flatten(0, 1), eps),
        );
    }
}

#[test]
fn attention_equals_its_plain_twin() -> crate::Result<()> {
    let dropouts = [
        None,
        Some(Dropout {
            stream: 77,
            rate: 0.3,
        }),
    ];
    for (lengths, heads, dim) in [
        (vec![1], 1, 4),
        (vec![5, 5, 5], 2, 8),
        (vec![17, 1, 33], 4, 12),
        (vec![70, 128], 2, 64),
    ] {
        let rows = Rows::new(&lengths)?;
        let shape = [rows.tokens(), 3 * heads * dim];
        for dropout in dropouts {
            agree(
                [random(shape)],
                |[x]| Cpu::attend(x, &rows, heads, dropout, Precision::F32),
                |[x]| plain::attend(x, &rows, heads, dropout, Precision::F32),
            );
        }
    }
    Ok(())
}

#[test]
fn attention_of_selected_tokens_equals_its_plain_twin() -> crate::Result<()> {
    for (lengths, others, heads, dim) in [
        (vec![1], vec![], 1, 4),
        (vec![5, 5, 5], vec![14, 3], 2, 8),
        (vec![17, 1, 33], vec![2, 20, 50, 16, 2], 4, 12),
        (vec![70, 128], (0..198).collect(), 2, 64),
    ] {
        let rows = Rows::new(&lengths)?;
        let selection = Selection::with_starts(&rows, &others)?;
        let selected = selection.tokens().len();
        let all = [rows.tokens(), heads * dim];
        let precision = Precision::F32;
        agree(
            [random([selected, heads * dim]), random(all), random(all)],
            |sides| Cpu::attend_selected(sides, &rows, &selection, heads, precision),
            |sides| plain::attend_selected(sides, &rows, &selection, heads, precision),
        );
    }
    Ok(())
}

#[test]
fn cross_entropy_equals_its_plain_twin() {
    for (items, classes) in [(1, 2), (33, 100), (4, 16_000)] {
        let labels: Vec<i32> = (0..items).map(|i| (i * 37 % classes) as i32).collect();
        let labels = TensorData::from(labels.as_slice());
        let labels = || Tensor::from_data(labels.clone(), &Default::default());
        agree(
            [random([items, classes])
                .mul_scalar(4.0)
                .detach()
                .require_grad()],
            |[x]| Cpu::cross_entropy(x, labels()).unsqueeze(),
            |[x]| plain::cross_entropy(x, labels()).unsqueeze(),
        );
    }
}
