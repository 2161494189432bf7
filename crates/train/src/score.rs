//! Scores on held-out documents by a fixed protocol that others can repeat.
//!
//! # The protocol
//!
//! All random numbers come from one [`SplitMix64`] that starts at the seed 0. `below(n)` is the
//! upper 64 bits of the 128-bit product of its next number and n; `coin` is `below(2) == 1`.
//!
//! Documents are taken in the order of the corpus; titles are ignored. A paragraph is cut into
//! sentences by [`albert_text::sentences`], and each sentence becomes pieces by itself, special
//! pieces typed in the text read as plain characters. Sentences without pieces are left out, a
//! sentence of more than 125 pieces is cut to its first 125. The sentences of a document fall into
//! blocks of 32, the last of which may have fewer. Then, for each block in turn:
//!
//! 1. *Direction.* `coin`: heads, and the block is walked from its last sentence to its first;
//!    otherwise from the first to the last.
//! 2. *Groups.* Consecutive sentences are taken while they have at most 125 pieces together;
//!    the next sentence begins the next group. Then for each group, in the order of the walk:
//! 3. *Pairs.* With n >= 2 sentences, the first `1 + below(n - 1)` of them, in the order of the
//!    text, are segment A and the rest segment B; then `coin`: heads, and the two change places.
//!    The row is `[CLS] A [SEP] B [SEP]`, at most 128 pieces; types are 0 up to and with the first
//!    `[SEP]`, then 1. A sentence without room for a neighbour is `[CLS] A [SEP]`; it has no
//!    order, and counts for masked pieces alone.
//! 4. *Masks.* The row's words in the order shown are numbered from 0 to w - 1; a word begins at
//!    the first piece of a sentence and wherever [`Tokenizer::is_word_start`] says. With
//!    m = max(1, floor(0.15 w + 0.5)), for i from 0 to m - 1 word i changes places in the list
//!    with word `i + below(w - i)`; the first m of the list are masked: every one of their pieces
//!    becomes `[MASK]`, and is predicted.
//!
//! The walk goes both ways so that lengths tell nothing about the order: a walk from the front
//! alone begins groups with sentences too long for the group before.
//!
//! Losses are means over masked pieces, in nats. `masked_bits_per_character` is the sum of the
//! losses in bits over the number of characters of the masked words: those of the original text
//! from the first of the word's pieces to its last, white space not counted.

use std::io::{BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use albert_tasks::engine::{Batch, Engine, What, likeliest};
use albert_text::{Tokenizer, sentences};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::documents::{Document, Documents};
use crate::error::{Error, Result};
use crate::files::unfinished;
use crate::masking::draw_scored_words;
use crate::random::{Random, SplitMix64};

/// The most pieces of text in a row: 128 less `[CLS]`, `[SEP]`, `[SEP]`.
const TARGET: usize = 125;

/// Sentences that are walked in one direction.
const BLOCK: usize = 32;

/// Rows a forward pass.
const ROWS: usize = 16;

/// How to score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoreOptions {
    /// At most so many documents, from the corpus's beginning.
    pub limit: Option<usize>,
    /// Write every row as a JSON line ([`ScoreExample`]) to this file, so that another program
    /// can score the same rows. It appears, or is replaced, when all rows are scored.
    pub examples: Option<PathBuf>,
}

/// A row as the protocol makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreExample {
    /// Piece ids, masked.
    pub input_ids: Vec<u32>,
    /// Segments.
    pub token_type_ids: Vec<u32>,
    /// Positions to predict.
    pub masked_positions: Vec<usize>,
    /// The pieces that were there.
    pub labels: Vec<u32>,
    /// The number of characters of the masked words.
    pub characters: usize,
    /// 0 in order, 1 swapped; null for a sentence alone.
    pub sentence_order_label: Option<u32>,
}

/// The scores, with the keys of the JSON output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy of a masked piece, in nats.
    pub masked_lm_loss: f64,
    /// The share of masked pieces whose likeliest guess is right.
    pub masked_lm_accuracy: f64,
    /// Bits of the masked pieces over the characters they cover, so that vocabularies compare.
    pub masked_bits_per_character: f64,
    /// The share of pairs whose order is told right; `None` (null) without pairs.
    pub sentence_order_accuracy: Option<f64>,
    /// Its 95% interval (Wilson); `None` (null) without pairs.
    pub sentence_order_interval: Option<[f64; 2]>,
    /// Documents read.
    pub documents: usize,
    /// Rows with two segments.
    pub pairs: usize,
    /// Pieces of text in all rows, `[CLS]` and `[SEP]` not counted.
    pub tokens: usize,
    /// Masked pieces.
    pub masked: usize,
}

