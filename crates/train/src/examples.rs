//! Segment pairs for sentence-order prediction (Lan et al. 2019, section 3.1), made so that
//! lengths and cuts say nothing about the order.
//!
//! A document falls into blocks of some thirty sentences, and each is walked from its front or, as
//! often, from its back. Consecutive whole sentences are taken while they fit the target; the
//! group is split at a random sentence boundary into A and B, and the two change places half of
//! the time. The direction matters: a walk from the front begins each group with a sentence that
//! did not fit the group before, and such sentences are long, so that the first segment would
//! tend to be the longer one. Walking both ways makes the two tendencies cancel; the blocks see
//! to it that they do so within a book as well.
//!
//! Where two consecutive sentences do not fit together, both are cut to a stretch of their
//! inside, and a sentence that has no neighbour is cut to its inside and split between two words:
//! in either case A and B both lack the beginning and the end of a sentence. Where a sentence
//! without a neighbour has no two words that fit the target, it is left out. A document never
//! borrows text from another.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::random::{Purpose, Random, stream};
use crate::vocabulary::Vocabulary;

/// How long the pairs of a pass are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairRules {
    /// Positions of a row, the special pieces `[CLS]`, `[SEP]`, `[SEP]` included.
    pub length: usize,
    /// The share of pairs that are made shorter, to a length drawn at random.
    pub short_share: f64,
    /// Whether every pair is shown in both orders, in two rows that follow each other.
    pub both_orders: bool,
    /// What is to be told of a pair.
    pub task: SentenceTask,
}

/// What is to be told of two segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SentenceTask {
    /// Whether they stand in the order of the text (Lan et al. 2019, section 3.1).
    #[default]
    Order,
    /// Whether the second follows the first or is from another document (Devlin et al. 2019,
    /// section 3.1).
    Next,
}

impl PairRules {
    /// The rows that a group becomes.
    pub fn rows_a_group(&self) -> usize {
        1 + usize::from(self.both_orders)
    }
}

/// The special pieces of a pair.
pub const SPECIALS: usize = 3;

/// The fewest words of a sentence that a pair can be made of: two inside, the first and the last
/// left out.
pub(crate) const FEWEST_WORDS: usize = 4;

/// The shortest target of a pair that is made shorter, in pieces.
const SHORTEST_TARGET: usize = 16;

/// A group of consecutive sentences that becomes one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first sentence, by its index in the corpus.
    pub sentence: u32,
    /// The number of sentences.
    pub count: u16,
    /// The most pieces that A and B may have together.
    pub target: u16,
    /// The number of pieces that they have, at most.
    pub pieces: u16,
}

/// Two segments as they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The segment shown first.
    pub a: Vec<u32>,
    /// The segment shown second.
    pub b: Vec<u32>,
    /// Whether A follows B in the text; for [`SentenceTask::Next`], whether B is from elsewhere.
    pub swapped: bool,
    /// Whether the segments are parts of sentences.
    pub cut: bool,
}

/// The groups of a pass over `documents`, document by document.
///
/// Each document is cut by random numbers of its own, from `seed`, `pass` and its index.
pub fn plan(
    corpus: &Corpus,
    documents: &[u32],
    vocabulary: &Vocabulary,
    rules: &PairRules,
    seed: u64,
    pass: u64,
) -> Vec<Group> {
    let mut groups = Vec::new();
    for &document in documents {
        let mut random = stream(seed, Purpose::Plan, pass, document.into());
        let mut document = corpus.document(document as usize);
        while !document.is_empty() {
            let end = (document.start + 24 + random.below(17)).min(document.end);
            let mut block = document.start..end;
            document.start = end;
            let backward = random.coin();
            while !block.is_empty() {
                let target = draw_target(rules, &mut random);
                let taken = take(corpus, &mut block, backward, target);
                groups.extend(group(corpus, vocabulary, taken, target));
            }
        }
    }
    groups
}

