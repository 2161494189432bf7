//! Completing a sentence: the masked-LM head (Lan et al. 2019, section 4.1).

use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::{Batch, Engine, What};
use albert_text::Tokenizer;
use serde::Serialize;

use crate::{Error, Result};

/// The most rows sent through the engine at once; bounds memory for long lists of texts.
const ROWS_AT_ONCE: usize = 8;

/// Fills every `[MASK]` of a text with the pieces that the model finds likeliest.
pub struct FillMask {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
}

/// The answer for one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Filled {
    /// The text as given.
    pub text: String,
    /// One entry a `[MASK]`, in order.
    pub masks: Vec<MaskFill>,
    /// True when the text is longer than the model's positions, so that each mask was filled
    /// from the window of text around it.
    pub windowed: bool,
}

/// The candidates for one `[MASK]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskFill {
    /// Where the mask stands in the text: characters (Unicode scalar values), end exclusive.
    pub offsets: (usize, usize),
    /// Likeliest first.
    pub candidates: Vec<Candidate>,
}

/// One piece that may stand in a mask's place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The piece's id.
    pub id: u32,
    /// The piece as the vocabulary writes it; `▁` begins a word.
    pub piece: String,
    /// Softmax probability over the whole vocabulary, between 0 and 1.
    pub probability: f32,
}

/// A row for the engine, and where its masks are.
struct Window {
    text: usize,
    ids: Vec<u32>,
    /// Position in `ids`, and the mask's offsets in the text.
    masks: Vec<(usize, (usize, usize))>,
}

impl FillMask {
    /// A task over a folder with a masked-LM head.
    ///
    /// # Errors
    /// [`Error::NoHead`] unless the folder is for pretraining or masked-LM.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::PreTraining | Architecture::MaskedLm => Ok(Self { engine, tokenizer }),
            other => Err(Error::NoHead {
                task: "fill-mask",
                needed: "masked-LM",
                found: other.to_string(),
            }),
        }
    }

    /// The `top` likeliest pieces for every `[MASK]` of every text.
    ///
    /// A text that fits is `[CLS] text [SEP]`, and answers equal those of transformers'
    /// `fill-mask` pipeline on the same folder.
    ///
    /// # Errors
    /// [`Error::NoMask`] for a text without `[MASK]`.
    pub fn fill(&self, texts: &[&str], top: usize) -> Result<Vec<Filled>> {
        let mut answers = Vec::with_capacity(texts.len());
        let mut windows = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let made = self.windows(row, text)?;
            answers.push(Filled {
                text: (*text).to_owned(),
                masks: Vec::new(),
                windowed: made.1,
            });
            windows.extend(made.0);
        }
        for chunk in windows.chunks(ROWS_AT_ONCE) {
            let (batch, positions) = batch_of(chunk)?;
            let what = What {
                head: true,
                masked_lm_positions: Some(positions),
                ..What::default()
            };
            let outputs = self.engine.forward(&batch, &what)?;
            let logits = outputs.masked_lm_logits.unwrap_or_default();
            let masks = chunk
                .iter()
                .flat_map(|window| window.masks.iter().map(|mask| (window.text, mask.1)));
            for ((text, offsets), row) in masks.zip(logits.chunks(self.engine.config().vocab_size))
            {
                let candidates = self.candidates(row, top);
                answers[text].masks.push(MaskFill {
                    offsets,
                    candidates,
                });
            }
        }
        Ok(answers)
    }

    /// One window with all masks when the text fits, else windows that overlap.
    fn windows(&self, row: usize, text: &str) -> Result<(Vec<Window>, bool)> {
        let specials = self.tokenizer.specials();
        let tokens = self.tokenizer.tokens(text, true)?;
        let masks: Vec<usize> = (0..tokens.ids.len())
            .filter(|&at| tokens.ids[at] == specials.mask)
            .collect();
        let characters: Vec<char> = text.chars().collect();
        if masks.is_empty() {
            return Err(Error::NoMask {
                row: row + 1,
                text: text.chars().take(60).collect(),
            });
        }
        let room = self
            .engine
            .config()
            .max_position_embeddings
            .saturating_sub(2)
            .max(1);
        let fits = tokens.ids.len() <= room;
        let window = |start: usize, end: usize, masks: &[usize]| {
            let mut ids = vec![specials.cls];
            ids.extend_from_slice(&tokens.ids[start..end]);
            ids.push(specials.sep);
            let masks = masks
                .iter()
                .map(|&at| (at - start + 1, trimmed(&characters, tokens.offsets[at])))
                .collect();
            Window {
                text: row,
                ids,
                masks,
            }
        };
        if fits {
            return Ok((vec![window(0, tokens.ids.len(), &masks)], false));
        }
        // A window answers the masks in its middle half, so that each has at least a quarter of a
        // window before and behind it, where the text has that much.
        let last_start = tokens.ids.len() - room;
        let mut made = Vec::new();
        let mut rest = masks.as_slice();
        while let Some(&first) = rest.first() {
            let start = first.saturating_sub(room / 4).min(last_start);
            let end = if start == last_start {
                tokens.ids.len()
            } else {
                first + (room / 2).max(1)
            };
            let (here, later) = rest.split_at(rest.partition_point(|&at| at < end));
            made.push(window(start, start + room, here));
            rest = later;
        }
        Ok((made, true))
    }

    fn candidates(&self, logits: &[f32], top: usize) -> Vec<Candidate> {
        let known = logits.len().min(self.tokenizer.vocab_size());
        let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|&x| f64::from(x - maximum).exp()).sum();
        let mut order: Vec<usize> = (0..known).collect();
        let by_logit = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        let top = top.min(known);
        if top < known {
            order.select_nth_unstable_by(top, by_logit);
            order.truncate(top);
        }
        order.sort_unstable_by(by_logit);
        order
            .into_iter()
            .map(|id| Candidate {
                id: id as u32,
                piece: self
                    .tokenizer
                    .id_to_piece(id as u32)
                    .unwrap_or_default()
                    .to_owned(),
                probability: (f64::from(logits[id] - maximum).exp() / total) as f32,
            })
            .collect()
    }
}

/// A span without the white space that a tokenizer may count to a mask.
fn trimmed(characters: &[char], (start, end): (usize, usize)) -> (usize, usize) {
    let inside = &characters[start..end];
    let blank = |character: &&char| character.is_whitespace();
    let before = inside.iter().take_while(blank).count();
    let after = inside[before..].iter().rev().take_while(blank).count();
    (start + before, end - after)
}

/// The rows end to end, and the masks' token indices in them.
fn batch_of(windows: &[Window]) -> Result<(Batch, Vec<usize>)> {
    let mut batch = Batch::new();
    let mut positions = Vec::new();
    for window in windows {
        let start = batch.tokens();
        batch.push(&window.ids, None)?;
        positions.extend(window.masks.iter().map(|mask| start + mask.0));
    }
    Ok((batch, positions))
}
