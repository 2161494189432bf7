//! Layers that the encoder and the heads are made of, and the masked-LM head.

use albert_checkpoint::{Activation, AlbertConfig};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};

use crate::parameters::Builder;
use crate::{AlbertBackend, Precision, Result};

/// A linear layer, its weight `[out, in]` as in PyTorch.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    precision: Precision,
}

impl<B: AlbertBackend> Linear<B> {
    pub(crate) fn build(builder: &mut Builder<'_, B>, name: &str) -> Result<Self> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"))?,
            bias: builder.parameter(&format!("{name}.bias"))?,
            precision: Precision::F32,
        })
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// The weight `[out, in]` and the bias `[out]`.
    pub(crate) fn parameters(&self) -> (Tensor<B, 2>, Tensor<B, 1>) {
        (self.weight.val(), self.bias.val())
    }

    /// # Shapes
    /// - `x`: `[tokens, in]`
    /// - output: `[tokens, out]`
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        B::dense(x, self.weight.val(), self.bias.val(), self.precision)
    }
}

/// Layer normalisation over the width.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    eps: f64,
}

impl<B: AlbertBackend> Norm<B> {
    pub(crate) fn build(builder: &mut Builder<'_, B>, name: &str, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"))?,
            bias: builder.parameter(&format!("{name}.bias"))?,
            eps,
        })
    }

    /// # Shapes
    /// - `x`, and `residual`, which is added first: `[tokens, width]`
    /// - output: `[tokens, width]`
    pub fn forward(&self, x: Tensor<B, 2>, residual: Option<Tensor<B, 2>>) -> Tensor<B, 2> {
        B::normalize(x, residual, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// The masked-LM head: back to the embedding size, activation, norm, and a decoder that is the
/// word embeddings themselves.
#[derive(Module, Debug)]
pub struct MaskedLmHead<B: Backend> {
    dense: Linear<B>,
    norm: Norm<B>,
    bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    activation: Activation,
}

impl<B: AlbertBackend> MaskedLmHead<B> {
    pub(crate) fn build(builder: &mut Builder<'_, B>, config: &AlbertConfig) -> Result<Self> {
        let eps = config.layer_norm_eps.into();
        Ok(Self {
            dense: Linear::build(builder, "predictions.dense")?,
            norm: Norm::build(builder, "predictions.LayerNorm", eps)?,
            bias: builder.parameter("predictions.bias")?,
            activation: config.hidden_act,
        })
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.dense.set_precision(precision);
    }

    /// # Shapes
    /// - `hidden`: `[positions, hidden]`, only the positions whose words are asked for
    /// - `words`: the word embeddings `[vocab, embedding]`
    /// - output: logits `[positions, vocab]`
    pub fn forward(&self, hidden: Tensor<B, 2>, words: Tensor<B, 2>) -> Tensor<B, 2> {
        let x = B::activate(self.dense.forward(hidden), self.activation);
        let x = self.norm.forward(x, None); // [positions, embedding]
        B::dense(x, words, self.bias.val(), self.dense.precision)
    }
}
