//! Forward passes on Flex tensors.

use std::borrow::Cow;
use std::sync::Arc;

use albert_kernels::training::matmul::{Matrix, Start, matmul, matmul_packed};
use albert_kernels::training::{activation, attention, cross_entropy, norm};
use burn::backend::flex::FlexTensor;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::super::Precision;
use super::super::shared::Kept;
use crate::dropout::Dropout;
use crate::rows::{Rows, Selection};

/// The numbers of a tensor, row by row.
pub(super) fn numbers(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.as_slice::<f32>() {
        Some(numbers) => Cow::Borrowed(numbers),
        None => Cow::Owned(owned(tensor.clone())),
    }
}

/// The same, moved out of the tensor where nothing else holds it.
pub(super) fn owned(tensor: FlexTensor) -> Vec<f32> {
    // Converted to f32 first, so that the element type fits.
    let data = tensor.into_data().convert::<f32>();
    data.into_vec().unwrap_or_default()
}

pub(super) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}

/// Rows and columns of a matrix.
pub(super) fn size(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

pub(super) fn dense(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    precision: Precision,
) -> FlexTensor {
    let ([tokens, inputs], [outputs, _]) = (size(x), size(weight));
    let (x, weight, bias) = (numbers(x), numbers(weight), numbers(bias));
    let x = Matrix::new(&x, tokens, inputs);
    let weight = Matrix::new(&weight, outputs, inputs).transposed();
    let out = matmul(precision, x, weight, Start::Bias(&bias));
    tensor(out, [tokens, outputs])
}

/// [`dense`] with a weight of which `kept` keeps what products take.
pub(super) fn dense_shared(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    kept: &Kept,
    precision: Precision,
) -> FlexTensor {
    let ([tokens, inputs], [outputs, _]) = (size(x), size(weight));
    let (x, weight, bias) = (numbers(x), numbers(weight), numbers(bias));
    let weight = kept.forward(precision, Matrix::new(&weight, outputs, inputs));
    let x = Matrix::new(&x, tokens, inputs);
    let out = matmul_packed(x, weight, Start::Bias(&bias));
    tensor(out, [tokens, outputs])
}

pub(super) fn gelu(x: &FlexTensor) -> FlexTensor {
    tensor(activation::gelu_tanh(&numbers(x)), size(x))
}

/// A norm's result, and what its backward pass wants.
pub(super) struct Normed {
    pub(super) out: FlexTensor,
    pub(super) normed: FlexTensor,
    pub(super) factors: Arc<Vec<f32>>,
}

pub(super) fn normalize(
    x: &FlexTensor,
    residual: Option<&FlexTensor>,
    weight: &FlexTensor,
    bias: &FlexTensor,
    eps: f64,
) -> Normed {
    let residual = residual.map(numbers);
    let (weight, bias) = (numbers(weight), numbers(bias));
    let (out, normed, factors) =
        norm::layer_norm(&numbers(x), residual.as_deref(), &weight, &bias, eps);
    Normed {
        out: tensor(out, size(x)),
        normed: tensor(normed, size(x)),
        factors: Arc::new(factors),
    }
}

/// How attention's rows lie and what is dropped.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    lengths: Arc<[usize]>,
    queries: Option<Arc<[usize]>>,
    heads: usize,
    dropout: Option<Dropout>,
    precision: Precision,
}

impl Plan {
    pub(super) fn new(
        rows: &Rows,
        heads: usize,
        dropout: Option<Dropout>,
        precision: Precision,
    ) -> Self {
        Self {
            lengths: rows.lengths().into(),
            queries: None,
            heads,
            dropout,
            precision,
        }
    }

    /// Where only selected tokens ask.
    pub(super) fn selected(
        rows: &Rows,
        selection: &Selection,
        heads: usize,
        precision: Precision,
    ) -> Self {
        Self {
            queries: Some(selection.counts().into()),
            ..Self::new(rows, heads, None, precision)
        }
    }

    pub(super) fn layout(&self, width: usize) -> attention::Layout<'_> {
        attention::Layout {
            lengths: &self.lengths,
            queries: self.queries.as_deref(),
            heads: self.heads,
            dim: width / self.heads,
            precision: self.precision,
            dropout: self.dropout.map(|dropout| (dropout.stream, dropout.rate)),
        }
    }
}

pub(super) fn attend(plan: &Plan, projected: &FlexTensor) -> FlexTensor {
    let [tokens, columns] = size(projected);
    let width = columns / 3;
    let projected = numbers(projected);
    let projected = attention::Projected::joined(&projected, width);
    let out = attention::attention(plan.layout(width), projected);
    tensor(out, [tokens, width])
}

/// From queries of selected tokens, keys and values of all.
pub(super) fn attend_selected(plan: &Plan, sides: [&FlexTensor; 3]) -> FlexTensor {
    let [queries, width] = size(sides[0]);
    let sides = sides.map(numbers);
    let sides = sides.each_ref().map(|side| &**side);
    let projected = attention::Projected::separate(sides, width);
    let out = attention::attention(plan.layout(width), projected);
    tensor(out, [queries, width])
}

pub(super) fn labels<B: Backend>(labels: Tensor<B, 1, Int>) -> Arc<[usize]> {
    // A negative label is no class and stays none.
    let as_index = |label: i64| usize::try_from(label).unwrap_or(usize::MAX);
    labels.into_data().iter::<i64>().map(as_index).collect()
}

/// A loss, and what its backward pass wants.
pub(super) struct Entropy {
    pub(super) out: FlexTensor,
    pub(super) log_sums: Arc<Vec<f32>>,
}

pub(super) fn cross_entropy(logits: &FlexTensor, labels: &[usize]) -> Entropy {
    let (mean, log_sums) = cross_entropy::cross_entropy(&numbers(logits), labels);
    Entropy {
        out: tensor(vec![mean], [1]),
        log_sums: Arc::new(log_sums),
    }
}