fn draw_target(rules: &PairRules, random: &mut impl Random) -> usize {
    let full = rules.length - SPECIALS;
    let shortest = SHORTEST_TARGET.min(full);
    if random.unit() < rules.short_share {
        shortest + random.below(full - shortest + 1)
    } else {
        full
    }
}

/// Takes sentences that fit the target from one end of `rest`: at least two, if there are two.
fn take(corpus: &Corpus, rest: &mut Range<usize>, backward: bool, target: usize) -> Range<usize> {
    let len = |i: usize| {
        corpus.sentence_len(if backward {
            rest.end - 1 - i
        } else {
            rest.start + i
        })
    };
    let (mut count, mut pieces) = (0, 0);
    while count < rest.len().min(u16::MAX.into()) && (count == 0 || pieces + len(count) <= target) {
        pieces += len(count);
        count += 1;
    }
    if count == 1 && rest.len() > 1 {
        count = 2;
    }
    if backward {
        rest.end -= count;
        rest.end..rest.end + count
    } else {
        rest.start += count;
        rest.start - count..rest.start
    }
}

/// The example that the sentences make, if they make one.
fn group(
    corpus: &Corpus,
    vocabulary: &Vocabulary,
    taken: Range<usize>,
    target: usize,
) -> Option<Group> {
    let of = |sentences: Range<usize>, pieces: usize| Group {
        sentence: sentences.start as u32,
        count: sentences.len() as u16,
        target: target as u16,
        pieces: pieces.min(target) as u16,
    };
    let words = |sentence: usize| {
        vocabulary
            .word_starts(&corpus.sentence_pieces(sentence..sentence + 1))
            .len()
    };
    let pieces = taken
        .clone()
        .map(|sentence| corpus.sentence_len(sentence))
        .sum();
    if taken.len() > 1 && pieces <= target {
        return Some(of(taken, pieces));
    }
    // The inside of a sentence is all but its first and its last word.
    if taken.len() == 2 && taken.clone().all(|sentence| words(sentence) >= 3) {
        return Some(of(taken, pieces));
    }
    let longest = taken.max_by_key(|&sentence| corpus.sentence_len(sentence))?;
    let alone = longest..longest + 1;
    let splits = words(longest) >= FEWEST_WORDS
        && Inside::new(corpus, vocabulary, longest)
            .splittable(target)
            .next()
            .is_some();
    splits.then(|| of(alone, corpus.sentence_len(longest)))
}

/// Splits a group into two segments and shows them in one order or the other.
///
/// # Panics
/// If the group is not one that [`plan`] made from the same corpus.
pub fn pair(
    corpus: &Corpus,
    vocabulary: &Vocabulary,
    group: &Group,
    random: &mut impl Random,
) -> Pair {
    let first = group.sentence as usize;
    let sentences = first..first + usize::from(group.count);
    let target = usize::from(group.target);
    let whole = sentences
        .clone()
        .map(|sentence| corpus.sentence_len(sentence))
        .sum::<usize>();
    let cut = group.count == 1 || whole > target;
    let (a, b) = match group.count {
        1 => {
            let inside = Inside::new(corpus, vocabulary, first);
            let mut a = inside.splittable_stretch(target, random);
            let starts = vocabulary.word_starts(&a);
            let at = starts[1 + random.below(starts.len() - 1)];
            let b = a.split_off(at);
            (a, b)
        }
        _ if cut => {
            let a = Inside::new(corpus, vocabulary, first);
            let b = Inside::new(corpus, vocabulary, first + 1);
            let (len_a, len_b) = share(a.len(), b.len(), target);
            (a.stretch(len_a, random), b.stretch(len_b, random))
        }
        count => {
            let middle = first + 1 + random.below(usize::from(count) - 1);
            (
                corpus.sentence_pieces(first..middle),
                corpus.sentence_pieces(middle..sentences.end),
            )
        }
    };
    let swapped = random.coin();
    let (a, b) = if swapped { (b, a) } else { (a, b) };
    Pair { a, b, swapped, cut }
}

