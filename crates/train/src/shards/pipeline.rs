//! Corpus files to pieces on all cores, in order: a thread reads, several tokenise.
//!
//! The reader unpacks and parses, and knows which texts came before. Blocks of documents go to the
//! threads that tokenise, and come back in the order of the files. So many blocks are on their way
//! at most: memory does not grow with the text, but for the hashes of the documents.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use albert_text::{IdEncoder, Tokenizer, sentences};
use xxhash_rust::xxh3::Xxh3;

use super::format::{Place, Setup};
use crate::documents::{Document, Documents};
use crate::error::{Error, Result};
use crate::examples::FEWEST_WORDS;
use crate::vocabulary::Vocabulary;

/// A block is full at so many bytes of text: some milliseconds of work.
const BLOCK_BYTES: u64 = 256 << 10;

/// Blocks on their way at most, for each thread that tokenises.
const BLOCKS_A_THREAD: usize = 8;

/// The longest document. All works of Shakespeare have six megabytes.
const DOCUMENT_BYTES: usize = 64_000_000;

/// How often the caller hears that nothing has come yet.
const TICK: Duration = Duration::from_millis(200);

/// What is read, by what, and from where on.
pub(super) struct Work<'a> {
    pub paths: &'a [PathBuf],
    pub setup: &'a Setup,
    pub tokenizer: &'a Tokenizer,
    pub vocabulary: &'a Vocabulary,
    pub threads: usize,
    /// Documents before it are read, so that they are known, and not given out.
    pub from: Place,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has so many sentences and pieces.
    Kept {
        sentences: usize,
        pieces: usize,
    },
    Duplicate,
    NearEmpty,
    Markup,
}

/// A block's documents as pieces.
pub(super) struct Done {
    /// The corpus file.
    pub file: usize,
    /// Where the block begins in it.
    pub first: u64,
    /// For each document its bytes of text and its fate.
    pub fates: Vec<(u64, Fate)>,
    /// The pieces of those that are kept.
    pub pieces: Vec<u32>,
    /// The lengths of their sentences.
    pub sentence_lens: Vec<u32>,
}

/// What the caller hears.
pub(super) enum Event {
    /// The next block.
    Block(Done),
    /// Time went by.
    Tick,
}

struct Block {
    number: u64,
    file: usize,
    first: u64,
    /// Bytes of text, and the document unless its text came before.
    documents: Vec<(u64, Option<Document>)>,
}

/// Carries the work out. `bytes_read` counts bytes of the files; `hear` gets every block in order,
/// and ends the work by an error.
pub(super) fn run(
    work: &Work<'_>,
    bytes_read: &AtomicU64,
    hear: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<()> {
    let most = work.threads * BLOCKS_A_THREAD;
    let (permit, permits) = sync_channel(most);
    let (to_work, blocks) = sync_channel(work.threads);
    let (to_caller, results) = sync_channel(most);
    let blocks = Arc::new(Mutex::new(blocks));
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(work, bytes_read, &permit, &to_work));
        for _ in 0..work.threads {
            let (blocks, to_caller) = (blocks.clone(), to_caller.clone());
            scope.spawn(move || tokenise_blocks(work, &blocks, &to_caller));
        }
        // Only the threads hold them now, so that each end hears when the other has gone.
        drop((blocks, to_caller));
        let heard = in_order(results, permits, hear);
        let read = reader.join().unwrap_or_else(|_| {
            let message = "the thread that reads it failed, which is a bug";
            Err(Error::shards(&work.paths[0], message))
        });
        heard.and(read)
    })
}

