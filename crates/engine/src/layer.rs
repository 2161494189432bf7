//! ALBERT's layer, for use.
//!
//! A transformer encoder's layer with layer norms after the residuals (Vaswani et al. 2017, section
//! 3.1; Lan et al. 2019, section 3.1). One `Layer` holds one set of weights; ALBERT runs it many
//! times over, so they are packed once and shared.

use std::ops::Range;

use albert_checkpoint::{Checkpoint, LayerModule};
use albert_kernels::{Activation, QuantizedRows, Spare, attention, in_row_blocks};

use crate::dense::{LayerNorm, kernel};
use crate::engine::Precision;
use crate::error::Result;
use crate::linear::Linear;

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
    /// What attention gave, `[tokens, hidden]`.
    context: Vec<f32>,
    kept_context: Vec<f32>,
    kept: Vec<f32>,
    blocks: Spare<BlockWorkspace>,
}

/// Memory of a block of tokens.
#[derive(Default)]
struct BlockWorkspace {
    attended: Vec<f32>,
    ffn: Vec<f32>,
    /// The input of a product, where it is quantised.
    rows: QuantizedRows,
}

impl Layer {
    /// What the names of a layer's tensors begin with.
    pub(crate) fn name(group: usize, inner: usize) -> String {
        format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}.")
    }

    /// Reads and packs the layer `inner` of group `group`.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        group: usize,
        inner: usize,
        precision: Precision,
    ) -> Result<Self> {
        let config = checkpoint.config();
        let name = Self::name(group, inner);
        let part = |suffix: &str| format!("{name}{suffix}");
        let precision_of = |module| match config.int8_skip_modules.contains(&module) {
            true => Precision::F32,
            false => precision,
        };
        let linear =
            |suffix: &str, module| Linear::load(checkpoint, &[part(suffix)], precision_of(module));
        Ok(Layer {
            heads: config.num_attention_heads,
            head_dim: config.head_dim(),
            activation: kernel(config.hidden_act),
            qkv: Linear::load(
                checkpoint,
                &["query", "key", "value"].map(|x| part(&format!("attention.{x}"))),
                precision_of(LayerModule::Attention),
            )?,
            attention_dense: linear("attention.dense", LayerModule::Attention)?,
            attention_norm: LayerNorm::load(checkpoint, &part("attention.LayerNorm"))?,
            ffn: linear("ffn", LayerModule::Ffn)?,
            ffn_output: linear("ffn_output", LayerModule::FfnOutput)?,
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
        self.attend(x, rows, work);
        match kept {
            None => self.complete(x, work),
            Some(kept) => {
                let kept = self.peek(x, kept, work);
                x[..kept.len()].copy_from_slice(kept);
            }
        }
    }

    /// The first half of [`forward`](Self::forward): attention over `x`, which stays.
    pub(crate) fn attend(&self, x: &[f32], rows: &[Range<usize>], work: &mut LayerWorkspace) {
        let hidden = self.hidden();
        let tokens = x.len() / hidden;
        let qkv = take(&mut work.qkv, tokens * 3 * hidden);
        in_row_blocks(tokens, x, qkv, &work.blocks, |x, qkv, block| {
            self.qkv.forward(x, None, &mut block.rows, qkv); // [tokens, 3 * hidden]
        });
        let context = take(&mut work.context, tokens * hidden);
        attention(qkv, rows, self.heads, self.head_dim, context); // [tokens, hidden]
    }

    /// The other half, in place, after [`attend`](Self::attend) on the same `x`.
    pub(crate) fn complete(&self, x: &mut [f32], work: &mut LayerWorkspace) {
        self.rest(x, &work.context[..x.len()], &work.blocks);
    }

    /// What the other half makes of some tokens, `[kept, hidden]`; `x` stays, so that it can still
    /// be completed.
    pub(crate) fn peek<'w>(
        &self,
        x: &[f32],
        kept: &[usize],
        work: &'w mut LayerWorkspace,
    ) -> &'w [f32] {
        let hidden = self.hidden();
        let kept_context = take(&mut work.kept_context, kept.len() * hidden);
        let kept_x = take(&mut work.kept, kept.len() * hidden);
        for (i, token) in kept.iter().enumerate() {
            let (to, from) = (i * hidden, token * hidden);
            kept_context[to..to + hidden].copy_from_slice(&work.context[from..from + hidden]);
            kept_x[to..to + hidden].copy_from_slice(&x[from..from + hidden]);
        }
        self.rest(kept_x, kept_context, &work.blocks);
        kept_x
    }

    /// Drops all tokens but those in `ranges`, which ascend, from `x` and from what attention gave;
    /// the number of elements of `x` that are left.
    pub(crate) fn drop_others(
        &self,
        x: &mut [f32],
        ranges: &[Range<usize>],
        work: &mut LayerWorkspace,
    ) -> usize {
        let hidden = self.hidden();
        let mut len = 0;
        for range in ranges {
            let from = range.start * hidden..range.end * hidden;
            x.copy_within(from.clone(), len);
            work.context.copy_within(from.clone(), len);
            len += from.len();
        }
        len
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    /// All after attention: `x` is the layer's input and becomes its output. A block of tokens goes
    /// all the way while what it leaves between the products is in the caches.
    fn rest(&self, x: &mut [f32], context: &[f32], spare: &Spare<BlockWorkspace>) {
        let hidden = self.hidden();
        let tokens = x.len() / hidden;
        in_row_blocks(tokens, context, x, spare, |context, x, block| {
            let rows = &mut block.rows;
            let attended = take(&mut block.attended, x.len());
            self.attention_dense.forward(context, None, rows, attended); // [tokens, hidden]
            self.attention_norm.forward_add(attended, x);

            let ffn = take(&mut block.ffn, x.len() / hidden * self.ffn.outputs());
            self.ffn.forward(attended, Some(self.activation), rows, ffn); // [tokens, intermediate]
            self.ffn_output.forward(ffn, None, rows, x); // [tokens, hidden]
            self.full_norm.forward_add(x, attended);
        });
    }
}

/// The first `len` elements of a buffer that only grows; what they hold is left over.
pub(crate) fn take(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
