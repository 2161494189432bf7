//! Backward passes, as steps of Burn's graph.

use std::sync::Arc;

use albert_kernels::training::matmul::{Matrix, Precision, Start, matmul, matmul_packed};
use albert_kernels::training::{activation, attention, cross_entropy, norm};
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;

use super::super::shared::Kept;
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

/// A dense layer whose weight others share, too. Of the weight's and the bias's gradients nothing is
/// handed to the graph: they are added up where the weight is kept, until [`Share`] hands them on.
#[derive(Debug)]
pub(super) struct DenseShared;

impl Backward<Flex, 2> for DenseShared {
    type State = (FlexTensor, FlexTensor, Precision, Arc<Kept>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradient = numbers(&gradient);
        let (x, weight, precision, kept) = &ops.state;
        let ([tokens, inputs], [outputs, _]) = (size(x), size(weight));
        let [of_x, of_weight] = ops.parents;
        if let Some(node) = of_x {
            let weight = numbers(weight);
            let weight = kept.backward(*precision, Matrix::new(&weight, outputs, inputs));
            let gradient = Matrix::new(&gradient, tokens, outputs);
            let of_x = matmul_packed(gradient, weight, Start::Zero);
            grads.register::<Flex>(node.id, tensor(of_x, [tokens, inputs]));
        }
        if of_weight.is_some() {
            kept.add(
                *precision,
                &gradient,
                &numbers(x),
                [tokens, outputs, inputs],
            );
        }
    }
}

/// A weight and a bias, ready for [`DenseShared`].
#[derive(Debug)]
pub(super) struct Share;

impl Backward<Flex, 2> for Share {
    type State = Arc<Kept>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Some((weight, bias)) = ops.state.take_gradients() else {
            return;
        };
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        let [of_weight, of_bias] = ops.parents;
        if let Some(node) = of_weight {
            grads.register::<Flex>(node.id, tensor(weight, [outputs, inputs]));
        }
        if let Some(node) = of_bias {
            grads.register::<Flex>(node.id, tensor(bias, [outputs]));
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
