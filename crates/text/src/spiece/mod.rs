//! A tokenizer as its `spiece.model` says: Google's rules, then SentencePiece's own normalisation and
//! best segmentation. The reference is transformers 4.57.1's slow `AlbertTokenizer`.

mod charsmap;
mod normalizer;
mod proto;
mod rules;
mod symbols;
mod unigram;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::encoding::{Encoding, Layout};
use crate::ids::Certainty;
use crate::vocabulary::Vocabulary;
use crate::{Error, Result};
use normalizer::Normalizer;
use proto::{Kind, Model};
use rules::{Rules, is_space};
use symbols::Symbols;
use unigram::{Segment, Unigram};

/// The space as pieces spell it.
const SPACE: char = '▁';

/// Names of special pieces that are found in text, as transformers splits it.
const TYPED: [&str; 5] = ["[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]"];

/// The backend for `spiece.model`.
#[derive(Debug)]
pub(crate) struct SpieceTokenizer {
    bytes: Vec<u8>,
    rules: Rules,
    normalizer: Normalizer,
    unigram: Unigram,
    /// Whether words are independent as far as the model says; found out when first needed.
    splits_at_spaces: OnceLock<bool>,
}

impl SpieceTokenizer {
    pub fn new(bytes: Vec<u8>, path: &Path) -> Result<(Self, Vocabulary, Layout)> {
        let refuse = |reason: String| Error::file(path, reason);
        let model = Model::parse(&bytes).map_err(refuse)?;
        if model.model_type != 1 {
            let names = ["Unigram", "BPE", "word", "character"];
            let name = names
                .get((model.model_type as usize).wrapping_sub(1))
                .unwrap_or(&"unknown");
            return Err(refuse(format!("a {name} model; ALBERT's are Unigram")));
        }
        if model.byte_fallback || model.whitespace_as_suffix || !model.escape_whitespaces {
            return Err(refuse(
                "byte_fallback, treat_whitespace_as_suffix and unescaped white space are not \
                 supported: no ALBERT has them"
                    .to_owned(),
            ));
        }
        let unigram = Unigram::new(&model.pieces).map_err(refuse)?;
        let normalizer = Normalizer::new(&model).map_err(refuse)?;
        let reserved: Vec<bool> = model
            .pieces
            .iter()
            .map(|piece| !matches!(piece.kind, Kind::Normal | Kind::UserDefined))
            .collect();
        let pieces = model.pieces.into_iter().map(|piece| piece.text).collect();
        let vocabulary = Vocabulary::new(pieces, &reserved, path)?;
        let layout = Layout::albert(vocabulary.specials().cls, vocabulary.specials().sep);
        Ok((
            Self {
                bytes,
                rules: Rules::default(),
                normalizer,
                unigram,
                splits_at_spaces: OnceLock::new(),
            },
            vocabulary,
            layout,
        ))
    }

    /// Takes over the rules of a `tokenizer_config.json`.
    pub fn configure(&mut self, config: &str) -> std::result::Result<(), String> {
        self.rules = Rules::parse(config)?;
        Ok(())
    }

