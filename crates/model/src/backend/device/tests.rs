//! Every operation against its composed twin, on the processor: results and gradients.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::tensor::TensorData;

use super::*;
use crate::backend::shared::Shared;
use crate::backend::twins::{self, DROPOUTS, agree, random, uniform};

#[test]
fn dense_equals_its_twin() {
    twins::dense(dense::<Flex, NoCheckpointing>);
}

#[test]
fn shared_layers_equal_their_twin() {
    let dense_shared = |x, shared: &Shared<crate::Cpu>| {
        let (weight, bias) = (shared.weight.clone(), shared.bias.clone());
        dense::<Flex, NoCheckpointing>(x, weight, bias, shared.precision)
    };
    twins::shared(plain::share, dense_shared);
}

#[test]
fn gelu_equals_its_twin() {
    twins::gelu(activate::<Flex, NoCheckpointing>);
}

#[test]
fn norm_equals_its_twin() {
    twins::norm(normalize::<Flex, NoCheckpointing>);
}

#[test]
fn attention_equals_its_twin() -> crate::Result<()> {
    twins::attention(attend::<Flex, NoCheckpointing>)
}

#[test]
fn padded_rows_attend_as_those_without_padding() -> crate::Result<()> {
    let (lengths, width, heads, dim) = ([5, 3, 8], 8, 2, 6);
    let (loose, padded) = (Rows::new(&lengths)?, Rows::padded(&lengths, width)?);
    let kept = loose.padded_indices(width);
    let kept = || Tensor::from_data(TensorData::from(kept.as_slice()), &Default::default());
    for dropout in DROPOUTS {
        let ours = |x| attend::<Flex, NoCheckpointing>(x, &padded, heads, dropout, Precision::F32);
        agree(
            [random([3 * width, 3 * heads * dim])],
            |[x]| ours(x).select(0, kept()),
            |[x]| plain::attend(x.select(0, kept()), &loose, heads, dropout, Precision::F32),
        );
    }
    Ok(())
}

#[test]
fn cross_entropy_equals_its_twin() {
    twins::cross_entropy(cross_entropy::<Flex, NoCheckpointing>);
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
