//! Completing a sentence: the masked-LM head (Lan et al. 2019, section 4.1).

use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::Engine;
use albert_text::Tokenizer;
use serde::Serialize;

use crate::rows::{Row, Wanted};
use crate::{Asked, Error, LongText, Result};

/// Fills every `[MASK]` of a text with the pieces that the model finds likeliest.
#[derive(Clone)]
pub struct FillMask {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
}

/// The answer for one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Filled {
    /// The text as given.
    pub text: String,
    /// One entry a `[MASK]`, in order.
    pub masks: Vec<MaskFill>,
    /// True when the text is longer than the model's positions, so that each mask was filled
    /// from the window of text around it.
    pub windowed: bool,
    /// Pieces left out because the text is longer than the model reads.
    pub truncated: usize,
}

/// The candidates for one `[MASK]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MaskFill {
    /// Where the mask stands in the text: characters (Unicode scalar values), end exclusive.
    pub offsets: (usize, usize),
    /// Likeliest first.
    pub candidates: Vec<Candidate>,
}

/// One piece that may stand in a mask's place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// The piece's id.
    pub id: u32,
    /// The piece as the vocabulary writes it; `▁` begins a word.
    pub piece: String,
    /// Softmax probability over the whole vocabulary, between 0 and 1.
    pub probability: f32,
}

/// A row for the engine, and where its masks stand in the text.
struct Window {
    row: Row,
    offsets: Vec<(usize, usize)>,
}

impl FillMask {
    /// A task over a folder with a masked-LM head.
    ///
    /// # Errors
    /// [`Error::NoHead`] unless the folder is for pretraining or masked-LM.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::PreTraining | Architecture::MaskedLm => Ok(Self { engine, tokenizer }),
            _ => Err(Error::no_head("fill-mask", "masked-LM", &engine)),
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
        let asked = texts.iter().enumerate().map(|(row, text)| {
            let asked = self.ask(text, top, None);
            asked.map_err(|error| match error {
                Error::NoMask { text, .. } => Error::NoMask { row: row + 1, text },
                other => other,
            })
        });
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// The rows of a text for others to run, and the way from their numbers to
    /// [`FillMask::fill`]'s answer. A long text is read in windows around its masks unless told;
    /// where it is cut, masks behind the model's positions are not filled.
    ///
    /// # Errors
    /// [`Error::NoMask`], [`Error::MasksCut`], [`Error::TooLong`], and the tokenizer's.
    pub fn ask(&self, text: &str, top: usize, long: Option<LongText>) -> Result<Asked<Filled>> {
        let (windows, left_out) = self.windows(text, long)?;
        let mut rows = Vec::with_capacity(windows.len());
        let mut offsets = Vec::with_capacity(windows.len());
        for window in windows {
            rows.push(window.row);
            offsets.push(window.offsets);
        }
        let this = self.clone();
        let each = move |row: usize, logits: Vec<f32>| -> Vec<MaskFill> {
            let masks = offsets[row].iter();
            let said = masks.zip(logits.chunks(this.engine.config().vocab_size));
            said.map(|(offsets, logits)| MaskFill {
                offsets: *offsets,
                candidates: this.candidates(logits, top),
            })
            .collect()
        };
        let text = text.to_owned();
        let answer = move |masks: Vec<Vec<MaskFill>>| Filled {
            text,
            masks: masks.into_iter().flatten().collect(),
            windowed: left_out.is_some(),
            truncated: left_out.unwrap_or(0),
        };
        Ok(Asked::new(rows, Wanted::Masks, each, answer))
    }

    /// One window with all masks when the text fits, else windows that overlap, and how many pieces
    /// were left out at the text's end.
    fn windows(&self, text: &str, long: Option<LongText>) -> Result<(Vec<Window>, Option<usize>)> {
        let specials = self.tokenizer.specials();
        let tokens = self.tokenizer.tokens(text, true)?;
        let mut masks: Vec<usize> = (0..tokens.ids.len())
            .filter(|&at| tokens.ids[at] == specials.mask)
            .collect();
        let characters: Vec<char> = text.chars().collect();
        let room = self
            .engine
            .config()
            .max_position_embeddings
            .saturating_sub(2)
            .max(1);
        LongText::check(long, tokens.ids.len() + 2, room + 2)?;
        if masks.is_empty() {
            return Err(Error::NoMask {
                row: 1,
                text: text.chars().take(60).collect(),
            });
        }
        if long == Some(LongText::Cut) {
            masks.retain(|&at| at < room);
            if masks.is_empty() {
                return Err(Error::MasksCut { read: room });
            }
        }
        let fits = tokens.ids.len() <= room;
        let window = |start: usize, end: usize, masks: &[usize]| {
            let mut ids = vec![specials.cls];
            ids.extend_from_slice(&tokens.ids[start..end]);
            ids.push(specials.sep);
            let place = |&at: &usize| trimmed(&characters, tokens.offsets[at]);
            Window {
                offsets: masks.iter().map(place).collect(),
                row: Row {
                    type_ids: vec![0; ids.len()],
                    masks: masks.iter().map(|&at| at - start + 1).collect(),
                    ids,
                },
            }
        };
        if fits {
            return Ok((vec![window(0, tokens.ids.len(), &masks)], None));
        }
        if long == Some(LongText::Cut) {
            let left_out = tokens.ids.len() - room;
            return Ok((vec![window(0, room, &masks)], Some(left_out)));
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
        Ok((made, Some(0)))
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
