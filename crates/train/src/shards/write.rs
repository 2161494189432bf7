//! A shard on its way to the disk.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::format::{HEADER, Header, Setup, ShardEntry};
use crate::corpus::Pieces;
use crate::error::{Error, Result};
use crate::files::unfinished;

/// Room for the pieces of the document that fills a shard.
const SPARE: usize = 1 << 18;

/// A shard that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    pieces: Pieces,
    sentence_ends: Vec<u32>,
    document_ends: Vec<u32>,
}

impl Filling {
    pub fn new(setup: &Setup) -> Filling {
        let mut pieces = Pieces::new(setup.vocab_size);
        // Growing by doubling would hold up to three times as much.
        match &mut pieces {
            Pieces::Narrow(pieces) => pieces.reserve(setup.shard_bytes as usize / 2 + SPARE),
            Pieces::Wide(pieces) => pieces.reserve(setup.shard_bytes as usize / 4 + SPARE),
        }
        Filling {
            pieces,
            sentence_ends: Vec::new(),
            document_ends: Vec::new(),
        }
    }

    /// Appends a document: its pieces, and the lengths of its sentences, none of them 0.
    pub fn push(&mut self, pieces: &[u32], sentence_lens: &[u32]) {
        // A shard has at most a gigabyte of pieces, and a document is much smaller: 32 bits do.
        let mut end = self.pieces.len() as u32;
        self.pieces.extend(pieces);
        self.sentence_ends.extend(sentence_lens.iter().map(|len| {
            end += len;
            end
        }));
        self.document_ends.push(self.sentence_ends.len() as u32);
    }

    pub fn is_empty(&self) -> bool {
        self.document_ends.is_empty()
    }

    fn width(&self) -> u64 {
        match self.pieces {
            Pieces::Narrow(_) => 2,
            Pieces::Wide(_) => 4,
        }
    }

    /// The bytes of its pieces.
    pub fn bytes(&self) -> u64 {
        self.pieces.len() as u64 * self.width()
    }

    /// Writes the shard beside its place, synchronises it with the disk and renames it.
    pub fn save(&self, folder: &Path, name: String, tokenizer: u64) -> Result<ShardEntry> {
        let path = folder.join(&name);
        let io = || Error::io(&path);
        let mut temporary = unfinished(folder).map_err(io())?;
        let mut body = Body {
            file: BufWriter::with_capacity(1 << 20, temporary.as_file_mut()),
            sum: Xxh3::new(),
            bytes: Vec::new(),
        };
        let checksum = (|| {
            body.file.write_all(&[0; HEADER])?;
            body.array(&self.sentence_ends, u32::to_le_bytes)?;
            body.array(&self.document_ends, u32::to_le_bytes)?;
            match &self.pieces {
                Pieces::Narrow(pieces) => body.array(pieces, u16::to_le_bytes)?,
                Pieces::Wide(pieces) => body.array(pieces, u32::to_le_bytes)?,
            }
            body.file.flush()?;
            Ok(body.sum.digest())
        })()
        .map_err(io())?;
        drop(body);
        let header = Header {
            width: self.width(),
            pieces: self.pieces.len() as u64,
            sentences: self.sentence_ends.len() as u64,
            documents: self.document_ends.len() as u64,
            tokenizer,
            checksum,
        };
        let file = temporary.as_file_mut();
        let bytes = (|| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header.to_bytes())?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        })()
        .map_err(io())?;
        temporary
            .persist(&path)
            .map_err(|refused| Error::io(&path)(refused.error))?;
        Ok(ShardEntry {
            file: name,
            bytes,
            checksum,
            documents: header.documents,
            sentences: header.sentences,
            pieces: header.pieces,
        })
    }
}

/// What is behind the header, summed while it is written.
struct Body<W: Write> {
    file: W,
    sum: Xxh3,
    bytes: Vec<u8>,
}

impl<W: Write> Body<W> {
    fn array<T: Copy, const N: usize>(
        &mut self,
        items: &[T],
        to: impl Fn(T) -> [u8; N],
    ) -> std::io::Result<()> {
        for part in items.chunks(1 << 16) {
            self.bytes.clear();
            self.bytes.extend(part.iter().flat_map(|&item| to(item)));
            self.sum.update(&self.bytes);
            self.file.write_all(&self.bytes)?;
        }
        Ok(())
    }
}
