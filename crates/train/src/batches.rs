//! Rows of similar length as batches, in an order drawn from the seed, prepared ahead by a thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::examples::{Group, Pair, PairRules, SPECIALS, SentenceTask, pair, plan};
use crate::masking::{MaskRules, MaskedRow, mask_pair, mask_pair_for_scoring};
use crate::random::{Purpose, Random, stream};
use crate::vocabulary::Vocabulary;

/// Rows are sorted by length within so many batches, so that little padding is needed.
const WINDOW: usize = 64;

/// How many batches may lie ready.
const AHEAD: usize = 8;

/// Everything that the batches of a stage depend on.
#[derive(Clone, Debug)]
pub struct BatchSource {
    /// The text.
    pub corpus: Arc<Corpus>,
    /// The documents of it to train on.
    pub documents: Arc<Vec<u32>>,
    /// The pieces.
    pub vocabulary: Arc<Vocabulary>,
    /// How long the pairs are.
    pub pairs: PairRules,
    /// How they are masked.
    pub masks: Masks,
    /// Rows a batch.
    pub rows: usize,
    /// The seed of everything random.
    pub seed: u64,
}

/// How the rows of batches are masked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Masks {
    /// N-grams of whole words, to train on.
    Training(MaskRules),
    /// As [`score`](mod@crate::score) does, to evaluate with.
    Scoring,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The pass over the corpus, counted from 0 through all stages.
    pub pass: u64,
    /// The batch in the pass.
    pub batch: u64,
}

/// A batch as plain arrays, padded to its longest row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostBatch {
    /// The number of rows.
    pub rows: usize,
    /// The number of positions of every row, padding included.
    pub len: usize,
    /// Piece ids, `[rows * len]`.
    pub ids: Vec<i32>,
    /// Segments, 0 or 1, `[rows * len]`.
    pub type_ids: Vec<i32>,
    /// The number of positions of each row that are no padding.
    pub lengths: Vec<usize>,
    /// The positions to predict, as `row * len + column`.
    pub masked_positions: Vec<i32>,
    /// The pieces that were there.
    pub masked_labels: Vec<i32>,
    /// For each row 0 if the segments are in order, 1 if they are swapped or, for
    /// [`SentenceTask::Next`], the second is from another document.
    pub order_labels: Vec<i32>,
    /// For each row its first sentence's index in the corpus.
    pub examples: Vec<u32>,
    /// Where it stands.
    pub position: Position,
}

impl HostBatch {
    /// Lays rows out as a batch.
    pub fn new(rows: &[MaskedRow], order_labels: Vec<i32>, pad: u32) -> HostBatch {
        let len = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let mut batch = HostBatch {
            rows: rows.len(),
            len,
            ids: vec![pad as i32; rows.len() * len],
            type_ids: vec![0; rows.len() * len],
            order_labels,
            ..HostBatch::default()
        };
        for (i, row) in rows.iter().enumerate() {
            let at = i * len;
            for (slot, &id) in batch.ids[at..].iter_mut().zip(&row.ids) {
                *slot = id as i32;
            }
            batch.type_ids[at + row.first_segment..at + row.ids.len()].fill(1);
            batch.lengths.push(row.ids.len());
            batch
                .masked_positions
                .extend(row.positions.iter().map(|&p| (at + p) as i32));
            batch
                .masked_labels
                .extend(row.labels.iter().map(|&label| label as i32));
        }
        batch
    }

    /// The same rows with padding up to `width` positions, at least [`HostBatch::len`]. Which piece
    /// stands there does not matter: no other position sees it.
    pub fn widened(&self, width: usize) -> HostBatch {
        let widened = |values: &[i32]| -> Vec<i32> {
            let mut wide = vec![0; self.rows * width];
            for (to, from) in wide.chunks_mut(width).zip(values.chunks(self.len)) {
                to[..from.len()].copy_from_slice(from);
            }
            wide
        };
        let len = self.len as i32;
        let moved = |&place: &i32| place / len * width as i32 + place % len;
        HostBatch {
            len: width,
            ids: widened(&self.ids),
            type_ids: widened(&self.type_ids),
            masked_positions: self.masked_positions.iter().map(moved).collect(),
            ..self.clone()
        }
    }

    /// The number of positions that are no padding.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// One pass over the corpus.
///
/// The order of its batches depends on the seed and the pass alone. Rows left over that do not
/// fill a batch are not used in this pass, unless there is no full batch.
#[derive(Debug)]
pub struct Pass<'s> {
    source: &'s BatchSource,
    pass: u64,
    groups: Vec<Group>,
    /// The last window that was sorted, by its number.
    window: Option<(usize, Vec<Vec<Group>>)>,
}

