//! Ids of much text, fast: words met lately are not encoded again.

use crate::{Result, Tokenizer};

/// What is known of a word's pieces beside their ids.
///
/// SentencePiece adds scores up in f32 from a text's beginning, so that between near ties what
/// stands before a word can decide its pieces. They are certain where the sum before it is no
/// greater than `limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Certainty {
    /// What the word adds to the sum, as a magnitude.
    pub weight: f32,
    /// The greatest magnitude of the sum before the word that leaves its pieces as they are.
    pub limit: f32,
}

impl Certainty {
    /// Of words whose pieces depend on nothing else.
    pub const ALWAYS: Certainty = Certainty {
        weight: 0.0,
        limit: f32::INFINITY,
    };
}

/// The longest word that is remembered, in bytes: with it a slot fills a cache line.
const WORD_BYTES: usize = 26;

/// The most pieces of a word that is remembered.
const WORD_PIECES: usize = 7;

/// Pairs of slots: 16 MB an encoder. Of the words of English prose some 2% are then not found.
const PAIRS: usize = 1 << 17;

/// A remembered word, or nothing where `len` is 0.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    certainty: Certainty,
    ids: [u32; WORD_PIECES],
    word: [u8; WORD_BYTES],
    len: u8,
    pieces: u8,
}

const EMPTY: Slot = Slot {
    certainty: Certainty::ALWAYS,
    ids: [0; WORD_PIECES],
    word: [0; WORD_BYTES],
    len: 0,
    pieces: 0,
};

impl Slot {
    fn holds(&self, word: &[u8]) -> bool {
        self.len as usize == word.len() && self.word[..word.len()] == *word
    }
}

/// Turns much text into ids, and nothing but ids: what [`Tokenizer::tokens`] gives where special
/// pieces typed in the text are plain characters, many times faster.
///
/// Where the tokenizer's rules look at each word between spaces by itself (ALBERT's `spiece.model`
/// and the files that this crate writes), words met lately are remembered in a memory of fixed
/// size; each thread has an encoder of its own. Other files are followed text by text.
pub struct IdEncoder<'t> {
    tokenizer: &'t Tokenizer,
    /// Pairs of slots, the one used last first; empty where words depend on each other.
    slots: Vec<Slot>,
    found: Vec<u32>,
}

impl std::fmt::Debug for IdEncoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdEncoder")
            .field("remembers_words", &!self.slots.is_empty())
            .finish_non_exhaustive()
    }
}

impl<'t> IdEncoder<'t> {
    /// An encoder that has met no words yet.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        let slots = match tokenizer.has_independent_words() {
            true => vec![EMPTY; 2 * PAIRS],
            false => Vec::new(),
        };
        Self {
            tokenizer,
            slots,
            found: Vec::new(),
        }
    }

    /// Appends the ids of a text to `ids`.
    ///
    /// # Errors
    /// As [`Tokenizer::tokens`]; `ids` is then as it was.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let start = ids.len();
        let by_words = !self.slots.is_empty() && {
            let certain = self.words(text, ids);
            if !matches!(certain, Ok(true)) {
                ids.truncate(start);
            }
            certain?
        };
        if !by_words {
            ids.extend(self.tokenizer.tokens(text, false)?.ids);
        }
        Ok(())
    }

    /// Appends the ids word by word; false where they are not certain.
    fn words(&mut self, text: &str, ids: &mut Vec<u32>) -> Result<bool> {
        let mut sum = 0.0;
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let Certainty { weight, limit } = self.word(word, ids)?;
            if sum > limit {
                return Ok(false);
            }
            sum += weight;
        }
        Ok(true)
    }

    fn word(&mut self, word: &str, ids: &mut Vec<u32>) -> Result<Certainty> {
        let bytes = word.as_bytes();
        if bytes.len() > WORD_BYTES {
            return self.tokenizer.word_ids(word, ids);
        }
        let first = 2 * (hash(bytes) % PAIRS as u64) as usize;
        if !self.slots[first].holds(bytes) {
            if self.slots[first + 1].holds(bytes) {
                self.slots.swap(first, first + 1);
            } else {
                self.found.clear();
                let certainty = self.tokenizer.word_ids(word, &mut self.found)?;
                if self.found.len() > WORD_PIECES {
                    ids.extend_from_slice(&self.found);
                    return Ok(certainty);
                }
                let mut slot = Slot {
                    certainty,
                    len: bytes.len() as u8,
                    pieces: self.found.len() as u8,
                    ..EMPTY
                };
                slot.word[..bytes.len()].copy_from_slice(bytes);
                slot.ids[..self.found.len()].copy_from_slice(&self.found);
                self.slots[first + 1] = self.slots[first];
                self.slots[first] = slot;
            }
        }
        let slot = &self.slots[first];
        ids.extend_from_slice(&slot.ids[..slot.pieces as usize]);
        Ok(slot.certainty)
    }
}

/// Spreads words over the slots; what two words share costs time, never a wrong result.
fn hash(word: &[u8]) -> u64 {
    let mix =
        |hash: u64, part: u64| (hash.rotate_left(23) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut hash = word.len() as u64;
    let mut chunks = word.chunks_exact(8);
    for chunk in &mut chunks {
        let mut part = [0; 8];
        part.copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(part));
    }
    let rest = chunks
        .remainder()
        .iter()
        .fold(0, |part, &byte| part << 8 | u64::from(byte));
    hash = mix(hash, rest);
    hash ^ hash >> 32
}
