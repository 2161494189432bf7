//! Which of two texts came first: the sentence-order head (Lan et al. 2019, section 3.1).

use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::{Batch, Engine, What};
use albert_text::{EncodeOptions, Tokenizer, Truncation};
use serde::Serialize;

use crate::{Error, Result};

/// Judges whether two consecutive texts stand in their original order.
pub struct SentenceOrder {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
}

/// The answer for a pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderJudgement {
    /// Probability that the first text comes before the second (label 0).
    pub in_order: f32,
    /// Probability that the two are swapped (label 1).
    pub swapped: f32,
    /// Pieces left out because the pair is longer than the model's positions; 0 when it fits.
    pub truncated: usize,
}

impl SentenceOrder {
    /// A task over a folder with a sentence-order head.
    ///
    /// # Errors
    /// [`Error::NoHead`] unless the folder is for pretraining.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::PreTraining => Ok(Self { engine, tokenizer }),
            _ => Err(Error::no_head("order", "sentence-order", &engine)),
        }
    }

    /// How likely `first` is to stand before `second`; special pieces typed in them are read as
    /// plain text.
    ///
    /// # Errors
    /// [`Error::BlankText`] when one of the two has no pieces.
    pub fn judge(&self, first: &str, second: &str) -> Result<OrderJudgement> {
        for (text, name) in [(first, "the first text"), (second, "the second text")] {
            if self.tokenizer.tokens(text, false)?.ids.is_empty() {
                return Err(Error::BlankText(name));
            }
        }
        let options = EncodeOptions {
            max_length: Some(self.engine.config().max_position_embeddings),
            truncation: Truncation::LongestFirst,
            parse_specials: false,
            ..EncodeOptions::default()
        };
        let encoding = self.tokenizer.encode_pair(first, second, &options)?;
        let mut batch = Batch::new();
        batch.push(&encoding.ids, Some(&encoding.type_ids))?;
        let what = What {
            head: true,
            masked_lm_positions: Some(Vec::new()),
            ..What::default()
        };
        let outputs = self.engine.forward(&batch, &what)?;
        let logits = outputs.sentence_order_logits.unwrap_or_default();
        let margin = match logits.as_slice() {
            [in_order, swapped] => swapped - in_order,
            _ => f32::NAN,
        };
        let swapped = 1.0 / (1.0 + (-margin).exp());
        Ok(OrderJudgement {
            in_order: 1.0 - swapped,
            swapped,
            truncated: encoding.truncated,
        })
    }
}
