//! Pieces by id and ids by piece, and what is known of each.

use std::collections::HashMap;
use std::path::Path;

use crate::{Error, Result};

/// The ids of ALBERT's special pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialIds {
    /// `<pad>`: fills up rows where a tool needs rectangles. 0 in published vocabularies.
    pub pad: u32,
    /// `<unk>`: stands for characters that the vocabulary lacks. 1 in published vocabularies.
    pub unk: u32,
    /// `[CLS]`: opens a sequence. 2 in published vocabularies.
    pub cls: u32,
    /// `[SEP]`: closes a text. 3 in published vocabularies.
    pub sep: u32,
    /// `[MASK]`: hides a piece. 4 in published vocabularies.
    pub mask: u32,
}

impl SpecialIds {
    /// The five ids, in the order of the fields.
    pub fn all(&self) -> [u32; 5] {
        [self.pad, self.unk, self.cls, self.sep, self.mask]
    }
}

/// Pieces by id and ids by piece.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    specials: SpecialIds,
    word_start: Vec<bool>,
    ordinary: Vec<bool>,
}

impl Vocabulary {
    /// Builds the tables. `reserved` marks pieces that text never becomes (control, unused).
    pub fn new(pieces: Vec<String>, reserved: &[bool], path: &Path) -> Result<Self> {
        let mut ids = HashMap::with_capacity(pieces.len());
        for (id, piece) in pieces.iter().enumerate() {
            ids.entry(piece.clone()).or_insert(id as u32);
        }
        let find = |names: [&str; 2]| {
            names
                .iter()
                .find_map(|name| ids.get(*name).copied())
                .ok_or_else(|| {
                    Error::file(
                        path,
                        format!("the vocabulary lacks ALBERT's piece {}", names[0]),
                    )
                })
        };
        let specials = SpecialIds {
            pad: find(["<pad>", "[PAD]"])?,
            unk: find(["<unk>", "[UNK]"])?,
            cls: find(["[CLS]", "[CLS]"])?,
            sep: find(["[SEP]", "[SEP]"])?,
            mask: find(["[MASK]", "[MASK]"])?,
        };
        let special = specials.all();
        // WordPiece marks the pieces that go on with a word, SentencePiece those that begin one.
        let goes_on = |piece: &String| piece.starts_with(CONTINUES);
        let wordpiece = pieces.iter().any(goes_on) && !pieces.iter().any(|p| p.starts_with('▁'));
        let starts = |piece: &String| match wordpiece {
            true => !goes_on(piece),
            false => starts_word(piece),
        };
        let word_start = pieces
            .iter()
            .enumerate()
            .map(|(id, piece)| special.contains(&(id as u32)) || starts(piece))
            .collect();
        let ordinary = (0..pieces.len())
            .map(|id| {
                !special.contains(&(id as u32)) && !reserved.get(id).copied().unwrap_or(false)
            })
            .collect();
        Ok(Self {
            pieces,
            ids,
            specials,
            word_start,
            ordinary,
        })
    }

    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn piece(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(String::as_str)
    }

    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    pub fn specials(&self) -> &SpecialIds {
        &self.specials
    }

    pub fn is_word_start(&self, id: u32) -> bool {
        self.word_start.get(id as usize).copied().unwrap_or(true)
    }

    pub fn is_ordinary(&self, id: u32) -> bool {
        self.ordinary.get(id as usize).copied().unwrap_or(false)
    }
}

/// Stands before WordPiece's pieces that go on with a word.
const CONTINUES: &str = "##";

/// Marks that Google's rule counts as words of their own.
const MARKS: &str = "!\"#$%&()*+,-./:;?@[\\]^_`{|}~£€";

/// Whether a piece opens a word for whole-word masking, by the rule of Google's
/// `create_pretraining_data.py`: it starts with U+2581 or `<`, it is a punctuation mark, or it holds
/// anything but English letters and punctuation (digits and foreign letters mask piece by piece).
/// Google's list of letters leaves out `x`, an oversight that is not repeated here.
fn starts_word(piece: &str) -> bool {
    piece.starts_with(['▁', '<'])
        || (piece.chars().count() == 1 && piece.starts_with(|c| MARKS.contains(c)))
        || piece
            .chars()
            .any(|c| !c.is_ascii_alphabetic() && !MARKS.contains(c))
}
