//! Every operation against its composed twin, on the processor: results and gradients.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::tensor::TensorData;

use super::*;
use crate::Cpu;
use crate::backend::twins::{Cpu2, agree, random, uniform};

const F32: Precision = Precision::F32;

fn flat(x: Cpu2) -> Tensor<Cpu, 1> {
    x.flatten(0, 1)
}

#[test]
fn dense_equals_its_twin() {
    for (tokens, inputs, outputs) in [(1, 1, 1), (7, 33, 19), (130, 40, 65), (4500, 8, 5)] {
        agree(
            [
                random([tokens, inputs]),
                random([outputs, inputs]),
                random([1, outputs]),
            ],
            |[x, w, b]| dense::<Flex, NoCheckpointing>(x, w, flat(b), F32),
            |[x, w, b]| plain::dense(x, w, flat(b), F32),
        );
    }
}

#[test]
fn dense_over_a_vocabulary_equals_its_twin() {
    // 16 parts, 15, and one that cannot be cut.
    for outputs in [16_000, 30_000, 8_209] {
        agree(
            [random([9, 6]), random([outputs, 6]), random([1, outputs])],
            |[x, w, b]| dense::<Flex, NoCheckpointing>(x, w, flat(b), F32),
            |[x, w, b]| plain::dense(x, w, flat(b), F32),
        );
    }
}

#[test]
fn projection_equals_its_twin() {
    for (tokens, width) in [(1, 4), (200, 24)] {
        let weight = || random([width, width]);
        let bias = || random([1, width]);
        agree(
            [
                random([tokens, width]),
                weight(),
                weight(),
                weight(),
                bias(),
                bias(),
                bias(),
            ],
            |[x, q, k, v, a, b, c]| {
                project::<Flex, NoCheckpointing>(x, [q, k, v], [a, b, c].map(flat), F32)
            },
            |[x, q, k, v, a, b, c]| plain::project(x, [q, k, v], [a, b, c].map(flat), F32),
        );
    }
}

#[test]
fn gelu_equals_its_twin() {
    for shape in [[1, 19], [300, 128]] {
        agree(
            [random(shape).mul_scalar(3.0).detach().require_grad()],
            |[x]| activate::<Flex, NoCheckpointing>(x, Activation::GeluNew),
            |[x]| plain::activate(x, Activation::GeluNew),
        );
    }
}

#[test]
fn norm_equals_its_twin() {
    for (tokens, width) in [(1, 8), (65, 33), (200, 128)] {
        let side = || random([1, width]);
        let x = || random([tokens, width]);
        agree(
            [x(), side(), side()],
            |[x, w, b]| normalize::<Flex, NoCheckpointing>(x, None, flat(w), flat(b), 1e-12),
            |[x, w, b]| plain::normalize(x, None, flat(w), flat(b), 1e-12),
        );
        agree(
            [x(), x(), side(), side()],
            |[x, r, w, b]| normalize::<Flex, NoCheckpointing>(x, Some(r), flat(w), flat(b), 1e-12),
            |[x, r, w, b]| plain::normalize(x, Some(r), flat(w), flat(b), 1e-12),
        );
    }
}

#[test]
fn attention_equals_its_twin() -> crate::Result<()> {
    let (width, heads, dim) = (8, 2, 6);
    let full = Rows::new(&[width; 3])?;
    let loose = Rows::new(&[5, 3, 8])?;
    let padded = Rows::padded(&[5, 3, 8], width)?;
    let kept = loose.padded_indices(width);
    let kept = || Tensor::from_data(TensorData::from(kept.as_slice()), &Default::default());
    let dropouts = [
        None,
        Some(Dropout {
            stream: 5,
            rate: 0.2,
        }),
    ];
    for dropout in dropouts {
        let ours = |x, rows: &Rows| attend::<Flex, NoCheckpointing>(x, rows, heads, dropout, F32);
        let theirs = |x, rows: &Rows| plain::attend(x, rows, heads, dropout, F32);
        agree(
            [random([3 * width, 3 * heads * dim])],
            |[x]| ours(x, &full),
            |[x]| theirs(x, &full),
        );
        agree(
            [random([16, 3 * heads * dim])],
            |[x]| ours(x, &loose),
            |[x]| theirs(x, &loose),
        );
        // Padding changes nothing for the tokens beside it.
        agree(
            [random([3 * width, 3 * heads * dim])],
            |[x]| ours(x, &padded).select(0, kept()),
            |[x]| theirs(x.select(0, kept()), &loose),
        );
    }
    Ok(())
}

#[test]
fn cross_entropy_equals_its_twin() {
    for (items, classes) in [(1, 2), (200, 100), (4, 16_000)] {
        let labels: Vec<i32> = (0..items).map(|i| (i * 37 % classes) as i32).collect();
        let labels = TensorData::from(labels.as_slice());
        let labels = || Tensor::from_data(labels.clone(), &Default::default());
        agree(
            [random([items, classes])
                .mul_scalar(4.0)
                .detach()
                .require_grad()],
            |[x]| cross_entropy::<Flex, NoCheckpointing>(x, labels()).unsqueeze(),
            |[x]| plain::cross_entropy(x, labels()).unsqueeze(),
        );
    }
}

#[test]
fn picking_equals_its_twin() {
    for (rows, width, count) in [(5, 3, 60), (40, 8, 192), (7, 4, 1000), (2, 16, 2500)] {
        let draw = || (uniform() * rows as f64) as i32;
        let indices: Vec<i32> = (0..count).map(|_| draw()).collect();
        let indices =
            || Tensor::from_data(TensorData::from(indices.as_slice()), &Default::default());
        agree(
            [random([rows, width])],
            |[x]| pick::<Flex, NoCheckpointing>(x, indices()),
            |[x]| plain::pick(x, indices()),
        );
    }
}

#[test]
fn sums_take_every_number_once() {
    for count in [1, 63, 64, 129, 8_191, 16_000, 40_001] {
        let x = Tensor::<Flex, 1>::ones([count], &Default::default());
        let sum: f32 = crate::sum_in_stretches(x).into_scalar();
        assert_eq!(sum, count as f32);
        let rows = Tensor::<Flex, 2>::ones([3, count], &Default::default());
        let sums = sums::of_rows(rows).into_data();
        assert!(sums.iter::<f32>().all(|sum| sum == count as f32), "{count}");
    }
}