impl<'s> Pass<'s> {
    /// Plans a pass.
    pub fn new(source: &'s BatchSource, pass: u64) -> Pass<'s> {
        let mut groups = plan(
            &source.corpus,
            &source.documents,
            &source.vocabulary,
            &source.pairs,
            source.seed,
            pass,
        );
        stream(source.seed, Purpose::Order, pass, 0).shuffle(&mut groups);
        Pass {
            source,
            pass,
            groups,
            window: None,
        }
    }

    /// How many groups make a batch: fewer than its rows where each becomes two of them.
    fn groups_a_batch(&self) -> usize {
        (self.source.rows / self.source.pairs.rows_a_group()).max(1)
    }

    /// Keeps no more than `examples` of the examples.
    pub fn truncate(&mut self, examples: usize) {
        self.groups.truncate(examples);
        self.window = None;
    }

    /// The number of examples.
    pub fn examples(&self) -> usize {
        self.groups.len()
    }

    /// The number of batches.
    pub fn batches(&self) -> u64 {
        let full = self.groups.len() / self.groups_a_batch();
        (if full == 0 {
            usize::from(!self.groups.is_empty())
        } else {
            full
        }) as u64
    }

    /// Batch `batch` of the pass.
    ///
    /// # Panics
    /// If `batch` is not below [`Pass::batches`].
    pub fn batch(&mut self, batch: u64) -> HostBatch {
        let number = batch as usize / WINDOW;
        let window = match self.window.take() {
            Some(sorted) if sorted.0 == number => sorted,
            _ => (number, self.sort_window(number)),
        };
        let (_, batches) = self.window.insert(window);
        let groups = &batches[batch as usize % WINDOW];
        let rows = groups
            .iter()
            .flat_map(|group| rows_of(self.source, self.pass, group, &self.groups));
        let (rows, order_labels): (Vec<_>, Vec<_>) = rows.unzip();
        let rows_a_group = self.source.pairs.rows_a_group();
        let of_group = |group: &Group| std::iter::repeat_n(group.sentence, rows_a_group);
        HostBatch {
            examples: groups.iter().flat_map(of_group).collect(),
            position: Position {
                pass: self.pass,
                batch,
            },
            ..HostBatch::new(&rows, order_labels, self.source.vocabulary.pad)
        }
    }

    fn sort_window(&self, number: usize) -> Vec<Vec<Group>> {
        let rows = self.groups_a_batch();
        let from = number * WINDOW * rows;
        let usable = self.batches() as usize * rows;
        let to = (from + WINDOW * rows).min(usable).min(self.groups.len());
        let mut window = self.groups[from..to].to_vec();
        window.sort_by_key(|group| (group.pieces, group.sentence));
        let mut batches: Vec<Vec<Group>> = window.chunks(rows).map(<[Group]>::to_vec).collect();
        stream(
            self.source.seed,
            Purpose::Order,
            self.pass,
            1 + number as u64,
        )
        .shuffle(&mut batches);
        batches
    }
}

impl BatchSource {
    /// Where among the documents the one of this sentence stands.
    fn document_of(&self, sentence: u32) -> usize {
        let begins = |&document: &u32| self.corpus.document(document as usize).start;
        self.documents
            .partition_point(|document| begins(document) <= sentence as usize)
    }

