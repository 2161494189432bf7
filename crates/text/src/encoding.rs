use std::sync::Arc;

use crate::vocabulary::Vocabulary;
use crate::{Error, Result};

/// What to do with a text that has more pieces than fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// Refuse it with [`Error::TooLong`].
    #[default]
    Error,
    /// Cut the longer text of a pair, piece by piece from its end; at a tie the second.
    LongestFirst,
    /// Cut the first text only.
    OnlyFirst,
    /// Cut the second text only.
    OnlySecond,
}

/// How to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add `[CLS]` and `[SEP]` (default: true).
    pub add_special: bool,
    /// Read special pieces typed in the text, such as `[MASK]`, as themselves (default: true).
    /// Turn it off for text that strangers wrote: they are then plain characters.
    pub parse_specials: bool,
    /// The most pieces, special ones included; `None` for no limit (default).
    pub max_length: Option<usize>,
    /// What to do beyond `max_length` (default: refuse).
    pub truncation: Truncation,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special: true,
            parse_specials: true,
            max_length: None,
            truncation: Truncation::Error,
        }
    }
}

/// A text, or a pair of texts, as ids. All vectors have one entry a piece.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Ids of the pieces.
    pub ids: Vec<u32>,
    /// 0 for the first text (with `[CLS]` and the first `[SEP]`), 1 for the second.
    pub type_ids: Vec<u32>,
    /// The half-open span of each piece, in characters (Unicode scalar values) of the text that it
    /// came from; (0, 0) for pieces that were added.
    pub offsets: Vec<(usize, usize)>,
    /// True for pieces that were added (`[CLS]`, `[SEP]`), false for what the text says, special
    /// pieces typed in it included.
    pub special: Vec<bool>,
    /// How many pieces were cut off to fit `max_length`.
    pub truncated: usize,
    surfaces: Vec<(usize, Box<str>)>,
    vocabulary: Arc<Vocabulary>,
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        self.ids == other.ids
            && self.type_ids == other.type_ids
            && self.offsets == other.offsets
            && self.special == other.special
            && self.truncated == other.truncated
            && self.surfaces == other.surfaces
    }
}

impl Encoding {
    pub(crate) fn new(vocabulary: &Arc<Vocabulary>) -> Self {
        Self {
            ids: Vec::new(),
            type_ids: Vec::new(),
            offsets: Vec::new(),
            special: Vec::new(),
            truncated: 0,
            surfaces: Vec::new(),
            vocabulary: Arc::clone(vocabulary),
        }
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The pieces as the reference prints them: the vocabulary's spelling, and for what the
    /// vocabulary lacks (id of `<unk>`) the normalised characters themselves.
    pub fn pieces(&self) -> Vec<&str> {
        let mut pieces: Vec<&str> = self
            .ids
            .iter()
            .map(|&id| self.vocabulary.piece(id).unwrap_or_default())
            .collect();
        for (at, surface) in &self.surfaces {
            if let Some(piece) = pieces.get_mut(*at) {
                *piece = surface;
            }
        }
        pieces
    }

    /// The id of a piece in the encoding's vocabulary.
    pub(crate) fn id_of(&self, piece: &str) -> Option<u32> {
        self.vocabulary.id(piece)
    }

    /// Appends a piece of the text. `surface` where it differs from the vocabulary's spelling.
    pub(crate) fn push(&mut self, id: u32, offsets: (usize, usize), surface: Option<&str>) {
        if let Some(surface) = surface {
            self.surfaces.push((self.ids.len(), surface.into()));
        }
        self.ids.push(id);
        self.type_ids.push(0);
        self.offsets.push(offsets);
        self.special.push(false);
    }

    fn push_added(&mut self, piece: &AddedPiece) {
        self.ids.push(piece.id);
        self.type_ids.push(piece.type_id);
        self.offsets.push((0, 0));
        self.special.push(true);
    }

    /// Appends pieces `from..to` of another encoding as type `type_id`.
    fn extend(&mut self, other: &Encoding, from: usize, to: usize, type_id: u32) {
        let shift = self.ids.len();
        self.ids.extend_from_slice(&other.ids[from..to]);
        self.type_ids.resize(self.ids.len(), type_id);
        self.offsets.extend_from_slice(&other.offsets[from..to]);
        self.special.extend_from_slice(&other.special[from..to]);
        let first = other.surfaces.partition_point(|(at, _)| *at < from);
        for (at, surface) in other.surfaces[first..]
            .iter()
            .take_while(|(at, _)| *at < to)
        {
            self.surfaces.push((at - from + shift, surface.clone()));
        }
    }
}

/// A piece that the layout adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedPiece {
    pub id: u32,
    pub type_id: u32,
}

/// What stands before, between and after the texts of one or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub before: Vec<AddedPiece>,
    pub between: Vec<AddedPiece>,
    pub after: Vec<AddedPiece>,
    pub types: [u32; 2],
}

