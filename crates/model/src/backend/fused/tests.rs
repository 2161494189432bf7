//! Every kernel against its plain twin: results and gradients.

use burn::tensor::TensorData;

use super::*;
use crate::Cpu;
use crate::backend::twins::{Cpu2, agree, random};

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
