//! From ids to the encoder's input.

use std::sync::Arc;

use albert_checkpoint::Checkpoint;

use crate::batch::Batch;
use crate::dense::{Dense, LayerNorm};
use crate::error::Result;
use crate::layer::take;
use crate::shared::{Shared, read_words};

/// Word, type and position embeddings of E dimensions, normalised and mapped to H: ALBERT's
/// factorised embeddings (Lan et al. 2019, section 3.1). The mapping is there also where E = H.
pub(crate) struct Embeddings {
    size: usize,
    words: Arc<Vec<f32>>,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: LayerNorm,
    mapping: Dense,
}

impl Embeddings {
    pub(crate) fn load(checkpoint: &Checkpoint, shared: Option<&mut Shared>) -> Result<Self> {
        let tensor = |name: &str| {
            let name = format!("albert.embeddings.{name}_embeddings.weight");
            checkpoint.tensor(&name)
        };
        let table = |name: &str| -> Result<Vec<f32>> { Ok(tensor(name)?.to_f32().into_owned()) };
        let words = tensor("word")?;
        let words = match shared {
            Some(shared) => shared.words(&words),
            None => read_words(&words),
        };
        checkpoint.release();
        Ok(Embeddings {
            size: checkpoint.config().embedding_size,
            words,
            positions: table("position")?,
            types: table("token_type")?,
            norm: LayerNorm::load(checkpoint, "albert.embeddings.LayerNorm")?,
            mapping: Dense::load(checkpoint, "albert.encoder.embedding_hidden_mapping_in")?,
        })
    }

    /// The word embeddings, `[vocab_size, embedding_size]`.
    pub(crate) fn words(&self) -> &[f32] {
        &self.words
    }

    #[cfg(test)]
    pub(crate) fn shared_words(&self) -> &Arc<Vec<f32>> {
        &self.words
    }

    /// Embeds a batch that was checked against the configuration.
    ///
    /// # Shapes
    /// `out` is `[tokens, hidden]`; `embedded` is working memory.
    pub(crate) fn forward(&self, batch: &Batch, embedded: &mut Vec<f32>, out: &mut [f32]) {
        let size = self.size;
        let embedded = take(embedded, batch.tokens() * size);
        for range in batch.ranges() {
            for (position, token) in range.clone().enumerate() {
                let word = &self.words[batch.ids()[token] as usize * size..][..size];
                let kind = &self.types[batch.type_ids()[token] as usize * size..][..size];
                let position = &self.positions[position * size..][..size];
                let sum = &mut embedded[token * size..][..size];
                for (i, sum) in sum.iter_mut().enumerate() {
                    *sum = word[i] + kind[i] + position[i];
                }
            }
        } // [tokens, embedding]
        self.norm.forward(embedded);
        self.mapping.forward(embedded, out); // [tokens, hidden]
    }
}