/// Hands blocks on by their number, and lets the reader go on for each.
fn in_order(
    results: Receiver<(u64, Result<Done>)>,
    permits: Receiver<()>,
    hear: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<()> {
    let (mut early, mut next) = (BTreeMap::new(), 0);
    loop {
        match results.recv_timeout(TICK) {
            Ok((number, done)) => {
                early.insert(number, done?);
                while let Some(done) = early.remove(&next) {
                    hear(Event::Block(done))?;
                    next += 1;
                    let _ = permits.recv();
                }
            }
            Err(RecvTimeoutError::Timeout) => hear(Event::Tick)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Hashes are spread evenly as they are.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// Reads the files and cuts them into blocks. Ends early, without an error, when nobody listens.
fn read(
    work: &Work<'_>,
    bytes_read: &AtomicU64,
    permit: &SyncSender<()>,
    to_work: &SyncSender<Block>,
) -> Result<()> {
    let mut seen: HashSet<u128, BuildHasherDefault<Spread>> = HashSet::default();
    let (mut number, mut bytes_before) = (0, 0);
    for (file, (path, input)) in work.paths.iter().zip(&work.setup.inputs).enumerate() {
        let documents = Documents::open(path)?.with_limit(DOCUMENT_BYTES);
        let mut documents = match work.setup.blank_rows {
            true => documents.with_blank_rows(),
            false => documents,
        };
        let (mut place, mut taken, mut ended) = (Place { file, documents: 0 }, 0, false);
        while !ended {
            let mut block = Block {
                number,
                file,
                first: place.documents,
                documents: Vec::new(),
            };
            let mut block_bytes = 0;
            while block_bytes < BLOCK_BYTES {
                let more = work.setup.max_bytes.is_none_or(|max| taken < max);
                let Some(document) = more.then(|| documents.next()).flatten() else {
                    ended = true;
                    // A file that another program still writes to would be taken in part.
                    if more && documents.bytes_read() != input.bytes {
                        return Err(Error::shards(path, "changed while it was read"));
                    }
                    break;
                };
                let document = document?;
                let bytes = document.bytes() as u64;
                // One blank row is near-empty, and so is the next.
                let is_new = document.paragraphs.is_empty() || seen.insert(hash(&document));
                let wanted = place >= work.from;
                place.documents += 1;
                taken += bytes;
                if !wanted {
                    block.first = place.documents;
                    bytes_read.store(bytes_before + documents.bytes_read(), Ordering::Relaxed);
                    continue;
                }
                block_bytes += bytes;
                block.documents.push((bytes, is_new.then_some(document)));
            }
            bytes_read.store(bytes_before + documents.bytes_read(), Ordering::Relaxed);
            if block.documents.is_empty() {
                continue;
            }
            if permit.send(()).is_err() || to_work.send(block).is_err() {
                return Ok(());
            }
            number += 1;
        }
        bytes_before += input.bytes;
        bytes_read.store(bytes_before, Ordering::Relaxed);
    }
    Ok(())
}

/// 128 bits of xxh3 over the text: among a billion documents that differ, two have the same with
/// a chance of one in 10^20. It is no cryptographic hash: a text can be made to look like another,
/// and all that is won by it is that the text is left out.
fn hash(document: &Document) -> u128 {
    let mut sum = Xxh3::new();
    for paragraph in &document.paragraphs {
        sum.update(paragraph.as_bytes());
        // A byte that no text has.
        sum.update(&[0xff]);
    }
    sum.digest128()
}

fn tokenise_blocks(
    work: &Work<'_>,
    blocks: &Mutex<Receiver<Block>>,
    to_caller: &SyncSender<(u64, Result<Done>)>,
) {
    let mut encoder = IdEncoder::new(work.tokenizer);
    loop {
        let block = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = block else { return };
        let (number, file) = (block.number, block.file);
        // A thread that died would leave the others waiting for its block for ever.
        let done = catch_unwind(AssertUnwindSafe(|| tokenise(work, block, &mut encoder)));
        let done = done.unwrap_or_else(|_| {
            let message = "a thread that tokenises it failed, which is a bug";
            Err(Error::shards(&work.paths[file], message))
        });
        if to_caller.send((number, done)).is_err() {
            return;
        }
    }
}

fn tokenise(work: &Work<'_>, block: Block, encoder: &mut IdEncoder<'_>) -> Result<Done> {
    let mut done = Done {
        file: block.file,
        first: block.first,
        fates: Vec::with_capacity(block.documents.len()),
        pieces: Vec::new(),
        sentence_lens: Vec::new(),
    };
    for (bytes, document) in block.documents {
        let fate = match document {
            None => Fate::Duplicate,
            Some(document) if work.setup.drop_markup && document.is_markup() => Fate::Markup,
            Some(document) => keep(work, &document, encoder, &mut done)?,
        };
        done.fates.push((bytes, fate));
    }
    Ok(done)
}

/// Appends a document's pieces, unless no pair can be made of them.
fn keep(
    work: &Work<'_>,
    document: &Document,
    encoder: &mut IdEncoder<'_>,
    done: &mut Done,
) -> Result<Fate> {
    let (first_piece, first_sentence) = (done.pieces.len(), done.sentence_lens.len());
    for paragraph in &document.paragraphs {
        for range in sentences(paragraph) {
            let start = done.pieces.len();
            encoder.encode(&paragraph[range], &mut done.pieces)?;
            if done.pieces.len() > start {
                done.sentence_lens.push((done.pieces.len() - start) as u32);
            }
        }
    }
    let pieces = &done.pieces[first_piece..];
    let count = done.sentence_lens.len() - first_sentence;
    if count > 1 || (count == 1 && work.vocabulary.word_starts(pieces).len() >= FEWEST_WORDS) {
        return Ok(Fate::Kept {
            sentences: count,
            pieces: pieces.len(),
        });
    }
    done.pieces.truncate(first_piece);
    done.sentence_lens.truncate(first_sentence);
    Ok(Fate::NearEmpty)
}
