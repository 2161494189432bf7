//! The words of a corpus and their counts.

use std::collections::HashMap;

use rayon::prelude::*;

use super::TrainProgress;
use crate::{Result, layout_file};

/// Longest word that is learnt from, in characters; longer ones are cut. Real words are shorter,
/// and the probabilities of a word of this length cannot underflow (see `lattice`).
pub(super) const MAX_WORD: usize = 48;

/// Texts that are counted at once.
const BLOCK: usize = 2048;

/// Distinct words above which those seen once are forgotten: bounds memory at some 400 MB.
const MANY_WORDS: usize = 4_000_000;

/// Counts the words of the texts, normalised and split as the finished tokenizer will do it.
pub(super) fn count(
    texts: &[String],
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<HashMap<String, u64>> {
    let splitter = layout_file::Splitter::new()?;
    let total = texts.iter().map(|text| text.len() as u64).sum();
    let mut done = 0;
    let mut counts: HashMap<String, u64> = HashMap::new();
    for block in texts.chunks(BLOCK) {
        let parts: Vec<HashMap<String, u64>> = block
            .par_chunks(64)
            .map(|texts| {
                let mut counts = HashMap::new();
                for line in texts.iter().flat_map(|text| text.lines()) {
                    splitter.words(line, |word| match counts.get_mut(word) {
                        Some(count) => *count += 1,
                        None => {
                            counts.insert(word.to_owned(), 1);
                        }
                    })?;
                }
                Ok(counts)
            })
            .collect::<Result<_>>()?;
        for (word, count) in parts.into_iter().flatten() {
            *counts.entry(word).or_default() += count;
        }
        if counts.len() > MANY_WORDS {
            counts.retain(|_, count| *count > 1);
        }
        done += block.iter().map(|text| text.len() as u64).sum::<u64>();
        progress(TrainProgress::Counting { done, total });
    }
    Ok(counts)
}

/// Words over an alphabet, in a fixed order.
pub(super) struct Corpus {
    /// The characters that the vocabulary must hold, ascending; a word's letters index it.
    pub alphabet: Vec<char>,
    /// Distinct words and how often each occurs.
    pub words: Vec<(Vec<u32>, u64)>,
}

impl Corpus {
    /// Keeps the commonest characters that together cover `coverage` of all, and cuts the words at
    /// the others, as at `MAX_WORD`.
    pub fn new(counts: HashMap<String, u64>, coverage: f64) -> Self {
        let mut characters: HashMap<char, u64> = HashMap::new();
        for (word, count) in &counts {
            for c in word.chars() {
                *characters.entry(c).or_default() += count;
            }
        }
        let total: u64 = characters.values().sum();
        let mut characters: Vec<(char, u64)> = characters.into_iter().collect();
        characters.sort_unstable_by_key(|&(c, count)| (std::cmp::Reverse(count), c));
        let mut covered = 0;
        let mut alphabet = Vec::new();
        for (c, count) in characters {
            if covered as f64 >= total as f64 * coverage {
                break;
            }
            covered += count;
            alphabet.push(c);
        }
        alphabet.sort_unstable();

        let letters: HashMap<char, u32> = alphabet.iter().copied().zip(0..).collect();
        let mut words: HashMap<Vec<u32>, u64> = HashMap::with_capacity(counts.len());
        for (word, count) in counts {
            let symbols: Vec<Option<u32>> =
                word.chars().map(|c| letters.get(&c).copied()).collect();
            for known in symbols.split(Option::is_none) {
                for part in known.chunks(MAX_WORD) {
                    let part: Vec<u32> = part.iter().flatten().copied().collect();
                    *words.entry(part).or_default() += count;
                }
            }
        }
        let mut words: Vec<_> = words.into_iter().collect();
        words.sort_unstable();
        Self { alphabet, words }
    }

    /// Spells a piece.
    pub fn spell(&self, piece: &[u32]) -> String {
        piece
            .iter()
            .map(|&letter| self.alphabet[letter as usize])
            .collect()
    }
}