impl Pair {
    /// The same segments in the other order.
    pub fn turned(self) -> Pair {
        Pair {
            a: self.b,
            b: self.a,
            swapped: !self.swapped,
            cut: self.cut,
        }
    }

    /// A pair for [`SentenceTask::Next`]: the segments in the text's order where they are so,
    /// else the first of them and, as far as `most` pieces allow, the second of `other`.
    pub(crate) fn or_elsewhere(self, other: Option<Pair>, most: usize) -> Pair {
        let in_order = |pair: Pair| match pair.swapped {
            true => pair.turned(),
            false => pair,
        };
        match (self.swapped, other.map(in_order)) {
            (false, _) => self,
            (true, None) => self.turned(),
            (true, Some(Pair { mut b, .. })) => {
                let Pair { a, cut, .. } = self.turned();
                b.truncate(most.saturating_sub(a.len()).max(1));
                Pair {
                    a,
                    b,
                    swapped: true,
                    cut,
                }
            }
        }
    }
}

/// Divides `target` between two lengths by their proportion, the same whichever comes first.
fn share(a: usize, b: usize, target: usize) -> (usize, usize) {
    if a + b <= target {
        return (a, b);
    }
    let part = |len: usize| (len * target / (a + b)).max(1);
    (part(a), part(b))
}

/// A sentence without its first and its last word.
struct Inside {
    pieces: Vec<u32>,
    starts: Vec<usize>,
}

impl Inside {
    fn new(corpus: &Corpus, vocabulary: &Vocabulary, sentence: usize) -> Inside {
        let pieces = corpus.sentence_pieces(sentence..sentence + 1);
        let starts = vocabulary.word_starts(&pieces);
        let inner = &starts[1..];
        let (from, to) = (inner[0], inner[inner.len() - 1]);
        Inside {
            pieces: pieces[from..to].to_vec(),
            starts: inner[..inner.len() - 1]
                .iter()
                .map(|start| start - from)
                .collect(),
        }
    }

    fn len(&self) -> usize {
        self.pieces.len()
    }

    /// A random stretch of whole words, as long as `most` pieces allow; of a word that is longer
    /// than that, the first `most`.
    fn stretch(&self, most: usize, random: &mut impl Random) -> Vec<u32> {
        if self.len() <= most {
            return self.pieces.clone();
        }
        let last = self.len() - most;
        let choices = self.starts.iter().filter(|&&start| start <= last).count();
        self.stretch_from(self.starts[random.below(choices)], most)
    }

    fn stretch_from(&self, from: usize, most: usize) -> Vec<u32> {
        let mut ends = self.starts.iter().copied().chain([self.len()]);
        let to = ends.rfind(|&end| end > from && end <= from + most);
        let to = to.unwrap_or(from + most);
        self.pieces[from..to].to_vec()
    }

    /// Where a stretch of at most `most` pieces may begin that has at least two words, so that it
    /// can be split without cutting a word: the half of a word that lacks its beginning would
    /// tell that it comes second.
    fn splittable(&self, most: usize) -> impl Iterator<Item = usize> {
        let last = self.len().saturating_sub(most);
        let second_ends = self.starts.iter().copied().skip(2).chain([self.len()]);
        // One word alone has no second, whose end `zip` would otherwise make up.
        let firsts = self.starts[..self.starts.len() - 1].iter().copied();
        firsts
            .zip(second_ends)
            .filter(move |&(from, end)| from <= last && end - from <= most)
            .map(|(from, _)| from)
    }

    /// As [`Inside::stretch`], of at least two words; there must be room for two.
    fn splittable_stretch(&self, most: usize, random: &mut impl Random) -> Vec<u32> {
        if self.len() <= most {
            return self.pieces.clone();
        }
        let choices: Vec<usize> = self.splittable(most).collect();
        self.stretch_from(choices[random.below(choices.len())], most)
    }
}

#[cfg(test)]
pub(crate) mod tests;
