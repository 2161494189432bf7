//! The ALBERT layer for learning (Lan et al. 2019, section 3.1): self-attention and a
//! feed-forward network, each followed by a residual connection and a norm.

use albert_checkpoint::{Activation, AlbertConfig};
use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};

use crate::dropout::{self, DropoutKey, Site};
use crate::heads::{Linear, Norm};
use crate::parameters::Builder;
use crate::{AlbertBackend, Precision, Result, Rows, Selection, Shared};

/// One layer, applied as often as layers share it.
#[derive(Module, Debug)]
pub(crate) struct Layer<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    attention_output: Linear<B>,
    attention_norm: Norm<B>,
    ffn: Linear<B>,
    ffn_output: Linear<B>,
    output_norm: Norm<B>,
    heads: usize,
    #[module(skip)]
    activation: Activation,
    hidden_dropout: f32,
    attention_dropout: f32,
    #[module(skip)]
    precision: Precision,
}

/// A layer's weights, ready for all its applications in a pass.
pub(crate) struct SharedLayer<B: Backend> {
    /// Queries, keys and values.
    projection: Shared<B>,
    attention_output: Shared<B>,
    ffn: Shared<B>,
    ffn_output: Shared<B>,
}

impl<B: AlbertBackend> Layer<B> {
    /// Inner layer `inner` of group `group`.
    pub(crate) fn build(
        builder: &mut Builder<'_, B>,
        config: &AlbertConfig,
        group: usize,
        inner: usize,
    ) -> Result<Self> {
        let prefix = format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}");
        let at = |part: &str| format!("{prefix}.{part}");
        let eps = config.layer_norm_eps.into();
        Ok(Self {
            query: Linear::build(builder, &at("attention.query"))?,
            key: Linear::build(builder, &at("attention.key"))?,
            value: Linear::build(builder, &at("attention.value"))?,
            attention_output: Linear::build(builder, &at("attention.dense"))?,
            attention_norm: Norm::build(builder, &at("attention.LayerNorm"), eps)?,
            ffn: Linear::build(builder, &at("ffn"))?,
            ffn_output: Linear::build(builder, &at("ffn_output"))?,
            output_norm: Norm::build(builder, &at("full_layer_layer_norm"), eps)?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            hidden_dropout: config.hidden_dropout_prob,
            attention_dropout: config.attention_probs_dropout_prob,
            precision: Precision::F32,
        })
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
        for linear in [
            &mut self.query,
            &mut self.key,
            &mut self.value,
            &mut self.attention_output,
            &mut self.ffn,
            &mut self.ffn_output,
        ] {
            linear.set_precision(precision);
        }
    }

    /// Makes the layer's weights ready for all its applications in a pass.
    pub(crate) fn share(&self) -> SharedLayer<B> {
        let share = |linears: &[&Linear<B>]| {
            let (weights, biases) = linears.iter().map(|linear| linear.parameters()).unzip();
            B::share(weights, biases, self.precision)
        };
        SharedLayer {
            projection: share(&[&self.query, &self.key, &self.value]),
            attention_output: share(&[&self.attention_output]),
            ffn: share(&[&self.ffn]),
            ffn_output: share(&[&self.ffn_output]),
        }
    }

    /// Applies the layer as the `depth`-th of the network.
    ///
    /// # Shapes
    /// - `x`: `[tokens, hidden]`
    /// - output: `[tokens, hidden]`
    pub(crate) fn forward(
        &self,
        x: Tensor<B, 2>,
        shared: &SharedLayer<B>,
        rows: &Rows,
        depth: usize,
        key: Option<DropoutKey>,
    ) -> Tensor<B, 2> {
        let site = Site::AttentionProbabilities;
        let dropped = DropoutKey::at(key, site, depth, self.attention_dropout);
        let projected = B::dense_shared(x.clone(), &shared.projection); // [tokens, 3 * hidden]
        let context = B::attend(projected, rows, self.heads, dropped, self.precision);
        self.after_attention(context, x, shared, rows, depth, key)
    }

    /// Applies the layer as the last of the network, for selected tokens alone; nothing is
    /// dropped.
    ///
    /// The other tokens are seen as keys and values, but what would become of them nobody asks:
    /// where a sixth of the tokens is masked, most of a layer's work is not done.
    ///
    /// # Shapes
    /// - `x`: `[tokens, hidden]`
    /// - output: `[selected, hidden]`
    pub(crate) fn forward_selected(
        &self,
        x: Tensor<B, 2>,
        shared: &SharedLayer<B>,
        rows: &Rows,
        selection: &Selection,
    ) -> Tensor<B, 2> {
        let own = x.clone().select(0, selection.indices::<B>(&x.device())); // [selected, hidden]
        let sides = [
            self.query.forward(own.clone()),
            self.key.forward(x.clone()),
            self.value.forward(x),
        ];
        let context = B::attend_selected(sides, rows, selection, self.heads, self.precision);
        self.after_attention(context, own, shared, rows, 0, None)
    }

    /// What follows attention: its output, its norm, the feed-forward network, and that one's norm.
    fn after_attention(
        &self,
        context: Tensor<B, 2>,
        x: Tensor<B, 2>,
        shared: &SharedLayer<B>,
        rows: &Rows,
        depth: usize,
        key: Option<DropoutKey>,
    ) -> Tensor<B, 2> {
        let drop = |site| DropoutKey::at(key, site, depth, self.hidden_dropout);
        let attended = B::dense_shared(context, &shared.attention_output);
        let attended = dropout::apply_to_rows(attended, rows, drop(Site::AttentionOutput));
        let x = self.attention_norm.forward(attended, Some(x));

        let inner = B::dense_shared(x.clone(), &shared.ffn); // [tokens, intermediate]
        let output = B::dense_shared(B::activate(inner, self.activation), &shared.ffn_output);
        let output = dropout::apply_to_rows(output, rows, drop(Site::FeedForward));
        self.output_norm.forward(output, Some(x))
    }

    /// Whether training drops anything in this layer.
    pub(crate) fn drops(&self) -> bool {
        self.hidden_dropout > 0.0 || self.attention_dropout > 0.0
    }
}