    /// The `tokenizer_config.json` that says what is unusual about the rules, if anything is.
    pub fn configuration(&self) -> Option<String> {
        (self.rules != Rules::default()).then(|| self.rules.to_json())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn decode(&self, ids: &[u32], vocabulary: &Vocabulary) -> String {
        let joined: String = ids.iter().filter_map(|&id| vocabulary.piece(id)).collect();
        joined.replace(SPACE, " ").trim_start().to_owned()
    }

    pub fn tokens(
        &self,
        text: &str,
        parse_specials: bool,
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Encoding> {
        if text.len() >= u32::MAX as usize {
            return Err(Error::Encode("it is longer than 4 GiB".to_owned()));
        }
        let mut encoding = Encoding::new(vocabulary);
        let mut from = 0;
        let mut index = 0;
        if parse_specials {
            for (at, _) in text.match_indices(['[', '<']) {
                if at < from {
                    continue;
                }
                let Some((name, length)) = self.typed_special(&text[at..]) else {
                    continue;
                };
                let before = &text[from..at];
                // The mask takes the space before it along, as transformers declares it.
                let kept = if name == "[MASK]" {
                    before.trim_end_matches(is_space)
                } else {
                    before
                };
                self.stretch(kept, index, &mut encoding);
                index += before.chars().count() as u32;
                let typed = text[at..at + length].chars().count() as u32;
                let id = vocabulary.id(name).unwrap_or(vocabulary.specials().unk);
                encoding.push(id, (index as usize, (index + typed) as usize), None);
                index += typed;
                from = at + length;
            }
        }
        self.stretch(&text[from..], index, &mut encoding);
        Ok(encoding)
    }

    /// The special piece that `text` starts with and its length in bytes. transformers lowers what
    /// is not a special piece before it looks for them, so that `<UNK>` is one, `[mask]` not.
    fn typed_special(&self, text: &str) -> Option<(&'static str, usize)> {
        TYPED.into_iter().find_map(|name| {
            if text.starts_with(name) {
                return Some((name, name.len()));
            }
            if !self.rules.do_lower_case {
                return None;
            }
            let mut wanted = name.chars();
            for (at, c) in text.char_indices() {
                if wanted.as_str().is_empty() {
                    return Some((name, at));
                }
                for lower in c.to_lowercase() {
                    if wanted.next() != Some(lower) {
                        return None;
                    }
                }
            }
            wanted.as_str().is_empty().then_some((name, text.len()))
        })
    }

    /// Whether the pieces of a word between spaces depend on nothing but the word, rounding aside:
    /// no rule takes a space along with something else, and no piece has one inside.
    pub fn has_independent_words(&self) -> bool {
        self.rules.remove_space
            && *self.splits_at_spaces.get_or_init(|| {
                self.unigram.splits_at_spaces() && self.normalizer.splits_at_spaces()
            })
    }

    /// Appends the ids that [`SpieceTokenizer::tokens`] gives for a word, special pieces being
    /// plain text.
    pub fn word_ids(
        &self,
        word: &str,
        vocabulary: &Arc<Vocabulary>,
        ids: &mut Vec<u32>,
    ) -> Certainty {
        let plain = self.rules.apply(word, 0);
        let symbols = self.normalizer.apply(&plain);
        let (segments, mut certainty) = self.unigram.certain_segments(&symbols.chars);
        if plain.chars.contains(&SPACE) {
            // A typed U+2581 counts as a space at a text's end and as itself before a word.
            certainty.limit = -1.0;
        }
        let mut encoding = Encoding::new(vocabulary);
        self.lay(&symbols, &segments, u32::MAX, &mut encoding);
        ids.append(&mut encoding.ids);
        certainty
    }

    /// Encodes text without special pieces whose first character has the index `start`.
    fn stretch(&self, text: &str, start: u32, encoding: &mut Encoding) {
        let symbols = self.normalizer.apply(&self.rules.apply(text, start));
        let end = start
            + if symbols.len() == 0 {
                0
            } else {
                text.chars().count() as u32
            };
        let segments = self.unigram.segments(&symbols.chars);
        self.lay(&symbols, &segments, end, encoding);
    }

    /// Adds the pieces of the segments.
    fn lay(&self, symbols: &Symbols, segments: &[Segment], end: u32, encoding: &mut Encoding) {
        for &segment in segments {
            let Segment { from, to, .. } = segment;
            let chars = &symbols.chars[from..to];
            match chars {
                [.., digit, ','] if digit.is_numeric() => {
                    self.split_comma(symbols, from, to, encoding);
                }
                _ => self.piece(segment, symbols, end, encoding),
            }
        }
    }

    fn piece(&self, segment: Segment, symbols: &Symbols, end: u32, encoding: &mut Encoding) {
        let Segment { from, to, id } = segment;
        let span = span(symbols, from, to, end);
        if id == self.unigram.unk() {
            let surface: String = symbols.chars[from..to].iter().collect();
            self.spelled(&surface, span, encoding);
        } else {
            encoding.push(id, span, None);
        }
    }

    /// Adds a piece by its spelling: transformers looks ids up by it.
    fn spelled(&self, spelling: &str, span: (usize, usize), encoding: &mut Encoding) {
        let id = encoding.id_of(spelling);
        encoding.push(
            id.unwrap_or(self.unigram.unk()),
            span,
            id.is_none().then_some(spelling),
        );
    }

    /// Google's rule for a piece that ends in a digit and a comma: the part before the comma is
    /// encoded afresh, and the comma stands alone.
    fn split_comma(&self, symbols: &Symbols, from: usize, to: usize, encoding: &mut Encoding) {
        let comma = to - 1;
        let places: Vec<usize> = (from..comma)
            .filter(|&at| symbols.chars[at] != SPACE)
            .collect();
        let mut bare = Symbols::default();
        places
            .iter()
            .for_each(|&at| bare.push(symbols.chars[at], symbols.spans[at]));
        let again = self.normalizer.apply(&bare);
        let starts_word = symbols.chars[from] == SPACE;
        let mut segments = self.unigram.segments(&again.chars);
        if !starts_word
            && let Some(first) = segments.first_mut()
            && again.chars[first.from] == SPACE
        {
            first.from += 1;
            if first.from == first.to {
                segments.remove(0);
            }
        }
        // Where one character is digit and comma, both have its place.
        let last = places.last().map(|&at| symbols.spans[at].1);
        let end = last.unwrap_or(symbols.spans[comma].0);
        for Segment { from, to, .. } in segments {
            let spelling: String = again.chars[from..to].iter().collect();
            self.spelled(&spelling, span(&again, from, to, end), encoding);
        }
        let place = symbols.spans[comma];
        self.spelled(",", (place.0 as usize, place.1 as usize), encoding);
    }
}

/// Where in the text the symbols `from..to` stand. The space before a word is left out; a piece that
/// is nothing but a space has the space's place, or an empty one where the text has no space.
fn span(symbols: &Symbols, from: usize, to: usize, end: u32) -> (usize, usize) {
    let visible = (from..to).find(|&at| symbols.chars[at] != SPACE);
    let (start, stop) = match visible {
        Some(first) => (symbols.spans[first].0, symbols.spans[to - 1].1),
        None => (symbols.spans[from].0, symbols.spans[to - 1].1),
    };
    (start.min(end) as usize, stop.min(end) as usize)
}
