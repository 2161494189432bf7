//! A corpus as piece ids: tokenised into memory, or read from shards.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use albert_text::{IdEncoder, Tokenizer, sentences};

use crate::checksum::Checksum;
use crate::documents::{Document, Documents};
use crate::error::{Error, Result};
use crate::shards::Shards;

/// Piece ids, in two bytes each where the vocabulary allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl Pieces {
    /// No pieces of a vocabulary of `vocab_size`.
    pub(crate) fn new(vocab_size: usize) -> Pieces {
        match vocab_size <= 1 << 16 {
            true => Pieces::Narrow(Vec::new()),
            false => Pieces::Wide(Vec::new()),
        }
    }

    /// Appends ids of the vocabulary.
    pub(crate) fn extend(&mut self, ids: &[u32]) {
        match self {
            Pieces::Narrow(pieces) => pieces.extend(ids.iter().map(|&id| id as u16)),
            Pieces::Wide(pieces) => pieces.extend_from_slice(ids),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Pieces::Narrow(pieces) => pieces.len(),
            Pieces::Wide(pieces) => pieces.len(),
        }
    }
}

/// Ids of two bytes in four.
pub(crate) fn widened(pieces: &[u16]) -> Vec<u32> {
    pieces.iter().map(|&id| id.into()).collect()
}

/// Documents as sentences of piece ids, laid end to end in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) pieces: Pieces,
    /// Where each sentence ends in `pieces`.
    pub(crate) sentence_ends: Vec<u64>,
    /// Where each document ends in `sentence_ends`.
    pub(crate) document_ends: Vec<u32>,
    /// Documents left out because they are full of markup.
    pub(crate) dropped: u64,
}

/// Documents as sentences of piece ids: in memory, or in the shards of a folder that
/// [`shards::build`](crate::shards::build()) made.
#[derive(Debug)]
pub struct Corpus(Store);

#[derive(Debug)]
enum Store {
    Memory(Owned),
    Shards(Shards),
}

/// Which part of the corpus files to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many documents of each file.
    pub max_documents: Option<u64>,
    /// At most so many bytes of text of each file; the document that passes the limit is the last.
    pub max_bytes: Option<u64>,
    /// Leave out documents full of markup ([`Document::is_markup`]).
    pub drop_markup: bool,
}

/// How far tokenising has come.
#[derive(Clone, Copy, Debug)]
pub struct TokenisingReport {
    /// Bytes of the files read, as they lie on disk.
    pub bytes_read: u64,
    /// Bytes of all files on disk.
    pub bytes_total: u64,
    /// Documents so far.
    pub documents: u64,
    /// Pieces so far.
    pub pieces: u64,
    /// Seconds so far.
    pub seconds: f64,
}

impl TokenisingReport {
    /// Bytes of the files, as they lie on disk, that are read in a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes_read as f64 / self.seconds.max(1e-9)
    }

    /// Seconds to come at the rate so far. Limits of a recipe may end the work sooner.
    pub fn seconds_left(&self) -> f64 {
        self.bytes_total.saturating_sub(self.bytes_read) as f64 / self.bytes_per_second().max(1e-9)
    }
}

impl Owned {
    /// An empty corpus for a vocabulary of `vocab_size` pieces.
    pub(crate) fn new(vocab_size: usize) -> Owned {
        Owned {
            pieces: Pieces::new(vocab_size),
            sentence_ends: Vec::new(),
            document_ends: Vec::new(),
            dropped: 0,
        }
    }

    /// Appends a document of sentences; empty sentences are left out, and so is a document
    /// without any other.
    pub(crate) fn push(&mut self, sentences: &[Vec<u32>]) {
        for sentence in sentences.iter().filter(|sentence| !sentence.is_empty()) {
            self.pieces.extend(sentence);
            self.sentence_ends.push(self.pieces.len() as u64);
        }
        let end = self.sentence_ends.len() as u32;
        if end > self.document_ends.last().copied().unwrap_or(0) {
            self.document_ends.push(end);
        }
    }

    /// A checksum of everything that training reads.
    pub(crate) fn checksum(&self) -> u64 {
        let mut sum = Checksum::new();
        match &self.pieces {
            Pieces::Narrow(pieces) => pieces.iter().for_each(|&id| sum.word(id.into())),
            Pieces::Wide(pieces) => pieces.iter().for_each(|&id| sum.word(id.into())),
        }
        self.sentence_ends.iter().for_each(|&end| sum.word(end));
        self.document_ends
            .iter()
            .for_each(|&end| sum.word(end.into()));
        sum.finish()
    }

