//! SentencePiece's normalisation: the compiled rules, then spaces.

use std::collections::HashSet;

use super::SPACE;
use super::charsmap::CharsMap;
use super::proto::{Kind, Model};
use super::symbols::Symbols;
use crate::trie::Trie;

#[derive(Debug)]
pub(super) struct Normalizer {
    charsmap: CharsMap,
    /// User-defined symbols, which no rule changes.
    verbatim: Trie,
    /// Their first characters.
    verbatim_starts: HashSet<char>,
    /// Whether one of them has a space in it.
    verbatim_spaces: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
}

impl Normalizer {
    pub fn new(model: &Model) -> Result<Self, String> {
        let mut symbols: Vec<(Vec<u32>, u32)> = model
            .pieces
            .iter()
            .filter(|piece| piece.kind == Kind::UserDefined)
            .map(|piece| (piece.text.chars().map(u32::from).collect(), 0))
            .collect();
        symbols.sort();
        Ok(Self {
            charsmap: CharsMap::parse(&model.charsmap)?,
            verbatim_starts: symbols
                .iter()
                .filter_map(|(symbol, _)| symbol.first().copied().and_then(char::from_u32))
                .collect(),
            verbatim_spaces: symbols.iter().any(|(symbol, _)| {
                symbol.contains(&u32::from(SPACE)) || symbol.contains(&u32::from(' '))
            }),
            verbatim: Trie::new(&symbols),
            add_dummy_prefix: model.add_dummy_prefix,
            remove_extra_whitespaces: model.remove_extra_whitespaces,
        })
    }

    /// Whether text normalises word by word: every space becomes one U+2581 before the next word,
    /// as the first word has one, and no rule looks beyond a space.
    pub fn splits_at_spaces(&self) -> bool {
        self.add_dummy_prefix
            && self.remove_extra_whitespaces
            && !self.verbatim_spaces
            && !self.charsmap.has_spaces()
    }

    /// Normalises; spaces come out as U+2581.
    pub fn apply(&self, text: &Symbols) -> Symbols {
        let mut at = 0;
        let mut result = Symbols::with_capacity(text.len() + 1);
        if self.remove_extra_whitespaces {
            while at < text.len() {
                let (taken, replacement) = self.rule(&text.chars[at..]);
                let is_space = match replacement {
                    Some(replacement) => replacement == " ",
                    None => text.chars[at..at + taken] == [' '],
                };
                if !is_space {
                    break;
                }
                at += taken;
            }
        }
        if at == text.len() {
            return result;
        }
        if self.add_dummy_prefix {
            let start = text.spans[at].0;
            result.push(SPACE, (start, start));
        }
        let mut after_space = self.remove_extra_whitespaces;
        while at < text.len() {
            let (taken, replacement) = self.rule(&text.chars[at..]);
            let span = (text.spans[at].0, text.spans[at + taken - 1].1);
            match replacement {
                Some(replacement) => {
                    self.put(
                        replacement.chars().map(|c| (c, span)),
                        &mut after_space,
                        &mut result,
                    );
                }
                None => {
                    let symbols = at..at + taken;
                    let chars = text.chars[symbols.clone()].iter().copied();
                    let spans = text.spans[symbols].iter().copied();
                    self.put(chars.zip(spans), &mut after_space, &mut result);
                }
            }
            at += taken;
        }
        if self.remove_extra_whitespaces {
            while result.chars.last() == Some(&SPACE) {
                result.truncate(result.len() - 1);
            }
        }
        result
    }

    /// Adds the outcome of one rule. Behind a space, spaces at its start are left out; those inside
    /// it stay, as in SentencePiece.
    fn put(
        &self,
        symbols: impl Iterator<Item = (char, (u32, u32))>,
        after_space: &mut bool,
        result: &mut Symbols,
    ) {
        let behind_space = *after_space;
        for (c, span) in symbols.skip_while(|(c, _)| behind_space && *c == ' ') {
            result.push(if c == ' ' { SPACE } else { c }, span);
            *after_space = c == ' ' && self.remove_extra_whitespaces;
        }
    }

    /// How many characters the next rule takes, and what replaces them if anything does.
    fn rule(&self, chars: &[char]) -> (usize, Option<&str>) {
        if self.verbatim_starts.contains(&chars[0]) {
            let mut node = Trie::ROOT;
            let mut longest = 0;
            for (count, &c) in (1..).zip(chars) {
                let Some(child) = self.verbatim.child(node, u32::from(c)) else {
                    break;
                };
                node = child;
                if self.verbatim.value(node).is_some() {
                    longest = count;
                }
            }
            if longest > 0 {
                return (longest, None);
            }
        }
        match self.charsmap.longest(chars) {
            Some((taken, replacement)) => (taken, Some(replacement)),
            None => (1, None),
        }
    }
}
