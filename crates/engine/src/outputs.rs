//! What to compute, and what came out.

use std::ops::Range;

/// Which outputs [`forward`](crate::Engine::forward) computes. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct What {
    /// The encoder's input and every layer's output.
    pub hidden_states: bool,
    /// The last layer's output at every token.
    pub last_hidden_state: bool,
    /// The pooled vector of every row.
    pub pooled: bool,
    /// The logits of the head that the checkpoint's architecture names.
    pub head: bool,
    /// Where masked-LM logits are computed: token indices into the batch, in any order. `None`
    /// means at every token, which for a vocabulary of 30,000 is 120 KB a token.
    pub masked_lm_positions: Option<Vec<usize>>,
    /// Whether rows leave before the last layer, where the head is a sequence classifier with early
    /// exits and nothing but the head is asked for; else it has no effect.
    pub early_exit: Option<EarlyExit>,
}

/// When a row needs no further layer (PABEE, Zhou et al. 2020).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyExit {
    /// A row leaves once so many classifiers in a row agreed with the one before them.
    pub patience: usize,
    /// Numbers agree that differ by no more than this; classes agree if they are the same.
    pub tolerance: f32,
}

impl EarlyExit {
    /// How far apart two numbers may be that agree, unless told.
    pub const TOLERANCE: f32 = 0.1;

    /// With a patience, and the usual tolerance between numbers.
    pub fn after(patience: usize) -> Self {
        EarlyExit {
            patience,
            tolerance: Self::TOLERANCE,
        }
    }
}

/// What a forward pass computed, f32, row-major, the rows' tokens end to end.
///
/// An output is `None`, or empty, if it was not asked for or if the architecture does not have it:
/// masked-LM, token and question checkpoints have no pooler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Token range of each row.
    pub rows: Vec<Range<usize>>,
    /// `num_hidden_layers + 1` times `[tokens, hidden]`, as transformers orders them: the
    /// embeddings after their mapping to H first, then the output of every layer (a layer of
    /// several inner layers counts once).
    pub hidden_states: Vec<Vec<f32>>,
    /// `[tokens, hidden]`
    pub last_hidden_state: Option<Vec<f32>>,
    /// `[rows, hidden]`: tanh of a dense layer on each row's first token.
    pub pooled: Option<Vec<f32>>,
    /// `[tokens, vocab_size]`, or `[positions, vocab_size]` in the order asked for.
    pub masked_lm_logits: Option<Vec<f32>>,
    /// How many layers each row went through, where rows could leave early.
    pub exit_layers: Option<Vec<usize>>,
    /// `[rows, 2]`: in order, swapped.
    pub sentence_order_logits: Option<Vec<f32>>,
    /// `[rows, labels]`; for regression one number a row.
    pub sequence_logits: Option<Vec<f32>>,
    /// `[tokens, labels]`
    pub token_logits: Option<Vec<f32>>,
    /// `[tokens]`
    pub start_logits: Option<Vec<f32>>,
    /// `[tokens]`
    pub end_logits: Option<Vec<f32>>,
    /// `[rows]`: one number for each row, which is one choice.
    pub choice_logits: Option<Vec<f32>>,
}

/// The index of the greatest logit, the first of equals; 0 where there is none.
pub fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best
}