    fn sentence_start(&self, sentence: usize) -> u64 {
        if sentence == 0 {
            0
        } else {
            self.sentence_ends[sentence - 1]
        }
    }
}

impl From<Owned> for Corpus {
    fn from(text: Owned) -> Corpus {
        Corpus(Store::Memory(text))
    }
}

impl From<Shards> for Corpus {
    fn from(shards: Shards) -> Corpus {
        Corpus(Store::Shards(shards))
    }
}

impl Corpus {
    /// The number of documents.
    pub fn documents(&self) -> usize {
        match &self.0 {
            Store::Memory(text) => text.document_ends.len(),
            Store::Shards(shards) => shards.documents(),
        }
    }

    /// The number of sentences.
    pub fn sentences(&self) -> usize {
        match &self.0 {
            Store::Memory(text) => text.sentence_ends.len(),
            Store::Shards(shards) => shards.sentences(),
        }
    }

    /// The number of pieces.
    pub fn pieces(&self) -> usize {
        match &self.0 {
            Store::Memory(text) => text.pieces.len(),
            Store::Shards(shards) => shards.pieces(),
        }
    }

    /// How many documents were left out because they are full of markup.
    pub fn dropped(&self) -> u64 {
        match &self.0 {
            Store::Memory(text) => text.dropped,
            Store::Shards(shards) => shards.manifest().counts.markup,
        }
    }

    /// The sentences of a document.
    pub fn document(&self, document: usize) -> Range<usize> {
        match &self.0 {
            Store::Memory(text) => {
                let start = match document {
                    0 => 0,
                    _ => text.document_ends[document - 1] as usize,
                };
                start..text.document_ends[document] as usize
            }
            Store::Shards(shards) => shards.document(document),
        }
    }

    /// The number of pieces in a sentence.
    pub fn sentence_len(&self, sentence: usize) -> usize {
        match &self.0 {
            Store::Memory(text) => {
                (text.sentence_ends[sentence] - text.sentence_start(sentence)) as usize
            }
            Store::Shards(shards) => shards.sentence_len(sentence),
        }
    }

    /// The pieces of consecutive sentences of a document.
    pub fn sentence_pieces(&self, sentences: Range<usize>) -> Vec<u32> {
        if sentences.is_empty() {
            return Vec::new();
        }
        match &self.0 {
            Store::Memory(text) => {
                let start = text.sentence_start(sentences.start) as usize;
                let end = text.sentence_ends[sentences.end - 1] as usize;
                match &text.pieces {
                    Pieces::Narrow(pieces) => widened(&pieces[start..end]),
                    Pieces::Wide(pieces) => pieces[start..end].to_vec(),
                }
            }
            Store::Shards(shards) => shards.sentence_pieces(sentences),
        }
    }

    /// A checksum of everything that training reads.
    pub fn checksum(&self) -> u64 {
        match &self.0 {
            Store::Memory(text) => text.checksum(),
            Store::Shards(shards) => shards.checksum(),
        }
    }

    /// Reads and tokenises corpus files on `threads` threads. `report` is called about every
    /// four megabytes of text, and ends the work by an error.
    ///
    /// # Errors
    /// A file cannot be read (with the line), there is no text in any of them, or `report`'s.
    pub fn tokenise(
        paths: &[PathBuf],
        limits: &Limits,
        tokenizer: &Tokenizer,
        threads: usize,
        report: &mut dyn FnMut(TokenisingReport) -> Result<()>,
    ) -> Result<Corpus> {
        Owned::tokenise(paths, limits, tokenizer, threads, report).map(Corpus::from)
    }
}

