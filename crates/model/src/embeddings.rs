//! Word, position and type embeddings (Lan et al. 2019, section 3.1: factorised, of their own
//! size, which the encoder then maps to the hidden size).

use albert_checkpoint::AlbertConfig;
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::dropout::{self, DropoutKey, Site};
use crate::heads::Norm;
use crate::parameters::Builder;
use crate::{AlbertBackend, Result, Rows};

/// The sum of three embeddings, normalised.
#[derive(Module, Debug)]
pub(crate) struct Embeddings<B: Backend> {
    words: Param<Tensor<B, 2>>,
    positions: Param<Tensor<B, 2>>,
    types: Param<Tensor<B, 2>>,
    norm: Norm<B>,
    dropout: f32,
}

impl<B: AlbertBackend> Embeddings<B> {
    pub(crate) fn build(builder: &mut Builder<'_, B>, config: &AlbertConfig) -> Result<Self> {
        let at = |part: &str| format!("albert.embeddings.{part}");
        let eps = config.layer_norm_eps.into();
        Ok(Self {
            words: builder.parameter(&at("word_embeddings.weight"))?,
            positions: builder.parameter(&at("position_embeddings.weight"))?,
            types: builder.parameter(&at("token_type_embeddings.weight"))?,
            norm: Norm::build(builder, &at("LayerNorm"), eps)?,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// The word embeddings `[vocab, embedding]`, to which the masked-LM decoder is tied.
    pub(crate) fn words(&self) -> Tensor<B, 2> {
        self.words.val()
    }

    /// # Shapes
    /// - `ids`, `type_ids`: `[tokens]`
    /// - output: `[tokens, embedding]`
    pub(crate) fn forward(
        &self,
        ids: Tensor<B, 1, Int>,
        type_ids: Tensor<B, 1, Int>,
        rows: &Rows,
        key: Option<DropoutKey>,
    ) -> Tensor<B, 2> {
        let positions = TensorData::from(rows.positions().as_slice());
        let positions = Tensor::from_data(positions, &ids.device());
        let sum = B::pick(self.words.val(), ids)
            + B::pick(self.positions.val(), positions)
            + B::pick(self.types.val(), type_ids);
        let normed = self.norm.forward(sum, None);
        dropout::apply_to_rows(
            normed,
            rows,
            DropoutKey::at(key, Site::Embeddings, 0, self.dropout),
        )
    }
}
