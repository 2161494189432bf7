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

/// The input, the weight, and how they were multiplied.
type DenseState = (FlexTensor, FlexTensor, Precision);

fn of_input((x, weight, precision): &DenseState, gradient: &[f32]) -> FlexTensor {
    let ([tokens, inputs], [outputs, _]) = (size(x), size(weight));
    let weight = numbers(weight);
    let weight = Matrix::new(&weight, outputs, inputs);
    let gradient = Matrix::new(gradient, tokens, outputs);
    let of_x = matmul(*precision, gradient, weight, Start::Zero);
    tensor(of_x, [tokens, inputs])
}

fn of_weight((x, weight, precision): &DenseState, gradient: &[f32]) -> Vec<f32> {
    let ([tokens, inputs], [outputs, _]) = (size(x), size(weight));
    let x = numbers(x);
    let x = Matrix::new(&x, tokens, inputs);
    let gradient = Matrix::new(gradient, tokens, outputs).transposed();
    matmul(*precision, gradient, x, Start::Zero)
}

#[derive(Debug)]
pub(super) struct Dense;

impl Backward<Flex, 3> for Dense {
    type State = DenseState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradient = numbers(&gradient);
        let shape @ [outputs, _] = size(&ops.state.1);
        let [x, weight, bias] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, of_input(&ops.state, &gradient));
        }
        if let Some(node) = weight {
            let of_weight = of_weight(&ops.state, &gradient);
            grads.register::<Flex>(node.id, tensor(of_weight, shape));
        }
        if let Some(node) = bias {
            let of_bias = norm::column_sums(&gradient, outputs);
            grads.register::<Flex>(node.id, tensor(of_bias, [outputs]));
        }
    }
}

/// Three dense layers of one input; the weight of the state is all three below each other.
#[derive(Debug)]
pub(super) struct Project;

impl Backward<Flex, 7> for Project {
    type State = DenseState;

    fn backward(self, ops: Ops<Self::State, 7>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradient = numbers(&gradient);
        let [all_outputs, inputs] = size(&ops.state.1);
        let outputs = all_outputs / 3;
        let [x, q, k, v, q_bias, k_bias, v_bias] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, of_input(&ops.state, &gradient));
        }
        let weights = [q, k, v];
        if weights.iter().any(Option::is_some) {
            let of_weights = of_weight(&ops.state, &gradient);
            let parts = of_weights.chunks_exact(outputs * inputs);
            for (node, part) in weights.into_iter().zip(parts) {
                if let Some(node) = node {
                    grads.register::<Flex>(node.id, tensor(part.to_vec(), [outputs, inputs]));
                }
            }
        }
        let biases = [q_bias, k_bias, v_bias];
        if biases.iter().any(Option::is_some) {
            let of_biases = norm::column_sums(&gradient, all_outputs);
            let parts = of_biases.chunks_exact(outputs);
            for (node, part) in biases.into_iter().zip(parts) {
                if let Some(node) = node {
                    grads.register::<Flex>(node.id, tensor(part.to_vec(), [outputs]));
                }
            }
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

impl Backward<Flex, 1> for Attend {
    type State = (Plan, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (plan, projected) = ops.state;
        let shape = size(&projected);
        let [of_projected] = ops.parents;
        if let Some(node) = of_projected {
            let layout = plan.layout(shape[1] / 3);
            let gradient = numbers(&gradient);
            let projected = numbers(&projected);
            let projected = attention::Projected::joined(&projected, shape[1] / 3);
            let of_projected = attention::attention_backward(layout, projected, &gradient);
            grads.register::<Flex>(node.id, tensor(of_projected, shape));
        }
    }
}

#[derive(Debug)]
pub(super) struct AttendSelected;

impl Backward<Flex, 3> for AttendSelected {
    /// The plan; queries, keys and values.
    type State = (Plan, [FlexTensor; 3]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (plan, sides) = ops.state;
        let shapes = sides.each_ref().map(size);
        let sides = sides.each_ref().map(numbers);
        let sides = sides.each_ref().map(|side| &**side);
        let width = shapes[0][1];
        let projected = attention::Projected::separate(sides, width);
        let gradient = numbers(&gradient);
        let gradients =
            attention::attention_backward_separate(plan.layout(width), projected, &gradient);
        for ((node, gradient), shape) in ops.parents.into_iter().zip(gradients).zip(shapes) {
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
