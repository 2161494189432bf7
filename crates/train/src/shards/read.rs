//! Shards as they are trained on: verified once, then read where they lie.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use albert_checkpoint::MappedFile;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{HEADER, Header, INDEX, Layout, Manifest, PROGRESS, ShardEntry};
use crate::corpus::widened;
use crate::error::{Error, Result};

/// Whether a corpus is a folder, and so one of shards.
pub fn is_shards(path: &Path) -> bool {
    path.is_dir()
}

/// Checks every byte of a folder of shards, finished or not, and tells what is in it.
///
/// # Errors
/// There is no corpus in the folder, or a file of it is missing, truncated or damaged.
pub fn inspect(folder: &Path, threads: usize) -> Result<Manifest> {
    let manifest = match Manifest::read(&folder.join(INDEX))? {
        Some(whole) => whole,
        None => Manifest::read(&folder.join(PROGRESS))?.ok_or_else(|| none(folder))?,
    };
    verify(folder, &manifest, threads)?;
    Ok(manifest)
}

/// A checksum of what the index of a finished corpus names, without reading the shards; 0 where
/// there is none.
///
/// # Errors
/// The index is damaged.
pub(crate) fn checksum(folder: &Path) -> Result<u64> {
    let manifest = Manifest::read(&folder.join(INDEX))?;
    Ok(manifest.map_or(0, |manifest| manifest.checksum()))
}

fn none(folder: &Path) -> Error {
    Error::shards(
        folder,
        "no corpus in this folder: there is no index.json (`albert corpus build` makes one)",
    )
}

/// The shards of a corpus, mapped into memory.
#[derive(Debug)]
pub(crate) struct Shards {
    manifest: Manifest,
    shards: Vec<Shard>,
    /// The first document of each shard.
    documents: Vec<usize>,
    /// The first sentence of each shard.
    sentences: Vec<usize>,
}

impl Shards {
    /// Opens a finished corpus that was made with the tokenizer of this checksum and number of
    /// pieces, and checks every byte of it.
    ///
    /// # Errors
    /// As [`inspect`], and a corpus that is not finished, or of another tokenizer.
    pub(crate) fn open(
        folder: &Path,
        (tokenizer, vocab_size): (u64, usize),
        threads: usize,
    ) -> Result<Shards> {
        let Some(manifest) = Manifest::read(&folder.join(INDEX))? else {
            if folder.join(PROGRESS).exists() {
                let message = "the corpus in this folder is not finished; give its \
                               `albert corpus build` once more";
                return Err(Error::shards(folder, message));
            }
            return Err(none(folder));
        };
        if manifest.setup.tokenizer != tokenizer {
            let message = format!(
                "these shards were made with another tokenizer (checksum {:016x}, not {tokenizer:016x}); \
                 build them anew, or give that tokenizer",
                manifest.setup.tokenizer
            );
            return Err(Error::shards(&folder.join(INDEX), message));
        }
        if manifest.setup.vocab_size != vocab_size {
            let message = format!(
                "`setup.vocab_size` is {}, but the tokenizer has {vocab_size} pieces",
                manifest.setup.vocab_size
            );
            return Err(Error::shards(&folder.join(INDEX), message));
        }
        let shards = verify(folder, &manifest, threads)?;
        let starts = |count: fn(&ShardEntry) -> u64| {
            let mut next = 0;
            let starts = manifest.shards.iter().map(|shard| {
                let start = next;
                next += count(shard) as usize;
                start
            });
            (starts.collect::<Vec<_>>(), next)
        };
        let (documents, all) = starts(|shard| shard.documents);
        let (sentences, all_sentences) = starts(|shard| shard.sentences);
        if all == 0 {
            return Err(Error::EmptyCorpus {
                paths: vec![folder.to_owned()],
            });
        }
        if all_sentences > u32::MAX as usize {
            let message = format!(
                "{all_sentences} sentences; a run can address {}: build two corpora of it",
                u32::MAX
            );
            return Err(Error::shards(folder, message));
        }
        Ok(Shards {
            manifest,
            shards,
            documents,
            sentences,
        })
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn documents(&self) -> usize {
        self.total(|shard| shard.documents)
    }

    pub(crate) fn sentences(&self) -> usize {
        self.total(|shard| shard.sentences)
    }

    pub(crate) fn pieces(&self) -> usize {
        self.total(|shard| shard.pieces)
    }

    fn total(&self, count: impl Fn(&ShardEntry) -> u64) -> usize {
        self.manifest.shards.iter().map(count).sum::<u64>() as usize
    }

    /// The sentences of a document.
    pub(crate) fn document(&self, document: usize) -> Range<usize> {
        let at = holder(&self.documents, document);
        let local = span(
            self.shards[at].document_ends(),
            document - self.documents[at],
        );
        let first = self.sentences[at];
        first + local.start..first + local.end
    }

    /// The number of pieces in a sentence.
    pub(crate) fn sentence_len(&self, sentence: usize) -> usize {
        let at = holder(&self.sentences, sentence);
        span(
            self.shards[at].sentence_ends(),
            sentence - self.sentences[at],
        )
        .len()
    }

    /// The pieces of consecutive sentences of a document, at least one.
    pub(crate) fn sentence_pieces(&self, sentences: Range<usize>) -> Vec<u32> {
        let at = holder(&self.sentences, sentences.start);
        let (shard, first) = (&self.shards[at], self.sentences[at]);
        let ends = shard.sentence_ends();
        let start = span(ends, sentences.start - first).start;
        let end = span(ends, sentences.end - 1 - first).end;
        shard.pieces(start..end)
    }

    /// A checksum of everything that training reads, from those of the shards.
    pub(crate) fn checksum(&self) -> u64 {
        self.manifest.checksum()
    }
}

/// The shard that holds an item, by the first items of the shards. None of them is empty.
fn holder(starts: &[usize], item: usize) -> usize {
    starts.partition_point(|&start| start <= item) - 1
}

/// What lies before an end and after the one before it.
fn span(ends: &[u32], at: usize) -> Range<usize> {
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start as usize..ends[at] as usize
}

/// A shard whose every byte was checked.
#[derive(Debug)]
pub(super) struct Shard {
    file: MappedFile,
    layout: Layout,
    narrow: bool,
}

impl Shard {
    fn sentence_ends(&self) -> &[u32] {
        self.numbers(&self.layout.sentence_ends)
    }

