//! The operations as kernels on the CPU: on Flex itself, and differentiated on Flex under
//! autodiff, each with a backward pass that is a kernel too.

mod forward;
mod steps;

use albert_checkpoint::Activation;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Int, Tensor};

use super::shared::Shared;
use super::{AlbertBackend, Precision, lower, plain, raise};
use crate::dropout::Dropout;
use crate::rows::{Rows, Selection};

impl AlbertBackend for Flex {
    const HOST: bool = true;

    fn dense(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let (x, weight, bias) = (lower(x), lower(weight), lower(bias));
        raise(forward::dense(&x, &weight, &bias, precision))
    }

    fn activate(x: Tensor<Self, 2>, activation: Activation) -> Tensor<Self, 2> {
        match activation {
            Activation::GeluNew => raise(forward::gelu(&lower(x))),
            other => plain::activate(x, other),
        }
    }

    fn normalize(
        x: Tensor<Self, 2>,
        residual: Option<Tensor<Self, 2>>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        eps: f64,
    ) -> Tensor<Self, 2> {
        let residual = residual.map(lower);
        let (weight, bias) = (lower(weight), lower(bias));
        raise(forward::normalize(&lower(x), residual.as_ref(), &weight, &bias, eps).out)
    }

    fn dense_shared(x: Tensor<Self, 2>, shared: &Shared<Self>) -> Tensor<Self, 2> {
        let (weight, bias) = (lower(shared.weight.clone()), lower(shared.bias.clone()));
        let out = forward::dense_shared(&lower(x), &weight, &bias, &shared.kept, shared.precision);
        raise(out)
    }

    fn attend(
        projected: Tensor<Self, 2>,
        rows: &Rows,
        heads: usize,
        dropout: Option<Dropout>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let plan = forward::Plan::new(rows, heads, dropout, precision);
        raise(forward::attend(&plan, &lower(projected)))
    }

    fn attend_selected(
        sides: [Tensor<Self, 2>; 3],
        rows: &Rows,
        selection: &Selection,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let plan = forward::Plan::selected(rows, selection, heads, precision);
        let sides = sides.map(lower);
        raise(forward::attend_selected(&plan, sides.each_ref()))
    }

    fn cross_entropy(logits: Tensor<Self, 2>, labels: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        raise(forward::cross_entropy(&lower(logits), &forward::labels(labels)).out)
    }
}

impl<C: CheckpointStrategy> AlbertBackend for Autodiff<Flex, C> {
    const HOST: bool = true;

    fn dense(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let (x, weight, bias) = (lower(x), lower(weight), lower(bias));
        let out = forward::dense(&x.primitive, &weight.primitive, &bias.primitive, precision);
        let nodes = [x.node.clone(), weight.node.clone(), bias.node.clone()];
        let step = steps::Dense.prepare::<C>(nodes).compute_bound().stateful();
        raise(match step {
            OpsKind::Tracked(step) => step.finish((x.primitive, weight.primitive, precision), out),
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }

    fn activate(x: Tensor<Self, 2>, activation: Activation) -> Tensor<Self, 2> {
        if activation != Activation::GeluNew {
            return plain::activate(x, activation);
        }
        let x = lower(x);
        let out = forward::gelu(&x.primitive);
        let step = steps::Gelu.prepare::<C>([x.node.clone()]);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(x.primitive, out),
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }

    fn normalize(
        x: Tensor<Self, 2>,
        residual: Option<Tensor<Self, 2>>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        eps: f64,
    ) -> Tensor<Self, 2> {
        let (x, weight, bias) = (lower(x), lower(weight), lower(bias));
        let residual = residual.map(lower);
        let normed = {
            let residual = residual.as_ref().map(|residual| &residual.primitive);
            forward::normalize(
                &x.primitive,
                residual,
                &weight.primitive,
                &bias.primitive,
                eps,
            )
        };
        let state = (normed.normed, normed.factors, weight.primitive);
        match residual {
            Some(residual) => {
                let nodes = [&x.node, &residual.node, &weight.node, &bias.node].map(Clone::clone);
                let step = steps::NormalizeSum.prepare::<C>(nodes);
                raise(match step.compute_bound().stateful() {
                    OpsKind::Tracked(step) => step.finish(state, normed.out),
                    OpsKind::UnTracked(step) => step.finish(normed.out),
                })
            }
            None => {
                let nodes = [&x.node, &weight.node, &bias.node].map(Clone::clone);
                let step = steps::Normalize.prepare::<C>(nodes);
                raise(match step.compute_bound().stateful() {
                    OpsKind::Tracked(step) => step.finish(state, normed.out),
                    OpsKind::UnTracked(step) => step.finish(normed.out),
                })
            }
        }
    }

    fn share(
        weights: Vec<Tensor<Self, 2>>,
        biases: Vec<Tensor<Self, 1>>,
        precision: Precision,
    ) -> Shared<Self> {
        let joined = plain::share(weights, biases, precision);
        let (weight, bias) = (lower(joined.weight), lower(joined.bias));
        let step = steps::Share.prepare::<C>([weight.node.clone(), bias.node.clone()]);
        let weight = match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(joined.kept.clone(), weight.primitive),
            OpsKind::UnTracked(step) => step.finish(weight.primitive),
        };
        Shared {
            weight: raise(weight),
            // Its gradient goes the weight's way.
            bias: Tensor::from_inner(raise(bias.primitive)),
            ..joined
        }
    }

    fn dense_shared(x: Tensor<Self, 2>, shared: &Shared<Self>) -> Tensor<Self, 2> {
        let (x, weight) = (lower(x), lower(shared.weight.clone()));
        let bias = lower(shared.bias.clone()).primitive;
        let (kept, precision) = (&shared.kept, shared.precision);
        let out = forward::dense_shared(&x.primitive, &weight.primitive, &bias, kept, precision);
        let step = steps::DenseShared.prepare::<C>([x.node.clone(), weight.node.clone()]);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let state = (x.primitive, weight.primitive, precision, kept.clone());
                step.finish(state, out)
            }
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }

    fn attend(
        projected: Tensor<Self, 2>,
        rows: &Rows,
        heads: usize,
        dropout: Option<Dropout>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let plan = forward::Plan::new(rows, heads, dropout, precision);
        let projected = lower(projected);
        let out = forward::attend(&plan, &projected.primitive);
        let step = steps::Attend.prepare::<C>([projected.node.clone()]);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((plan, projected.primitive), out),
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }

    fn attend_selected(
        sides: [Tensor<Self, 2>; 3],
        rows: &Rows,
        selection: &Selection,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let plan = forward::Plan::selected(rows, selection, heads, precision);
        let sides = sides.map(lower);
        let nodes = sides.each_ref().map(|side| side.node.clone());
        let sides = sides.map(|side| side.primitive);
        let out = forward::attend_selected(&plan, sides.each_ref());
        let step = steps::AttendSelected.prepare::<C>(nodes);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((plan, sides), out),
            OpsKind::UnTracked(step) => step.finish(out),
        })
    }

    fn cross_entropy(logits: Tensor<Self, 2>, labels: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        let labels = forward::labels(labels);
        let logits = lower(logits);
        let entropy = forward::cross_entropy(&logits.primitive, &labels);
        let step = steps::CrossEntropy.prepare::<C>([logits.node.clone()]);
        raise(match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                step.finish((logits.primitive, labels, entropy.log_sums), entropy.out)
            }
            OpsKind::UnTracked(step) => step.finish(entropy.out),
        })
    }
}

#[cfg(test)]
mod tests;