    /// A pair from another document than `group`'s; `None` where none was met in ten draws.
    fn pair_elsewhere(
        &self,
        group: &Group,
        groups: &[Group],
        random: &mut impl Random,
    ) -> Option<Pair> {
        let here = self.document_of(group.sentence);
        let mut draws = (0..10).map(|_| groups[random.below(groups.len())]);
        let other = draws.find(|other| self.document_of(other.sentence) != here)?;
        drop(draws);
        Some(pair(&self.corpus, &self.vocabulary, &other, random))
    }
}

/// The rows that a group becomes, each with its order label; `groups` are those of the pass.
fn rows_of(
    source: &BatchSource,
    pass: u64,
    group: &Group,
    groups: &[Group],
) -> Vec<(MaskedRow, i32)> {
    let mut random = stream(source.seed, Purpose::Example, pass, group.sentence.into());
    let mut pair = pair(&source.corpus, &source.vocabulary, group, &mut random);
    if source.pairs.task == SentenceTask::Next {
        let other = source.pair_elsewhere(group, groups, &mut random);
        pair = pair.or_elsewhere(other, usize::from(group.target));
    }
    let mut pairs = vec![pair];
    if source.pairs.both_orders {
        pairs.push(pairs[0].clone().turned());
    }
    let row = |Pair { a, b, swapped, .. }: &Pair| {
        let vocabulary = &source.vocabulary;
        let row = match &source.masks {
            Masks::Training(rules) => mask_pair(a, b, vocabulary, rules, &mut random),
            Masks::Scoring => mask_pair_for_scoring(a, b, vocabulary, &mut random),
        };
        debug_assert!(row.ids.len() <= source.pairs.length.max(SPECIALS + 1));
        (row, i32::from(*swapped))
    };
    pairs.iter().map(row).collect()
}

/// The batches from a position on, pass after pass without end, prepared by a thread of their own
/// that ends when this is dropped. There are none if there are no examples.
#[derive(Debug)]
pub struct Prepared {
    batches: Receiver<HostBatch>,
    thread: Option<JoinHandle<()>>,
}

impl Prepared {
    /// Starts preparing the batch at `position` and those after it.
    pub fn new(source: BatchSource, position: Position) -> Prepared {
        let (sender, batches) = sync_channel(AHEAD);
        let thread = std::thread::spawn(move || {
            let Position {
                mut pass,
                mut batch,
            } = position;
            loop {
                let mut plan = Pass::new(&source, pass);
                if plan.batches() == 0 {
                    return;
                }
                while batch < plan.batches() {
                    if sender.send(plan.batch(batch)).is_err() {
                        return;
                    }
                    batch += 1;
                }
                pass += 1;
                batch = 0;
            }
        });
        Prepared {
            batches,
            thread: Some(thread),
        }
    }
}

impl Iterator for Prepared {
    type Item = Result<HostBatch>;

