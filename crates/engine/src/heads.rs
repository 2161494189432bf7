//! What stands on top of the encoder.

use albert_checkpoint::{Architecture, Checkpoint};
use albert_kernels::Activation;

use crate::dense::{Dense, LayerNorm, kernel};
use crate::error::Result;

/// The masked-LM head: dense H to E, activation, layer norm, then the word embeddings as decoder.
pub(crate) struct MaskedLm {
    activation: Activation,
    dense: Dense,
    norm: LayerNorm,
    decoder: Dense,
}

impl MaskedLm {
    /// Loads the head; `words` are the word embeddings, `[vocab_size, embedding_size]`.
    fn load(checkpoint: &Checkpoint, words: &[f32]) -> Result<Self> {
        let config = checkpoint.config();
        let bias = checkpoint.tensor("predictions.bias")?.to_f32().into_owned();
        Ok(MaskedLm {
            activation: kernel(config.hidden_act),
            dense: Dense::load(checkpoint, "predictions.dense")?,
            norm: LayerNorm::load(checkpoint, "predictions.LayerNorm")?,
            decoder: Dense::new(words, config.embedding_size, bias),
        })
    }

    /// `states`: `[tokens, hidden]`; returns logits, `[tokens, vocab_size]`.
    pub(crate) fn forward(&self, states: &[f32]) -> Vec<f32> {
        let mut x = self.dense.apply_activate(states, self.activation); // [tokens, embedding]
        self.norm.forward(&mut x);
        self.decoder.apply(&x) // [tokens, vocab_size]
    }
}

/// The head that `architectures` names.
pub(crate) enum Head {
    /// None: the encoder alone.
    Base,
    /// Masked-LM and sentence order.
    PreTraining(MaskedLm, Dense),
    MaskedLm(MaskedLm),
    /// Classes or a score of a row, from its pooled vector; the classifiers of early exits.
    Sequence(Dense, Vec<Dense>),
    /// Classes of a token.
    Token(Dense),
    /// Start and end of an answer, per token.
    Question(Dense),
    /// One score a choice, from its pooled vector.
    Choice(Dense),
}

impl Head {
    pub(crate) fn load(checkpoint: &Checkpoint, words: &[f32]) -> Result<Self> {
        let dense = |name: &str| Dense::load(checkpoint, name);
        Ok(match checkpoint.config().architecture {
            Architecture::Base => Head::Base,
            Architecture::PreTraining => Head::PreTraining(
                MaskedLm::load(checkpoint, words)?,
                dense("sop_classifier.classifier")?,
            ),
            Architecture::MaskedLm => Head::MaskedLm(MaskedLm::load(checkpoint, words)?),
            Architecture::SequenceClassification => {
                let exits = (0..checkpoint.config().exits()).map(|i| dense(&format!("exits.{i}")));
                Head::Sequence(dense("classifier")?, exits.collect::<Result<_>>()?)
            }
            Architecture::TokenClassification => Head::Token(dense("classifier")?),
            Architecture::QuestionAnswering => Head::Question(dense("qa_outputs")?),
            Architecture::MultipleChoice => Head::Choice(dense("classifier")?),
        })
    }

    /// Whether the head reads the pooled vector.
    pub(crate) fn needs_pooled(&self) -> bool {
        matches!(
            self,
            Head::PreTraining(..) | Head::Sequence(..) | Head::Choice(_)
        )
    }
}
