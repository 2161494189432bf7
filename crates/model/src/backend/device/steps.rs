//! The backward passes.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, activation};

use super::{CUBIC, LINEAR, Precision, lower, raise, rounded, sums, widened};

/// The most parts that a long product is cut into, and the fewest terms of one.
const PARTS: usize = 32;
const PART: usize = 256;

/// From so many outputs on a layer's gradient is such a product, too.
const VOCABULARY: usize = 8192;

/// The input and the weight as they were multiplied.
type Factors<B> = (Tensor<B, 2>, Tensor<B, 2>, Precision);

#[derive(Debug)]
pub(super) struct Dense;

impl<B: Backend> Backward<B, 3> for Dense {
    type State = Factors<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (x, weight, precision) = ops.state;
        let [of_x, of_weight, of_bias] = ops.parents;
        if let Some(node) = of_bias {
            let of_bias = sums::of_columns(gradient.clone());
            grads.register::<B>(node.id, lower(of_bias));
        }
        let gradient = rounded(gradient, precision);
        if let Some(node) = of_weight {
            let of_weight = over_tokens(gradient.clone(), x, precision);
            grads.register::<B>(node.id, lower(of_weight));
        }
        if let Some(node) = of_x {
            let of_x = over_outputs(gradient, weight, precision);
            grads.register::<B>(node.id, lower(of_x));
        }
    }
}

/// The transpose of `gradient` `[tokens, outputs]` times `x` `[tokens, inputs]`: `[outputs, inputs]`.
///
/// A device shares a product out by its results, of which there are few here, and long sums behind
/// each: on an H200 these products took five times as long as all others together. So the tokens are
/// cut into parts that are multiplied side by side.
fn over_tokens<B: Backend>(
    gradient: Tensor<B, 2>,
    x: Tensor<B, 2>,
    precision: Precision,
) -> Tensor<B, 2> {
    let ([tokens, outputs], [_, inputs]) = (gradient.dims(), x.dims());
    let parts = (tokens / PART).clamp(1, PARTS);
    let part = tokens / parts;
    let whole = part * parts;
    let rest = (whole < tokens).then(|| {
        let rest = |side: &Tensor<B, 2>| side.clone().narrow(0, whole, tokens - whole);
        widened(rest(&gradient).transpose().matmul(rest(&x)), precision)
    });
    let cut = |side: Tensor<B, 2>, width| -> Tensor<B, 3> {
        let side = match rest {
            Some(_) => side.narrow(0, 0, whole),
            None => side,
        };
        side.reshape([parts, part, width])
    };
    let products = cut(gradient, outputs)
        .swap_dims(1, 2)
        .matmul(cut(x, inputs));
    let products = widened(products, precision).reshape([parts, outputs * inputs]);
    let sum = sums::of_columns(products).reshape([outputs, inputs]);
    match rest {
        Some(rest) => sum + rest,
        None => sum,
    }
}

/// `gradient` `[tokens, outputs]` times `weight` `[outputs, inputs]`: `[tokens, inputs]`; cut as
/// [`over_tokens`] is where the outputs are a vocabulary.
fn over_outputs<B: Backend>(
    gradient: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    precision: Precision,
) -> Tensor<B, 2> {
    let ([tokens, outputs], [_, inputs]) = (gradient.dims(), weight.dims());
    let most = if outputs < VOCABULARY { 1 } else { PARTS / 2 };
    let parts = (1..=most)
        .rev()
        .find(|parts| outputs.is_multiple_of(*parts));
    let parts = parts.unwrap_or(1);
    if parts == 1 {
        return widened(gradient.matmul(weight), precision);
    }
    let gradient = gradient.reshape([tokens, parts, outputs / parts]);
    let weight = weight.reshape([parts, outputs / parts, inputs]);
    let products = widened(gradient.swap_dims(0, 1).matmul(weight), precision);
    sums::of_columns(products.reshape([parts, tokens * inputs])).reshape([tokens, inputs])
}

