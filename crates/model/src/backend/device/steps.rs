//! The backward passes.

use burn::backend::autodiff::NodeId;
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

/// Hands a parent its gradient, if it wants one; only then is it worked out.
fn register<B: Backend, const D: usize>(
    grads: &mut Gradients,
    parent: Option<NodeId>,
    gradient: impl FnOnce() -> Tensor<B, D>,
) {
    if let Some(id) = parent {
        grads.register::<B>(id, lower(gradient()));
    }
}

/// The ids of an operation's parents that want gradients.
macro_rules! ids {
    ($parents:expr) => {
        $parents.map(|parent| parent.map(|node| node.id))
    };
}

#[derive(Debug)]
pub(super) struct Dense;

impl<B: Backend> Backward<B, 3> for Dense {
    type State = Factors<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (x, weight, precision) = ops.state;
        let [of_x, of_weight, of_bias] = ids!(ops.parents);
        register(grads, of_bias, || sums::of_columns(gradient.clone()));
        let gradient = rounded(gradient, precision);
        register(grads, of_weight, || {
            over_tokens(gradient.clone(), x, precision)
        });
        register(grads, of_x, || over_outputs(gradient, weight, precision));
    }
}

/// The transpose of `gradient` `[tokens, outputs]` times `x` `[tokens, inputs]`: `[outputs, inputs]`.
///
/// A device shares a product out by its results, of which there are few here, and long sums behind
/// each: on an H200 these products took three quarters of the time of all. So the tokens are cut into
/// parts that are multiplied side by side.
fn over_tokens<B: Backend>(
    gradient: Tensor<B, 2>,
    x: Tensor<B, 2>,
    precision: Precision,
) -> Tensor<B, 2> {
    let ([tokens, outputs], [_, inputs]) = (gradient.dims(), x.dims());
    let parts = (tokens / PART).clamp(1, PARTS);
    let part = tokens / parts;
    let (gradient, gradient_left) = sums::cut(gradient, parts, part);
    let (x, x_left) = sums::cut(x, parts, part);
    let products = widened(gradient.swap_dims(1, 2).matmul(x), precision);
    let products = products.reshape([parts, outputs * inputs]);
    let sum = sums::of_columns(products).reshape([outputs, inputs]);
    match gradient_left.zip(x_left) {
        Some((gradient, x)) => sum + widened(gradient.transpose().matmul(x), precision),
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

#[derive(Debug)]
pub(super) struct Gelu;

impl<B: Backend> Backward<B, 1> for Gelu {
    type State = Tensor<B, 2>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let x = ops.state;
        let [of_x] = ids!(ops.parents);
        register(grads, of_x, || {
            // x s(x u) with u = LINEAR + CUBIC x^2 becomes s (1 + x (1 - s) (u + 2 CUBIC x^2)).
            let cubic = x.clone().square() * CUBIC;
            let sigmoid = activation::sigmoid((cubic.clone() + LINEAR) * x.clone());
            let inner = (cubic * 3.0 + LINEAR) * x;
            let slope = ((sigmoid.clone().neg() + 1.0) * inner + 1.0) * sigmoid;
            gradient * slope
        });
    }
}

/// The normalised rows, the factors that normalised them `[tokens, 1]`, the weight.
type NormState<B> = (Tensor<B, 2>, Tensor<B, 2>, Tensor<B, 1>);

/// The gradients of the rows, the weight and the bias.
fn normalize_backward<B: Backend>(
    (normed, factors, weight): NormState<B>,
    gradient: Tensor<B, 2>,
) -> (Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 1>) {
    let width = normed.dims()[1] as f64;
    let of_weight = sums::of_columns(gradient.clone() * normed.clone());
    let of_bias = sums::of_columns(gradient.clone());
    let gradient = gradient * weight.unsqueeze();
    let mean = sums::of_rows(gradient.clone()) / width;
    let along = sums::of_rows(gradient.clone() * normed.clone()) / width;
    let of_x = (gradient - mean - normed * along) * factors;
    (of_x, of_weight, of_bias)
}

#[derive(Debug)]
pub(super) struct Normalize;

impl<B: Backend> Backward<B, 3> for Normalize {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (of_x, of_weight, of_bias) = normalize_backward(ops.state, gradient);
        let [x, weight, bias] = ids!(ops.parents);
        register(grads, x, || of_x);
        register(grads, weight, || of_weight);
        register(grads, bias, || of_bias);
    }
}

/// The norm of a sum: both summands have the same gradient.
#[derive(Debug)]
pub(super) struct NormalizeSum;

impl<B: Backend> Backward<B, 4> for NormalizeSum {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = raise(grads.consume::<B>(&ops.node));
        let (of_x, of_weight, of_bias) = normalize_backward(ops.state, gradient);
        let [x, residual, weight, bias] = ids!(ops.parents);
        register(grads, x, || of_x.clone());
        register(grads, residual, || of_x);
        register(grads, weight, || of_weight);
        register(grads, bias, || of_bias);
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
        let [of_logits] = ids!(ops.parents);
        register(grads, of_logits, || {
            let items = logits.dims()[0];
            let factor = (gradient / items as f64).reshape([1, 1]);
            let probabilities = (logits - log_sums.clone()).exp();
            let certain = log_sums.zeros_like() - 1.0;
            probabilities.scatter(1, labels, certain, IndexingUpdateOp::Add) * factor
        });
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
        let [of_table] = ids!(ops.parents);
        register(grads, of_table, || sums::scattered(gradient, indices, rows));
    }
}
