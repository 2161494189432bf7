//! Backward passes, as steps of Burn's graph.

use std::sync::Arc;

use albert_kernels::training::matmul::{Matrix, Precision, Start, matmul};
use albert_kernels::training::{activation, attention, cross_entropy, norm};
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;

use super::forward::{Plan, numbers, owned, size, tensor};

#[derive(Debug)]
pub(super) struct Dense;

impl Backward<Flex, 3> for Dense {
    type State = (FlexTensor, FlexTensor, Precision);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, weight, precision) = ops.state;
        let ([tokens, inputs], [outputs, _]) = (size(&x), size(&weight));
        let gradient = numbers(&gradient);
        let of_out = Matrix::new(&gradient, tokens, outputs);
        let [of_x, of_weight, of_bias] = ops.parents;
        if let Some(node) = of_x {
            let weight = numbers(&weight);
            let weight = Matrix::new(&weight, outputs, inputs);
            let of_x = matmul(precision, of_out, weight, Start::Zero);
            grads.register::<Flex>(node.id, tensor(of_x, [tokens, inputs]));
        }
        if let Some(node) = of_weight {
            let x = numbers(&x);
            let x = Matrix::new(&x, tokens, inputs);
            let of_weight = matmul(precision, of_out.transposed(), x, Start::Zero);
            grads.register::<Flex>(node.id, tensor(of_weight, [outputs, inputs]));
        }
        if let Some(node) = of_bias {
            let of_bias = norm::column_sums(&gradient, outputs);
            grads.register::<Flex>(node.id, tensor(of_bias, [outputs]));
        }
    }
}

#[derive(Debug)]
pub(super) struct Gelu;

impl Backward<Flex, 1> for Gelu {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut gradient = owned(grads.consume::<Flex>(&ops.node));
        let x = ops.state;
        let [of_x] = ops.parents;
        if let Some(node) = of_x {
            activation::gelu_tanh_backward(&numbers(&x), &mut gradient);
            grads.register::<Flex>(node.id, tensor(gradient, size(&x)));
        }
    }
}

/// The normalised rows, the factors that normalised them, the weight.
type NormState = (FlexTensor, Arc<Vec<f32>>, FlexTensor);

fn normalize_backward(state: &NormState, gradient: &FlexTensor) -> [FlexTensor; 3] {
    let (normed, factors, weight) = state;
    let weight = numbers(weight);
    let (of_x, of_weight, of_bias) =
        norm::layer_norm_backward(&numbers(normed), factors, &weight, &numbers(gradient));
    let width = weight.len();
    [
        tensor(of_x, size(normed)),
        tensor(of_weight, [width]),
        tensor(of_bias, [width]),
    ]
}

#[derive(Debug)]
pub(super) struct Normalize;

impl Backward<Flex, 3> for Normalize {
    type State = NormState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradients = normalize_backward(&ops.state, &gradient);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// The norm of a sum: both summands have the same gradient.
#[derive(Debug)]
pub(super) struct NormalizeSum;

impl Backward<Flex, 4> for NormalizeSum {
    type State = NormState;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let [of_x, of_weight, of_bias] = normalize_backward(&ops.state, &gradient);
        let gradients = [of_x.clone(), of_x, of_weight, of_bias];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Attend;

impl Backward<Flex, 3> for Attend {
    type State = (Plan, [FlexTensor; 3]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (plan, [query, key, value]) = ops.state;
        let shape = size(&query);
        let gradients = attention::attention_backward(
            plan.layout(shape[1]),
            &numbers(&query),
            &numbers(&key),
            &numbers(&value),
            &numbers(&gradient),
        );
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, shape));
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct CrossEntropy;

impl Backward<Flex, 1> for CrossEntropy {
    /// The logits, the labels, the log of each item's sum of exponentials.
    type State = (FlexTensor, Arc<[usize]>, Arc<Vec<f32>>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (logits, labels, log_sums) = ops.state;
        let [of_logits] = ops.parents;
        if let Some(node) = of_logits {
            let gradient = numbers(&gradient).first().copied().unwrap_or(0.0);
            let of_logits = cross_entropy::cross_entropy_backward(
                &numbers(&logits),
                &labels,
                &log_sums,
                gradient,
            );
            grads.register::<Flex>(node.id, tensor(of_logits, size(&logits)));
        }
    }
}
