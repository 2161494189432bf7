//! Learning a Unigram vocabulary from raw text.

mod lattice;
mod sample;
mod seeds;
mod unigram;
mod words;

use crate::layout_file::{self, SPECIALS};
use crate::{Error, Result, Tokenizer};

/// How to learn a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct UnigramOptions {
    /// Pieces in all, the five special ones included (default: 16,000).
    pub vocab_size: usize,
    /// Chooses the sample where the corpus is larger than `max_bytes` (default: 0).
    pub seed: u64,
    /// The most text to learn from, in bytes (default: 50,000,000). Of a larger corpus an even sample of
    /// this size is kept, so memory stays bounded; more text hardly changes a vocabulary.
    pub max_bytes: usize,
    /// The share of the characters that the alphabet must cover (default: 0.9999);
    /// rarer characters become `<unk>`.
    pub character_coverage: f64,
    /// The longest piece, in characters (default: 16, SentencePiece's).
    pub max_piece_length: usize,
    /// Candidates to start from (default: 400,000).
    pub seed_size: usize,
    /// The share of the candidates kept in each round (default: 0.75, SentencePiece's).
    pub shrinking_factor: f64,
    /// Passes of expectation maximisation a round (default: 2, SentencePiece's).
    pub sub_iterations: usize,
}

impl Default for UnigramOptions {
    fn default() -> Self {
        Self {
            vocab_size: 16_000,
            seed: 0,
            max_bytes: 50_000_000,
            character_coverage: 0.9999,
            max_piece_length: 16,
            seed_size: 400_000,
            shrinking_factor: 0.75,
            sub_iterations: 2,
        }
    }
}

impl UnigramOptions {
    fn check(&self) -> Result<()> {
        let refuse = |option, value: String, reason| {
            Err(Error::Option {
                option,
                value,
                reason,
            })
        };
        if !(self.character_coverage > 0.0 && self.character_coverage <= 1.0) {
            let value = self.character_coverage.to_string();
            return refuse(
                "character_coverage",
                value,
                "it must be above 0 and at most 1",
            );
        }
        if !(self.shrinking_factor > 0.0 && self.shrinking_factor < 1.0) {
            let value = self.shrinking_factor.to_string();
            return refuse("shrinking_factor", value, "it must lie between 0 and 1");
        }
        if !(1..=words::MAX_WORD).contains(&self.max_piece_length) {
            let value = self.max_piece_length.to_string();
            return refuse("max_piece_length", value, "it must lie between 1 and 48");
        }
        if self.sub_iterations == 0 {
            return refuse("sub_iterations", "0".into(), "at least one pass is needed");
        }
        if self.max_bytes == 0 {
            return refuse("max_bytes", "0".into(), "there must be text to learn from");
        }
        if self.vocab_size > u32::MAX as usize / 2 {
            return refuse(
                "vocab_size",
                self.vocab_size.to_string(),
                "ids have 31 bits",
            );
        }
        Ok(())
    }
}

/// Where training stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainProgress {
    /// Reading the corpus.
    Reading {
        /// Texts read so far.
        texts: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Counting the words of the sample.
    Counting {
        /// Bytes counted.
        done: u64,
        /// Bytes in the sample.
        total: u64,
    },
    /// Collecting candidates.
    Seeding {
        /// Distinct words.
        words: usize,
        /// Letters of the alphabet.
        alphabet: usize,
    },
    /// Estimating the pieces' probabilities, then dropping those that help least.
    Estimating {
        /// Pieces left.
        pieces: usize,
        /// Where to.
        target: usize,
    },
}

/// Learns a vocabulary of Unigram pieces (Kudo 2018, "Subword Regularization") from texts: documents,
/// paragraphs or lines, in any order.
///
/// The result normalises text by ALBERT's rules as far as a `tokenizer.json` can say them (quotes,
/// NFKD, accents, lower case, control characters, spaces) and keeps words, runs of digits and
/// punctuation marks apart, so that no piece runs across them. The special pieces have ALBERT's ids.
///
/// The same texts in the same order with the same options give the same vocabulary, whatever the
/// number of threads.
///
/// # Errors
/// An option out of range, a corpus without text, and a vocabulary that is too small for the
/// alphabet or too large for the corpus.
pub fn train_unigram(
    texts: impl Iterator<Item = String>,
    options: &UnigramOptions,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<Tokenizer> {
    options.check()?;
    let sample = sample::sample(texts, options.max_bytes, options.seed, progress);
    if sample.is_empty() {
        return Err(Error::EmptyCorpus);
    }
    let words = words::count(&sample, progress)?;
    drop(sample);
    let corpus = words::Corpus::new(words, options.character_coverage);
    if corpus.words.is_empty() {
        return Err(Error::EmptyCorpus);
    }
    let needed = SPECIALS.len() + corpus.alphabet.len();
    if options.vocab_size < needed {
        return Err(Error::VocabularyTooSmall {
            vocab_size: options.vocab_size,
            special: SPECIALS.len(),
            needed,
        });
    }
    progress(TrainProgress::Seeding {
        words: corpus.words.len(),
        alphabet: corpus.alphabet.len(),
    });
    let pieces = unigram::learn(
        &corpus,
        options,
        options.vocab_size - SPECIALS.len(),
        progress,
    )?;
    let json = layout_file::tokenizer_json(&pieces);
    Tokenizer::from_json(json.into_bytes(), std::path::Path::new("<memory>"))
}