    fn document_ends(&self) -> &[u32] {
        self.numbers(&self.layout.document_ends)
    }

    /// Numbers that were seen to be there when the shard was checked.
    fn numbers(&self, part: &Range<usize>) -> &[u32] {
        self.file.u32s(part.clone()).unwrap_or_default()
    }

    fn pieces(&self, range: Range<usize>) -> Vec<u32> {
        let width = if self.narrow { 2 } else { 4 };
        let first = self.layout.pieces.start;
        let part = first + range.start * width..first + range.end * width;
        if self.narrow {
            widened(self.file.u16s(part).unwrap_or_default())
        } else {
            self.file.u32s(part).unwrap_or_default().to_vec()
        }
    }
}

/// Maps the shards of a folder and checks every byte, on several threads: as fast as the disk, or
/// some gigabytes a second.
pub(super) fn verify(folder: &Path, manifest: &Manifest, threads: usize) -> Result<Vec<Shard>> {
    let checked: Vec<OnceLock<Result<Shard>>> =
        manifest.shards.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, checked.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(entry) = manifest.shards.get(at) else {
                        break;
                    };
                    let path = folder.join(&entry.file);
                    let _ = checked[at].set(check(&path, entry, manifest));
                }
            });
        }
    });
    checked
        .into_iter()
        .zip(&manifest.shards)
        .map(|(checked, entry)| {
            let lost = || Error::shards(&folder.join(&entry.file), "was not checked");
            checked.into_inner().unwrap_or_else(|| Err(lost()))
        })
        .collect()
}

fn check(path: &Path, entry: &ShardEntry, manifest: &Manifest) -> Result<Shard> {
    let wrong = |message: String| Error::shards(path, message);
    let damaged = |what: &str| {
        wrong(format!(
            "damaged: {what}; remove the folder and build the corpus anew"
        ))
    };
    let file = MappedFile::open(path)?;
    let bytes = file.bytes();
    if (bytes.len() as u64) < entry.bytes {
        return Err(wrong(format!(
            "truncated: {} bytes of {}; remove the folder and build the corpus anew",
            bytes.len(),
            entry.bytes
        )));
    }
    let header = Header::parse(bytes).map_err(wrong)?;
    if header.tokenizer != manifest.setup.tokenizer {
        return Err(wrong(format!(
            "made with another tokenizer (checksum {:016x}, the index's {:016x})",
            header.tokenizer, manifest.setup.tokenizer
        )));
    }
    let counts = (header.documents, header.sentences, header.pieces);
    let (layout, length) = header
        .layout()
        .filter(|(_, length)| *length == bytes.len())
        .ok_or_else(|| damaged("its length is not what its header says"))?;
    if counts != (entry.documents, entry.sentences, entry.pieces)
        || length as u64 != entry.bytes
        || header.checksum != entry.checksum
    {
        return Err(damaged("it is not the shard that the index names"));
    }
    if xxh3_64(&bytes[HEADER..]) != header.checksum {
        return Err(damaged("its checksum is wrong"));
    }
    let shard = Shard {
        narrow: header.width == 2,
        file,
        layout,
    };
    // A checksum tells of accidents; what follows keeps a forged file from reaching beyond.
    let ends = |ends: &[u32], last: u64| {
        ends.last().is_some_and(|&end| u64::from(end) == last)
            && ends.first().is_some_and(|&end| end > 0)
            && ends.windows(2).all(|pair| pair[0] < pair[1])
    };
    let vocab_size = manifest.setup.vocab_size as u64;
    let (pieces, most) = if shard.narrow {
        let pieces = shard.file.u16s(shard.layout.pieces.clone());
        let most = pieces.unwrap_or_default().iter().max();
        (pieces.map(<[u16]>::len), most.map(|&id| u64::from(id)))
    } else {
        let pieces = shard.file.u32s(shard.layout.pieces.clone());
        let most = pieces.unwrap_or_default().iter().max();
        (pieces.map(<[u32]>::len), most.map(|&id| u64::from(id)))
    };
    if pieces != Some(header.pieces as usize) {
        return Err(wrong(
            "cannot be mapped on this machine: its byte order is not little-endian".to_owned(),
        ));
    }
    if !ends(shard.sentence_ends(), header.pieces)
        || !ends(shard.document_ends(), header.sentences)
        || most.is_none_or(|most| most >= vocab_size)
    {
        return Err(damaged("its contents make no sense"));
    }
    Ok(shard)
}