/// Three dense layers of one input; the weight of the state is all three below each other.
#[derive(Debug)]
pub(super) struct Project;

impl<B: Backend> Backward<B, 7> for Project {
    type State = Factors<B>;

    fn backward(self, ops: Ops<Self::State, 7>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (x, weight, precision) = ops.state;
        let outputs = weight.dims()[0] / 3;
        let [of_x, q, k, v, q_bias, k_bias, v_bias] = ops.parents;
        let of_biases = sums::of_columns(gradient.clone());
        for (side, node) in [q_bias, k_bias, v_bias].into_iter().enumerate() {
            if let Some(node) = node {
                let of_bias = of_biases.clone().narrow(0, side * outputs, outputs);
                grads.register::<B>(node.id, lower(of_bias));
            }
        }
        let gradient = rounded(gradient, precision);
        let of_weights = over_tokens(gradient.clone(), x, precision);
        for (side, node) in [q, k, v].into_iter().enumerate() {
            if let Some(node) = node {
                let of_weight = of_weights.clone().narrow(0, side * outputs, outputs);
                grads.register::<B>(node.id, lower(of_weight));
            }
        }
        if let Some(node) = of_x {
            let of_x = gradient.matmul(weight);
            grads.register::<B>(node.id, lower(widened(of_x, precision)));
        }
    }
}

#[derive(Debug)]
pub(super) struct Gelu;

impl<B: Backend> Backward<B, 1> for Gelu {
    type State = Tensor<B, 2>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let x = ops.state;
        let [of_x] = ops.parents;
        if let Some(node) = of_x {
            // x s(x u) with u = LINEAR + CUBIC x^2 becomes s (1 + x (1 - s) (u + 2 CUBIC x^2)).
            let cubic = x.clone().square() * CUBIC;
            let sigmoid = activation::sigmoid((cubic.clone() + LINEAR) * x.clone());
            let inner = (cubic * 3.0 + LINEAR) * x;
            let slope = ((sigmoid.clone().neg() + 1.0) * inner + 1.0) * sigmoid;
            grads.register::<B>(node.id, lower(gradient * slope));
        }
    }
}

/// The normalised rows, the factors that normalised them `[tokens, 1]`, the weight.
type NormState<B> = (Tensor<B, 2>, Tensor<B, 2>, Tensor<B, 1>);

/// The gradients of the rows, the weight and the bias.
fn normalize_backward<B: Backend>(
    (normed, factors, weight): NormState<B>,
    gradient: Tensor<B, 2>,
) -> (Tensor<B, 2>, [Tensor<B, 1>; 2]) {
    let width = normed.dims()[1] as f64;
    let of_weight = sums::of_columns(gradient.clone() * normed.clone());
    let of_bias = sums::of_columns(gradient.clone());
    let gradient = gradient * weight.unsqueeze();
    let mean = sums::of_rows(gradient.clone()) / width;
    let along = sums::of_rows(gradient.clone() * normed.clone()) / width;
    let of_x = (gradient - mean - normed * along) * factors;
    (of_x, [of_weight, of_bias])
}

#[derive(Debug)]
pub(super) struct Normalize;

impl<B: Backend> Backward<B, 3> for Normalize {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (of_x, of_sides) = normalize_backward(ops.state, gradient);
        let [x, weight, bias] = ops.parents;
        if let Some(node) = x {
            grads.register::<B>(node.id, lower(of_x));
        }
        for (node, gradient) in [weight, bias].into_iter().zip(of_sides) {
            if let Some(node) = node {
                grads.register::<B>(node.id, lower(gradient));
            }
        }
    }
}

/// The norm of a sum: both summands have the same gradient.
#[derive(Debug)]
pub(super) struct NormalizeSum;