/// Scores a model with both pretraining heads on a corpus file, as the [module](self) says.
/// `report` hears the number of documents done.
///
/// # Errors
/// The model lacks a head, the corpus cannot be read (with the line) or is empty, the tokenizer
/// does not fit the model, or the examples cannot be written.
pub fn score(
    engine: &Engine,
    tokenizer: &Tokenizer,
    corpus: &Path,
    options: &ScoreOptions,
    report: &mut dyn FnMut(usize),
) -> Result<Score> {
    let mut sums = Sums::default();
    let mut random = SplitMix64::new(0);
    let mut waiting = Vec::new();
    let mut rows = options.examples.as_deref().map(Rows::create).transpose()?;
    let limit = options.limit.unwrap_or(usize::MAX);
    for document in Documents::open(corpus)?.take(limit) {
        for example in examples(&document?, tokenizer, &mut random)? {
            if let Some(rows) = &mut rows {
                rows.write(&example)?;
            }
            waiting.push(example);
            if waiting.len() == ROWS {
                sums.add(engine, &waiting)?;
                waiting.clear();
            }
        }
        sums.documents += 1;
        report(sums.documents);
    }
    if !waiting.is_empty() {
        sums.add(engine, &waiting)?;
    }
    if sums.masked == 0 {
        return Err(Error::EmptyCorpus {
            paths: vec![corpus.to_owned()],
        });
    }
    if let Some(rows) = rows {
        rows.finish()?;
    }
    Ok(sums.score())
}

