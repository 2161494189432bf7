//! ALBERT's layer, for use.
//!
//! A transformer encoder's layer with layer norms after the residuals (Vaswani et al. 2017, section
//! 3.1; Lan et al. 2019, section 3.1). One `Layer` holds one set of weights; ALBERT runs it many
//! times over, so they are packed once and shared.

use std::ops::Range;

use albert_checkpoint::Checkpoint;
use albert_kernels::{Activation, AttentionWorkspace, QuantizedRows, attention};

use crate::dense::{LayerNorm, kernel};
use crate::engine::Precision;
use crate::error::Result;
use crate::linear::Linear;

/// Tokens that go through the feed-forward part at a time: bounds its memory, and keeps what
/// lies between its two products in the caches.
const FFN_TOKENS: usize = 384;

/// One distinct layer of the model.
pub(crate) struct Layer {
    heads: usize,
    head_dim: usize,
    activation: Activation,
    /// Query, key and value side by side.
    qkv: Linear,
    attention_dense: Linear,
    attention_norm: LayerNorm,
    ffn: Linear,
    ffn_output: Linear,
    full_norm: LayerNorm,
}

/// Memory between the operations of a layer, kept from forward pass to forward pass.
#[derive(Default)]
pub(crate) struct LayerWorkspace {
    qkv: Vec<f32>,
    context: Vec<f32>,
    attended: Vec<f32>,
    ffn: Vec<f32>,
    /// The input of a product, where it is quantised.
    rows: QuantizedRows,
    attention: AttentionWorkspace,
}

impl Layer {
    /// Reads and packs the layer `inner` of group `group`.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        group: usize,
        inner: usize,
        precision: Precision,
    ) -> Result<Self> {
        let config = checkpoint.config();
        let name = format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}");
        let part = |suffix: &str| format!("{name}.{suffix}");
        let linear = |suffix: &str| Linear::load(checkpoint, &[part(suffix)], precision);
        Ok(Layer {
            heads: config.num_attention_heads,
            head_dim: config.head_dim(),
            activation: kernel(config.hidden_act),
            qkv: Linear::load(
                checkpoint,
                &["query", "key", "value"].map(|x| part(&format!("attention.{x}"))),
                precision,
            )?,
            attention_dense: linear("attention.dense")?,
            attention_norm: LayerNorm::load(checkpoint, &part("attention.LayerNorm"))?,
            ffn: linear("ffn")?,
            ffn_output: linear("ffn_output")?,
            full_norm: LayerNorm::load(checkpoint, &part("full_layer_layer_norm"))?,
        })
    }

    /// Runs the layer on `x` in place; with `kept`, only for these tokens, whose results are then
    /// the first of `x`, in the order of `kept`.
    ///
    /// # Shapes
    /// `x` is `[tokens, hidden]`; `rows` are the rows' token ranges, from 0 to `tokens` without
    /// gaps. Attention stays inside a row.
    pub(crate) fn forward(
        &self,
        x: &mut [f32],
        rows: &[Range<usize>],
        kept: Option<&[usize]>,
        work: &mut LayerWorkspace,
    ) {
        let hidden = self.heads * self.head_dim;
        let tokens = x.len() / hidden;

        let quantized = &mut work.rows;
        let qkv = take(&mut work.qkv, tokens * 3 * hidden);
        self.qkv.forward(x, None, quantized, qkv); // [tokens, 3 * hidden]

        let mut context = take(&mut work.context, tokens * hidden);
        let packed = &mut work.attention;
        attention(qkv, rows, self.heads, self.head_dim, packed, context); // [tokens, hidden]

        let mut x = x;
        if let Some(kept) = kept {
            let len = kept.len() * hidden;
            // Queries, keys and values are done with.
            let (kept_context, kept_x) = qkv[..2 * len].split_at_mut(len);
            for (i, token) in kept.iter().enumerate() {
                let (to, from) = (i * hidden, token * hidden);
                kept_context[to..to + hidden].copy_from_slice(&context[from..from + hidden]);
                kept_x[to..to + hidden].copy_from_slice(&x[from..from + hidden]);
            }
            x = &mut x[..len];
            x.copy_from_slice(kept_x);
            context = kept_context;
        }

        let attended = take(&mut work.attended, x.len());
        self.attention_dense
            .forward(context, None, quantized, attended); // [tokens, hidden]
        self.attention_norm.forward_add(attended, x);

        let blocks = attended
            .chunks(FFN_TOKENS * hidden)
            .zip(x.chunks_mut(FFN_TOKENS * hidden));
        for (attended, x) in blocks {
            let ffn = take(&mut work.ffn, x.len() / hidden * self.ffn.outputs());
            self.ffn
                .forward(attended, Some(self.activation), quantized, ffn); // [tokens, intermediate]
            self.ffn_output.forward(ffn, None, quantized, x); // [tokens, hidden]
            self.full_norm.forward_add(x, attended);
        }
    }
}

/// The first `len` elements of a buffer that only grows; what they hold is left over.
pub(crate) fn take(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