impl<B: Backend> Backward<B, 4> for NormalizeSum {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (of_x, of_sides) = normalize_backward(ops.state, gradient);
        let [x, residual, weight, bias] = ops.parents;
        for node in [x, residual].into_iter().flatten() {
            grads.register::<B>(node.id, lower(of_x.clone()));
        }
        for (node, gradient) in [weight, bias].into_iter().zip(of_sides) {
            if let Some(node) = node {
                grads.register::<B>(node.id, lower(gradient));
            }
        }
    }
}

/// What attention keeps for its backward pass.
#[derive(Clone, Debug)]
pub(super) struct Attended<B: Backend> {
    /// Queries, keys and values as they were multiplied, `[rows, heads, len, dim]`.
    pub sides: [Tensor<B, 4>; 3],
    /// `[rows, heads, len, len]`, before dropout.
    pub probabilities: Tensor<B, 4>,
    /// Dropout's factors on them.
    pub mask: Option<Tensor<B, 4>>,
    /// On the products of queries and keys.
    pub scale: f64,
    pub precision: Precision,
}

#[derive(Debug)]
pub(super) struct Attend;

impl<B: Backend> Backward<B, 1> for Attend {
    type State = Attended<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let [of_projected] = ops.parents;
        let Some(node) = of_projected else {
            return;
        };
        let Attended {
            sides: [query, key, value],
            probabilities,
            mask,
            scale,
            precision,
        } = ops.state;
        let [count, heads, longest, dim] = query.dims();
        let (tokens, width) = (count * longest, heads * dim);
        let gradient = rounded(gradient, precision);
        let gradient = gradient.reshape([count, longest, heads, dim]);
        let gradient = gradient.swap_dims(1, 2);

        let wide = widened(probabilities.clone(), precision);
        let kept = match &mask {
            Some(mask) => rounded(wide.clone() * mask.clone(), precision),
            None => probabilities,
        };
        let of_value = kept.swap_dims(2, 3).matmul(gradient.clone());
        let of_kept = widened(gradient.matmul(value.swap_dims(2, 3)), precision);
        let of_probabilities = match mask {
            Some(mask) => of_kept * mask,
            None => of_kept,
        };
        let mean = (of_probabilities.clone() * wide.clone()).sum_dim(3);
        let of_scores = rounded((of_probabilities - mean) * wide * scale, precision);
        let of_query = of_scores.clone().matmul(key);
        let of_key = of_scores.swap_dims(2, 3).matmul(query);

        let joined =
            [of_query, of_key, of_value].map(|side| side.swap_dims(1, 2).reshape([tokens, width]));
        let of_projected = widened(Tensor::cat(joined.into(), 1), precision);
        grads.register::<B>(node.id, lower(of_projected));
    }
}

#[derive(Debug)]
pub(super) struct CrossEntropy;

impl<B: Backend> Backward<B, 1> for CrossEntropy {
    /// The logits, the labels and the log of each item's sum of exponentials `[items, 1]`.
    type State = (Tensor<B, 2>, Tensor<B, 2, Int>, Tensor<B, 2>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 1> = raise(grads.consume::<B>(&ops.node));
        let (logits, labels, log_sums) = ops.state;
        let [of_logits] = ops.parents;
        if let Some(node) = of_logits {
            let items = logits.dims()[0];
            let factor = (gradient / items as f64).reshape([1, 1]);
            let probabilities = (logits - log_sums.clone()).exp();
            let certain = log_sums.zeros_like() - 1.0;
            let difference = probabilities.scatter(1, labels, certain, IndexingUpdateOp::Add);
            grads.register::<B>(node.id, lower(difference * factor));
        }
    }
}

#[derive(Debug)]
pub(super) struct Pick;

impl<B: Backend> Backward<B, 1> for Pick {
    /// The indices and the number of the table's rows.
    type State = (Tensor<B, 1, Int>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (indices, rows) = ops.state;
        let [of_table] = ops.parents;
        if let Some(node) = of_table {
            let of_table = sums::scattered(gradient, indices, rows);
            grads.register::<B>(node.id, lower(of_table));
        }
    }
}