/// A file of rows that is written beside its place and renamed when it is whole.
struct Rows {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Rows {
    fn create(path: &Path) -> Result<Rows> {
        if path.exists() && !path.is_file() {
            // A rename would put a file in place of a device or a pipe.
            let source = std::io::Error::new(ErrorKind::InvalidInput, "is not a regular file");
            return Err(Error::io(path)(source));
        }
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let file = unfinished(folder.unwrap_or(Path::new("."))).map_err(Error::io(path))?;
        Ok(Rows {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    fn write(&mut self, example: &ScoreExample) -> Result<()> {
        serde_json::to_writer(&mut self.file, example)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(Error::io(&self.path))
    }

    fn finish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(Error::io(&self.path))?;
        file.as_file().sync_all().map_err(Error::io(&self.path))?;
        file.persist(&self.path)
            .map_err(|error| Error::io(&self.path)(error.error))?;
        Ok(())
    }
}

/// A sentence's pieces, and its words with their characters.
struct Sentence {
    ids: Vec<u32>,
    words: Vec<(Range<usize>, usize)>,
}

impl Sentence {
    fn new(text: &str, tokenizer: &Tokenizer) -> Result<Sentence> {
        let mut encoding = tokenizer.tokens(text, false)?;
        encoding.ids.truncate(TARGET);
        let ids = encoding.ids;
        let characters: Vec<char> = text.chars().collect();
        let starts: Vec<usize> = (0..ids.len())
            .filter(|&i| i == 0 || tokenizer.is_word_start(ids[i]))
            .collect();
        let ends = starts.iter().skip(1).copied().chain([ids.len()]);
        let words = starts.iter().zip(ends).map(|(&start, end)| {
            let span = encoding.offsets[start].0..encoding.offsets[end - 1].1;
            let covered = characters.get(span).unwrap_or_default();
            (
                start..end,
                covered.iter().filter(|c| !c.is_whitespace()).count(),
            )
        });
        Ok(Sentence {
            words: words.collect(),
            ids,
        })
    }
}

/// The rows of one document.
fn examples(
    document: &Document,
    tokenizer: &Tokenizer,
    random: &mut SplitMix64,
) -> Result<Vec<ScoreExample>> {
    let mut parts = Vec::new();
    for paragraph in &document.paragraphs {
        for range in sentences(paragraph) {
            let sentence = Sentence::new(&paragraph[range], tokenizer)?;
            if !sentence.ids.is_empty() {
                parts.push(sentence);
            }
        }
    }
    let mut rows = Vec::new();
    for block in parts.chunks(BLOCK) {
        let lengths: Vec<usize> = block.iter().map(|sentence| sentence.ids.len()).collect();
        for group in groups(&lengths, random.coin()) {
            rows.push(example(&block[group], tokenizer, random));
        }
    }
    Ok(rows)
}

/// Steps 1 and 2: which sentences stand together, in the order of the walk.
fn groups(lengths: &[usize], backward: bool) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut end) = (0, lengths.len());
    while start < end {
        let (mut count, mut pieces) = (0, 0);
        while count < end - start {
            let next = if backward {
                lengths[end - 1 - count]
            } else {
                lengths[start + count]
            };
            if count > 0 && pieces + next > TARGET {
                break;
            }
            pieces += next;
            count += 1;
        }
        if backward {
            end -= count;
            groups.push(end..end + count);
        } else {
            start += count;
            groups.push(start - count..start);
        }
    }
    groups
}

/// Steps 3 and 4.
fn example(group: &[Sentence], tokenizer: &Tokenizer, random: &mut SplitMix64) -> ScoreExample {
    let specials = tokenizer.specials();
    let (segments, order) = if group.len() > 1 {
        let (a, b) = group.split_at(1 + random.below(group.len() - 1));
        let swapped = random.coin();
        (
            if swapped { vec![b, a] } else { vec![a, b] },
            Some(u32::from(swapped)),
        )
    } else {
        (vec![group], None)
    };
    let mut row = ScoreExample {
        input_ids: vec![specials.cls],
        token_type_ids: vec![0],
        masked_positions: Vec::new(),
        labels: Vec::new(),
        characters: 0,
        sentence_order_label: order,
    };
    let mut words = Vec::new();
    for (kind, segment) in segments.iter().enumerate() {
        for sentence in *segment {
            let offset = row.input_ids.len();
            row.input_ids.extend(&sentence.ids);
            words.extend(sentence.words.iter().map(|(pieces, characters)| {
                (pieces.start + offset..pieces.end + offset, *characters)
            }));
        }
        row.input_ids.push(specials.sep);
        row.token_type_ids.resize(row.input_ids.len(), kind as u32);
    }
    draw_scored_words(&mut words, random);
    words.sort_by_key(|(pieces, _)| pieces.start);
    for (pieces, characters) in words {
        row.characters += characters;
        for position in pieces {
            row.masked_positions.push(position);
            row.labels.push(std::mem::replace(
                &mut row.input_ids[position],
                specials.mask,
            ));
        }
    }
    row
}

#[derive(Default)]
struct Sums {
    documents: usize,
    pairs: usize,
    pairs_right: usize,
    tokens: usize,
    masked: usize,
    masked_right: usize,
    nats: f64,
    characters: usize,
}

impl Sums {
    fn add(&mut self, engine: &Engine, rows: &[ScoreExample]) -> Result<()> {
        let mut batch = Batch::new();
        let mut positions = Vec::new();
        for row in rows {
            let offset = batch.tokens();
            batch.push(&row.input_ids, Some(&row.token_type_ids))?;
            positions.extend(
                row.masked_positions
                    .iter()
                    .map(|position| offset + position),
            );
        }
        let what = What {
            head: true,
            masked_lm_positions: Some(positions),
            ..What::default()
        };
        let outputs = engine.forward(&batch, &what)?;
        let (Some(logits), Some(order)) = (outputs.masked_lm_logits, outputs.sentence_order_logits)
        else {
            let architecture = engine.config().architecture.to_string();
            return Err(Error::NoHeads { architecture });
        };
        let labels: Vec<usize> = rows
            .iter()
            .flat_map(|row| row.labels.iter().map(|&label| label as usize))
            .collect();
        let vocab_size = engine.config().vocab_size;
        for (nats, right) in judged(&logits, &labels, vocab_size, engine.threads()) {
            self.nats += nats;
            self.masked_right += usize::from(right);
            self.masked += 1;
        }
        for (row, logits) in rows.iter().zip(order.chunks_exact(2)) {
            self.characters += row.characters;
            self.tokens += row.input_ids.len();
            self.tokens -= if row.sentence_order_label.is_some() {
                3
            } else {
                2
            };
            if let Some(label) = row.sentence_order_label {
                self.pairs += 1;
                self.pairs_right += usize::from(likeliest(logits) == label as usize);
            }
        }
        Ok(())
    }