impl Owned {
    /// As [`Corpus::tokenise`].
    pub(crate) fn tokenise(
        paths: &[PathBuf],
        limits: &Limits,
        tokenizer: &Tokenizer,
        threads: usize,
        report: &mut dyn FnMut(TokenisingReport) -> Result<()>,
    ) -> Result<Owned> {
        let start = Instant::now();
        let mut corpus = Owned::new(tokenizer.vocab_size());
        let mut encoders: Vec<IdEncoder<'_>> = (0..threads.max(1))
            .map(|_| IdEncoder::new(tokenizer))
            .collect();
        let bytes_total = paths
            .iter()
            .map(|path| file_len(path))
            .sum::<Result<u64>>()?;
        let mut bytes_before = 0;
        for path in paths {
            let mut documents = Documents::open(path)?;
            let (mut taken, mut bytes) = (0, 0);
            loop {
                let mut block = Vec::new();
                let mut block_bytes = 0;
                while block_bytes < 4 << 20
                    && limits.max_documents.is_none_or(|max| taken < max)
                    && limits.max_bytes.is_none_or(|max| bytes < max)
                {
                    let Some(document) = documents.next() else {
                        break;
                    };
                    let document = document?;
                    if limits.drop_markup && document.is_markup() {
                        corpus.dropped += 1;
                        continue;
                    }
                    taken += 1;
                    bytes += document.bytes() as u64;
                    block_bytes += document.bytes();
                    block.push(document);
                }
                if block.is_empty() {
                    break;
                }
                for document in tokenise_block(&block, &mut encoders)? {
                    corpus.push(&document);
                }
                report(TokenisingReport {
                    bytes_read: bytes_before + documents.bytes_read(),
                    bytes_total,
                    documents: corpus.document_ends.len() as u64,
                    pieces: corpus.pieces.len() as u64,
                    seconds: start.elapsed().as_secs_f64(),
                })?;
            }
            bytes_before += file_len(path)?;
        }
        if corpus.document_ends.is_empty() {
            return Err(Error::EmptyCorpus {
                paths: paths.to_vec(),
            });
        }
        Ok(corpus)
    }
}

fn file_len(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(Error::io(path))?.len())
}

/// The sentences of every document of a block, in order, worked out by a thread for each encoder.
fn tokenise_block(
    block: &[Document],
    encoders: &mut [IdEncoder<'_>],
) -> Result<Vec<Vec<Vec<u32>>>> {
    // A paragraph is the unit of work: a book is too large to leave to one thread.
    let paragraphs: Vec<&str> = block
        .iter()
        .flat_map(|document| document.paragraphs.iter().map(String::as_str))
        .collect();
    let results: Vec<OnceLock<Result<Vec<Vec<u32>>>>> =
        paragraphs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for encoder in encoders.iter_mut().take(paragraphs.len().max(1)) {
            let (paragraphs, results, next) = (&paragraphs, &results, &next);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(paragraph) = paragraphs.get(i) else {
                        break;
                    };
                    let _ = results[i].set(tokenise_paragraph(paragraph, encoder));
                }
            });
        }
    });
    let mut results = results.into_iter();
    block
        .iter()
        .map(|document| {
            let mut sentences = Vec::new();
            for result in results.by_ref().take(document.paragraphs.len()) {
                sentences.extend(result.into_inner().unwrap_or(Ok(Vec::new()))?);
            }
            Ok(sentences)
        })
        .collect()
}

fn tokenise_paragraph(paragraph: &str, encoder: &mut IdEncoder<'_>) -> Result<Vec<Vec<u32>>> {
    sentences(paragraph)
        .into_iter()
        .map(|range| {
            let mut ids = Vec::new();
            encoder.encode(&paragraph[range], &mut ids)?;
            Ok(ids)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_documents_keep_their_bounds() {
        let mut corpus = Owned::new(100);
        corpus.push(&[vec![10, 11], vec![], vec![12]]);
        corpus.push(&[vec![]]);
        corpus.push(&[vec![13, 14, 15]]);
        let corpus = Corpus::from(corpus);
        assert_eq!(
            (corpus.documents(), corpus.sentences(), corpus.pieces()),
            (2, 3, 6)
        );
        assert_eq!((corpus.document(0), corpus.document(1)), (0..2, 2..3));
        assert_eq!(corpus.sentence_pieces(0..2), [10, 11, 12]);
        assert_eq!(corpus.sentence_pieces(2..3), [13, 14, 15]);
        assert_eq!(corpus.sentence_len(1), 1);
    }

    #[test]
    fn time_left_follows_the_bytes_read() {
        let report = TokenisingReport {
            bytes_read: 250,
            bytes_total: 1000,
            documents: 1,
            pieces: 100,
            seconds: 2.0,
        };
        assert_eq!(
            (report.bytes_per_second(), report.seconds_left()),
            (125.0, 6.0)
        );
    }

    #[test]
    fn the_checksum_sees_pieces_and_bounds() {
        let corpus = |documents: &[&[Vec<u32>]]| {
            let mut corpus = Owned::new(100);
            documents.iter().for_each(|document| corpus.push(document));
            corpus.checksum()
        };
        let base = corpus(&[&[vec![10, 11], vec![12]]]);
        assert_eq!(base, corpus(&[&[vec![10, 11], vec![12]]]));
        assert_ne!(base, corpus(&[&[vec![11, 10], vec![12]]]));
        assert_ne!(base, corpus(&[&[vec![10], vec![11, 12]]]));
        assert_ne!(base, corpus(&[&[vec![10, 11]], &[vec![12]]]));
    }
}