impl Frame {
    fn len(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }
}

/// How single texts and pairs are laid out; `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]` in ALBERT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub single: Frame,
    pub pair: Frame,
}

impl Layout {
    pub fn albert(cls: u32, sep: u32) -> Self {
        let piece = |id, type_id| vec![AddedPiece { id, type_id }];
        Self {
            single: Frame {
                before: piece(cls, 0),
                between: Vec::new(),
                after: piece(sep, 0),
                types: [0, 1],
            },
            pair: Frame {
                before: piece(cls, 0),
                between: piece(sep, 0),
                after: piece(sep, 1),
                types: [0, 1],
            },
        }
    }

    /// Without any added piece.
    pub fn bare() -> Self {
        let frame = Frame {
            before: Vec::new(),
            between: Vec::new(),
            after: Vec::new(),
            types: [0, 1],
        };
        Self {
            single: frame.clone(),
            pair: frame,
        }
    }

    /// Lays out one text or two, cut to fit.
    pub fn arrange(
        &self,
        first: &Encoding,
        second: Option<&Encoding>,
        max_length: Option<usize>,
        truncation: Truncation,
    ) -> Result<Encoding> {
        let frame = if second.is_some() {
            &self.pair
        } else {
            &self.single
        };
        let mut keep = (first.len(), second.map_or(0, Encoding::len));
        let length = keep.0 + keep.1 + frame.len();
        if let Some(max_length) = max_length.filter(|&max| length > max) {
            let excess = length - max_length;
            let cut = match truncation {
                Truncation::Error => return Err(Error::TooLong { length, max_length }),
                Truncation::LongestFirst => cut_longest(keep, excess),
                Truncation::OnlyFirst => keep.0.checked_sub(excess).map(|left| (left, keep.1)),
                Truncation::OnlySecond => keep.1.checked_sub(excess).map(|left| (keep.0, left)),
            };
            let fixed = match truncation {
                Truncation::OnlyFirst => keep.1,
                Truncation::OnlySecond => keep.0,
                _ => 0,
            };
            keep = cut.ok_or(Error::NoRoom {
                max_length,
                needed: frame.len() + fixed,
            })?;
        }
        let mut encoding = self.frame(first, 0..keep.0, second.map(|text| (text, 0..keep.1)));
        encoding.truncated = length - encoding.len();
        Ok(encoding)
    }

    /// Lays out parts of one text or two.
    fn frame(
        &self,
        first: &Encoding,
        part: std::ops::Range<usize>,
        second: Option<(&Encoding, std::ops::Range<usize>)>,
    ) -> Encoding {
        let frame = if second.is_some() {
            &self.pair
        } else {
            &self.single
        };
        let mut encoding = Encoding::new(&first.vocabulary);
        frame
            .before
            .iter()
            .for_each(|piece| encoding.push_added(piece));
        encoding.extend(first, part.start, part.end, frame.types[0]);
        frame
            .between
            .iter()
            .for_each(|piece| encoding.push_added(piece));
        if let Some((second, part)) = second {
            encoding.extend(second, part.start, part.end, frame.types[1]);
        }
        frame
            .after
            .iter()
            .for_each(|piece| encoding.push_added(piece));
        encoding
    }

    /// Slides over `text`: windows of at most `max_length` pieces, `stride` pieces shared by
    /// neighbours, each behind `question` where there is one.
    pub fn windows(
        &self,
        question: Option<&Encoding>,
        text: &Encoding,
        max_length: usize,
        stride: usize,
    ) -> Result<Vec<Encoding>> {
        let frame = if question.is_some() {
            &self.pair
        } else {
            &self.single
        };
        let taken = frame.len() + question.map_or(0, Encoding::len);
        let room = max_length.saturating_sub(taken);
        if room <= stride {
            return Err(Error::NoRoom {
                max_length,
                needed: taken + stride,
            });
        }
        let mut windows = Vec::new();
        let mut start = 0;
        loop {
            let end = text.len().min(start + room);
            windows.push(match question {
                Some(question) => self.frame(question, 0..question.len(), Some((text, start..end))),
                None => self.frame(text, start..end, None),
            });
            if end == text.len() {
                return Ok(windows);
            }
            start = end - stride;
        }
    }
}

/// Takes `excess` pieces off the longer side, one at a time, the second at a tie.
fn cut_longest((mut first, mut second): (usize, usize), excess: usize) -> Option<(usize, usize)> {
    if excess > first + second {
        return None;
    }
    // Level the longer side first, then share the rest: the same as one by one.
    let level = first.abs_diff(second).min(excess);
    if first > second {
        first -= level;
    } else {
        second -= level;
    }
    let rest = excess - level;
    Some((first - rest / 2, second - rest.div_ceil(2)))
}