    /// The next batch; an error, once, if the thread panicked.
    fn next(&mut self) -> Option<Result<HostBatch>> {
        if let Ok(batch) = self.batches.recv() {
            return Some(Ok(batch));
        }
        let panic = self.thread.take()?.join().err()?;
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Some(Err(Error::BatchThread {
            message: message.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::tests::synthetic;
    use crate::vocabulary::tests::toy;

    fn source(rows: usize) -> BatchSource {
        let corpus = synthetic(300, 11);
        BatchSource {
            documents: Arc::new((0..corpus.documents() as u32).collect()),
            corpus: Arc::new(corpus),
            vocabulary: Arc::new(toy(400)),
            pairs: PairRules {
                length: 64,
                short_share: 0.1,
                both_orders: false,
                task: SentenceTask::Order,
            },
            masks: Masks::Training(MaskRules {
                share: 0.15,
                max_words: 3,
                replaced: 0.8,
                random: 0.1,
            }),
            rows,
            seed: 5,
        }
    }

    #[test]
    fn a_pass_uses_every_example_once_with_little_padding() {
        let source = source(8);
        let mut pass = Pass::new(&source, 0);
        let (mut seen, mut tokens, mut positions) = (Vec::new(), 0, 0);
        for batch in 0..pass.batches() {
            let batch = pass.batch(batch);
            assert_eq!((batch.rows, batch.ids.len()), (8, 8 * batch.len));
            assert!(batch.len <= 64);
            tokens += batch.tokens();
            positions += batch.ids.len();
            seen.extend(batch.examples);
        }
        assert_eq!(seen.len(), pass.examples() / 8 * 8);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(
            seen.len(),
            pass.examples() / 8 * 8,
            "no example comes twice"
        );
        assert!(
            tokens as f64 > 0.93 * positions as f64,
            "{tokens} of {positions}"
        );
    }

    #[test]
    fn both_orders_of_a_pair_stand_in_one_batch() {
        let mut source = source(8);
        source.pairs.both_orders = true;
        let mut pass = Pass::new(&source, 0);
        let mut seen = Vec::new();
        for batch in 0..pass.batches() {
            let batch = pass.batch(batch);
            assert_eq!((batch.rows, batch.examples.len()), (8, 8));
            for (examples, labels) in batch.examples.chunks(2).zip(batch.order_labels.chunks(2)) {
                assert_eq!(examples[0], examples[1]);
                assert_eq!(labels[0] + labels[1], 1);
                seen.push(examples[0]);
            }
            for lengths in batch.lengths.chunks(2) {
                assert_eq!(lengths[0], lengths[1]);
            }
        }
        assert_eq!(seen.len(), pass.examples() / 4 * 4);
    }

    #[test]
    fn the_next_sentence_is_the_texts_or_another_documents() {
        let mut source = source(8);
        source.pairs.task = SentenceTask::Next;
        let document_of = |sentence: u32| source.document_of(sentence);
        let mut pass = Pass::new(&source, 0);
        let groups = pass.groups.clone();
        let mut elsewhere = 0;
        for group in &groups {
            let [(row, label)] = &rows_of(&source, 0, group, &groups)[..] else {
                panic!("one row")
            };
            assert!(row.ids.len() <= 64);
            elsewhere += label;
            let mut random = stream(7, Purpose::Example, 0, group.sentence.into());
            let other = source.pair_elsewhere(group, &groups, &mut random);
            assert!(other.is_some_and(|other| !other.b.is_empty()));
        }
        // Five standard deviations of a fair coin.
        let n = groups.len() as f64;
        assert!((f64::from(elsewhere) - n / 2.0).abs() < 2.5 * n.sqrt());
        assert_eq!(document_of(source.corpus.document(3).start as u32), 4);
        let batch = pass.batch(0);
        assert_eq!(batch, Pass::new(&source, 0).batch(0));

        // With a single document there is nowhere else.
        source.documents = Arc::new(vec![0]);
        let groups = Pass::new(&source, 0).groups;
        let labels = groups
            .iter()
            .map(|group| rows_of(&source, 0, group, &groups)[0].1);
        assert_eq!(labels.sum::<i32>(), 0);
    }

    #[test]
    fn a_pair_goes_on_in_order_or_elsewhere() {
        let pair = |a: [u32; 2], b: [u32; 3], swapped| Pair {
            a: a.to_vec(),
            b: b.to_vec(),
            swapped,
            cut: false,
        };
        let real = pair([1, 2], [3, 4, 5], false);
        let other = Some(pair([6, 7], [8, 9, 10], false));
        assert_eq!(real.clone().or_elsewhere(other.clone(), 5), real);
        let turned = real.clone().turned();
        assert_eq!(turned.clone().or_elsewhere(None, 5), real);
        let elsewhere = turned.or_elsewhere(other, 4);
        assert_eq!((elsewhere.a, elsewhere.b), (vec![1, 2], vec![8, 9]));
        assert!(elsewhere.swapped);
    }

    #[test]
    fn a_widened_batch_holds_the_same_rows() {
        let source = source(8);
        let batch = Pass::new(&source, 0).batch(0);
        let wide = batch.widened(batch.len + 5);
        assert_eq!((wide.len, wide.ids.len()), (batch.len + 5, 8 * wide.len));
        assert_eq!(wide.tokens(), batch.tokens());
        for (narrow, wide) in batch.ids.chunks(batch.len).zip(wide.ids.chunks(wide.len)) {
            assert_eq!(narrow, &wide[..batch.len]);
        }
        let masked = |batch: &HostBatch| -> Vec<i32> {
            let places = batch.masked_positions.iter();
            places.map(|&place| batch.ids[place as usize]).collect()
        };
        assert_eq!(masked(&wide), masked(&batch));
    }

    #[test]
    fn any_batch_can_be_had_without_those_before() {
        let source = source(4);
        let all: Vec<HostBatch> = Prepared::new(source.clone(), Position::default())
            .take(700)
            .collect::<Result<_>>()
            .expect("batches");
        let passes = all.last().map(|batch| batch.position.pass);
        assert!(passes >= Some(1), "more than one pass is compared");
        for start in [1, 70, 650] {
            let rest = Prepared::new(source.clone(), all[start].position);
            for (expected, batch) in all[start..].iter().zip(rest).take(20) {
                assert_eq!(&batch.expect("a batch"), expected);
            }
        }
    }

    #[test]
    fn a_panic_of_the_thread_is_an_error_of_its_own() {
        let mut source = source(4);
        let mut none = source.clone();
        none.documents = Arc::new(Vec::new());
        assert!(
            Prepared::new(none, Position::default()).next().is_none(),
            "no documents are no failure"
        );
        // A document that the corpus does not have.
        source.documents = Arc::new(vec![1_000_000]);
        let mut prepared = Prepared::new(source, Position::default());
        let error = prepared.next().expect("an error").expect_err("a panic");
        assert!(matches!(error, Error::BatchThread { .. }), "{error}");
        assert!(error.to_string().contains("out of bounds"), "{error}");
        assert!(prepared.next().is_none());
    }

    #[test]
    fn a_corpus_of_less_than_a_batch_gives_one() {
        let source = source(100_000);
        let mut pass = Pass::new(&source, 0);
        assert_eq!(pass.batches(), 1);
        assert_eq!(pass.batch(0).rows, pass.examples());
    }
}