    fn score(&self) -> Score {
        let masked = self.masked as f64;
        Score {
            masked_lm_loss: self.nats / masked,
            masked_lm_accuracy: self.masked_right as f64 / masked,
            masked_bits_per_character: self.nats
                / std::f64::consts::LN_2
                / self.characters.max(1) as f64,
            sentence_order_accuracy: (self.pairs > 0)
                .then(|| self.pairs_right as f64 / self.pairs as f64),
            sentence_order_interval: wilson(self.pairs_right, self.pairs),
            documents: self.documents,
            pairs: self.pairs,
            tokens: self.tokens,
            masked: self.masked,
        }
    }
}

/// The cross-entropy of every item of `logits` (`[items, classes]`), and whether its likeliest
/// class is the label; worked out by several threads, each item by itself.
fn judged(logits: &[f32], labels: &[usize], classes: usize, threads: usize) -> Vec<(f64, bool)> {
    let share = labels.len().div_ceil(threads.max(1)).max(1);
    let mut results = vec![(0.0, false); labels.len()];
    std::thread::scope(|scope| {
        let parts = results.chunks_mut(share).zip(labels.chunks(share));
        for ((results, labels), logits) in parts.zip(logits.chunks(share * classes)) {
            scope.spawn(move || {
                let items = labels.iter().zip(logits.chunks_exact(classes));
                for (result, (&label, logits)) in results.iter_mut().zip(items) {
                    *result = (cross_entropy(logits, label), likeliest(logits) == label);
                }
            });
        }
    });
    results
}

/// The cross-entropy of one item in nats, summed in 64 bits.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let greatest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - greatest).exp())
        .sum();
    greatest + sum.ln()
        - logits
            .get(label)
            .map_or(f64::NEG_INFINITY, |&logit| logit.into())
}

/// Wilson's 95% interval of a share; none where there is nothing to judge by.
fn wilson(right: usize, all: usize) -> Option<[f64; 2]> {
    if all == 0 {
        return None;
    }
    let z = 1.959_963_984_540_054; // The 97.5% quantile of the normal distribution.
    let (n, p) = (all as f64, right as f64 / all as f64);
    let centre = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Some([(centre - spread) / scale, (centre + spread) / scale])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_a_block_from_either_end() {
        let lengths = [100, 20, 10, 120, 5, 125, 30];
        assert_eq!(groups(&lengths, false), [0..2, 2..3, 3..5, 5..6, 6..7]);
        assert_eq!(groups(&lengths, true), [6..7, 5..6, 3..5, 1..3, 0..1]);
        assert!(groups(&[], true).is_empty());
    }

    #[test]
    fn rows_appear_when_they_are_whole() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let path = home.path().join("rows.jsonl");
        std::fs::write(&path, "old").expect("a file");
        let row = ScoreExample {
            input_ids: vec![2, 4, 3],
            token_type_ids: vec![0; 3],
            masked_positions: vec![1],
            labels: vec![9],
            characters: 4,
            sentence_order_label: None,
        };
        let read = || std::fs::read_to_string(&path).expect("the rows");
        let mut rows = Rows::create(&path).expect("a temporary file");
        rows.write(&row).expect("a row");
        assert_eq!(read(), "old");
        drop(rows);
        let mut rows = Rows::create(&path).expect("a temporary file");
        rows.write(&row).expect("a row");
        rows.finish().expect("the file in its place");
        assert_eq!(
            serde_json::from_str::<ScoreExample>(&read()).expect("a row"),
            row
        );
        let left = std::fs::read_dir(home.path()).expect("the folder").count();
        assert_eq!(left, 1, "no temporary file stays");
        assert!(Rows::create(home.path()).is_err(), "a folder is no place");
    }

    #[test]
    fn no_pairs_have_no_order_accuracy() {
        let sums = Sums {
            masked: 1,
            ..Sums::default()
        };
        let json = serde_json::to_value(sums.score()).expect("JSON");
        assert!(
            json["sentence_order_accuracy"].is_null() && json["sentence_order_interval"].is_null()
        );
    }

    #[test]
    fn threads_share_the_items_in_order() {
        let logits: Vec<f32> = (0..7 * 5).map(|i| ((i * 37) % 11) as f32).collect();
        let labels = [0, 1, 2, 3, 4, 0, 1];
        let alone = judged(&logits, &labels, 5, 1);
        assert_eq!(alone.len(), 7);
        assert_eq!(
            alone[2],
            (
                cross_entropy(&logits[10..15], 2),
                likeliest(&logits[10..15]) == 2
            )
        );
        for threads in [2, 3, 20] {
            assert_eq!(judged(&logits, &labels, 5, threads), alone);
        }
    }

    #[test]
    fn cross_entropy_and_interval_as_in_the_books() {
        assert!((cross_entropy(&[0.0; 4], 2) - 4f64.ln()).abs() < 1e-12);
        assert!((cross_entropy(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
        // Newcombe (1998), table I: 81 of 263.
        assert_eq!(wilson(0, 0), None);
        let [low, high] = wilson(81, 263).expect("an interval");
        assert!(
            (low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5,
            "{low} {high}"
        );
    }
}
