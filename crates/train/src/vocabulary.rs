//! What masking needs to know of a tokenizer: special pieces, word starts, ordinary pieces.

use albert_text::Tokenizer;

/// The pieces of a vocabulary by their part in pretraining.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// `<pad>`
    pub pad: u32,
    /// `[CLS]`
    pub cls: u32,
    /// `[SEP]`
    pub sep: u32,
    /// `[MASK]`
    pub mask: u32,
    word_start: Vec<bool>,
    ordinary: Vec<u32>,
}

impl Vocabulary {
    /// Reads the parts from a tokenizer.
    pub fn new(tokenizer: &Tokenizer) -> Vocabulary {
        let specials = tokenizer.specials();
        let ids = 0..tokenizer.vocab_size() as u32;
        Vocabulary {
            pad: specials.pad,
            cls: specials.cls,
            sep: specials.sep,
            mask: specials.mask,
            word_start: ids.clone().map(|id| tokenizer.is_word_start(id)).collect(),
            ordinary: ids.filter(|&id| tokenizer.is_ordinary(id)).collect(),
        }
    }

    /// A vocabulary of `len` pieces without a tokenizer, for benchmarks: ALBERT's special pieces
    /// first, then ordinary ones that each are a word.
    pub(crate) fn generated(len: usize) -> Vocabulary {
        Vocabulary {
            pad: 0,
            cls: 2,
            sep: 3,
            mask: 4,
            word_start: vec![true; len],
            ordinary: (5..len as u32).collect(),
        }
    }

    /// The number of pieces, special ones included.
    pub fn len(&self) -> usize {
        self.word_start.len()
    }

    /// Whether there are no pieces.
    pub fn is_empty(&self) -> bool {
        self.word_start.is_empty()
    }

    /// The pieces that may stand in for a masked one.
    pub fn ordinary(&self) -> &[u32] {
        &self.ordinary
    }

    /// Where the words of a piece sequence begin; the first piece always begins one.
    pub fn word_starts(&self, pieces: &[u32]) -> Vec<usize> {
        let starts = |id: u32| self.word_start.get(id as usize).copied().unwrap_or(true);
        (0..pieces.len())
            .filter(|&i| i == 0 || starts(pieces[i]))
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A vocabulary of `words` whole words and as many inner pieces; ids 0 to 4 are special, 5
    /// is the full stop, and of the others the even ones begin a word.
    pub(crate) fn toy(words: usize) -> Vocabulary {
        let len = 6 + 2 * words;
        Vocabulary {
            pad: 0,
            cls: 2,
            sep: 3,
            mask: 4,
            word_start: (0..len).map(|id| id <= 5 || id % 2 == 0).collect(),
            ordinary: (5..len as u32).collect(),
        }
    }

    #[test]
    fn the_first_piece_begins_a_word() {
        assert_eq!(toy(5).word_starts(&[7, 6, 9, 8, 5]), [0, 1, 3, 4]);
        assert!(toy(5).word_starts(&[]).is_empty());
    }
}
