//! Dense layers whose weights many products of a pass share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use albert_kernels::training::matmul::{Matrix, Packed, Precision, Start, add_matmul, matmul};
use albert_kernels::training::norm::column_sums;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Dense layers beside each other, made ready once for all the products of a pass.
///
/// ALBERT's layers share their weights, so what is worked out of a weight before a product, and the
/// sum of its gradients, is there once, not once a layer.
#[derive(Clone, Debug)]
pub struct Shared<B: Backend> {
    /// `[outputs, inputs]`, all layers' below each other.
    pub(super) weight: Tensor<B, 2>,
    /// `[outputs]`
    pub(super) bias: Tensor<B, 1>,
    pub(super) precision: Precision,
    pub(super) kept: Arc<Kept>,
}

impl<B: Backend> Shared<B> {
    pub(super) fn new(weight: Tensor<B, 2>, bias: Tensor<B, 1>, precision: Precision) -> Self {
        Self {
            weight,
            bias,
            precision,
            kept: Arc::default(),
        }
    }
}

/// What the processor's kernels keep of a weight from one product to the next.
#[derive(Debug, Default)]
pub(super) struct Kept {
    forward: OnceLock<Packed>,
    backward: OnceLock<Packed>,
    /// The gradients of weight and bias so far.
    gradients: Mutex<Option<Gradients>>,
}

/// Of the weight `[outputs, inputs]`, and of the bias `[outputs]`.
pub(super) type Gradients = (Vec<f32>, Vec<f32>);

impl Kept {
    /// The weight as forward products take it; it is always the same `[outputs, inputs]`.
    pub(super) fn forward(&self, precision: Precision, weight: Matrix<'_>) -> &Packed {
        self.forward
            .get_or_init(|| Packed::new(precision, weight.transposed()))
    }

    /// The weight as products with gradients take it.
    pub(super) fn backward(&self, precision: Precision, weight: Matrix<'_>) -> &Packed {
        self.backward.get_or_init(|| Packed::new(precision, weight))
    }

    /// Adds what one product contributes: its gradient `[tokens, outputs]` and its input
    /// `[tokens, inputs]`.
    pub(super) fn add(
        &self,
        precision: Precision,
        gradient: &[f32],
        x: &[f32],
        [tokens, outputs, inputs]: [usize; 3],
    ) {
        let of_bias = column_sums(gradient, outputs);
        let gradient = Matrix::new(gradient, tokens, outputs).transposed();
        let x = Matrix::new(x, tokens, inputs);
        let mut gradients = self
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *gradients {
            Some((weight, bias)) => {
                add_matmul(precision, gradient, x, weight);
                for (bias, more) in bias.iter_mut().zip(of_bias) {
                    *bias += more;
                }
            }
            none => {
                let of_weight = matmul(precision, gradient, x, Start::Zero);
                *none = Some((of_weight, of_bias));
            }
        }
    }

    /// The gradients of all products; none where there was no product.
    pub(super) fn take_gradients(&self) -> Option<Gradients> {
        let mut gradients = self
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        gradients.take()
    }
}
