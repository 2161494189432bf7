//! What lies in a folder of shards: `shard-*.bin`, and `index.json` or, of an unfinished build,
//! `progress.json`. `docs/corpus-format.md` is the description for other programs.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use albert_checkpoint::write_atomic;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::checksum::Checksum;
use crate::error::{Error, Result};

/// The layout that this version reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// The index of a whole corpus.
pub(crate) const INDEX: &str = "index.json";

/// The same of a build that is not finished.
pub(crate) const PROGRESS: &str = "progress.json";

const MAGIC: &[u8; 8] = b"ALBERTS1";

/// The bytes of a shard's header.
pub(crate) const HEADER: usize = 64;

/// The name of a shard's file.
pub(crate) fn shard_name(number: usize) -> String {
    format!("shard-{number:05}.bin")
}

/// Everything that the shards depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The checksum of the tokenizer's file.
    #[serde(with = "hex")]
    pub tokenizer: u64,
    /// The number of its pieces.
    pub vocab_size: usize,
    /// A shard is full when its pieces have so many bytes.
    pub shard_bytes: u64,
    /// At most so many bytes of text of each corpus file.
    pub max_bytes: Option<u64>,
    /// Whether documents full of markup are left out.
    pub drop_markup: bool,
    /// Whether rows of JSONL without text are counted as near-empty documents. Earlier versions passed
    /// over them.
    #[serde(default)]
    pub blank_rows: bool,
    /// The corpus files, in order.
    pub inputs: Vec<Input>,
}

/// A corpus file as it was when the build began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The file, as it was named then.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The xxh3-64 of its content.
    #[serde(with = "hex")]
    pub checksum: u64,
}

/// What was read, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Documents in the shards.
    pub documents: u64,
    /// Documents left out because the same text came before.
    pub duplicates: u64,
    /// Documents left out because no pair of segments can be made of them: a single sentence of
    /// fewer than four words.
    pub near_empty: u64,
    /// Documents left out because they are full of markup.
    pub markup: u64,
    /// Sentences in the shards.
    pub sentences: u64,
    /// Pieces in the shards.
    pub pieces: u64,
    /// Bytes of text that were read, those of documents left out included.
    pub bytes: u64,
}

/// A shard as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// The file's name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// The xxh3-64 of all behind the header.
    #[serde(with = "hex")]
    pub checksum: u64,
    /// Documents in it.
    pub documents: u64,
    /// Sentences in it.
    pub sentences: u64,
    /// Pieces in it.
    pub pieces: u64,
}

/// A place between two documents of the corpus files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The corpus file, counted from 0.
    pub file: usize,
    /// Documents of it before the place.
    pub documents: u64,
}

/// What `index.json` and `progress.json` say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of the folder.
    pub format: u32,
    /// What the shards were made from.
    pub setup: Setup,
    /// What is in them, and what was left out.
    pub counts: Counts,
    /// Where an unfinished build goes on; absent in a whole corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Place>,
    /// The shards, in order.
    pub shards: Vec<ShardEntry>,
}

impl Manifest {
    /// A checksum of everything that training reads, from those of the shards.
    pub(crate) fn checksum(&self) -> u64 {
        let mut sum = Checksum::new();
        for shard in &self.shards {
            sum.word(shard.documents);
            sum.word(shard.sentences);
            sum.word(shard.pieces);
            sum.word(shard.checksum);
        }
        sum.finish()
    }

    /// Reads a manifest, or `None` where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub(crate) fn read(path: &Path) -> Result<Option<Manifest>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path)(error)),
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| Error::shards(path, format!("damaged: {error}"));
        let Version { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format != FORMAT {
            let message = format!("format {format}; this version reads format {FORMAT}");
            return Err(Error::shards(path, message));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(damaged)?;
        for (number, shard) in manifest.shards.iter().enumerate() {
            // Also keeps a name from leading out of the folder.
            if shard.file != shard_name(number) {
                let message = format!("damaged: shard {number} is called `{}`", shard.file);
                return Err(Error::shards(path, message));
            }
        }
        Ok(Some(manifest))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::Shards {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        text.push('\n');
        Ok(write_atomic(path, text.as_bytes())?)
    }
}

/// What the header of a shard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes a piece: 2 or 4.
    pub width: u64,
    pub pieces: u64,
    pub sentences: u64,
    pub documents: u64,
    pub tokenizer: u64,
    /// The xxh3-64 of all behind the header.
    pub checksum: u64,
}

/// Where the arrays of a shard lie in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub sentence_ends: Range<usize>,
    pub document_ends: Range<usize>,
    pub pieces: Range<usize>,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        let words = [
            self.width,
            self.pieces,
            self.sentences,
            self.documents,
            self.tokenizer,
            self.checksum,
        ];
        for (slot, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let own = xxh3_64(&bytes[..HEADER - 8]);
        bytes[HEADER - 8..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads a header; what is wrong with it otherwise.
    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Header, String> {
        let bytes = bytes
            .first_chunk::<HEADER>()
            .ok_or("truncated: shorter than its header")?;
        if &bytes[..8] != MAGIC {
            return Err("not a shard of a corpus".to_owned());
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * at..8 * at + 8]);
            u64::from_le_bytes(word)
        };
        let header = Header {
            width: word(1),
            pieces: word(2),
            sentences: word(3),
            documents: word(4),
            tokenizer: word(5),
            checksum: word(6),
        };
        if word(7) != xxh3_64(&bytes[..HEADER - 8]) || !matches!(header.width, 2 | 4) {
            return Err("damaged: its header's checksum is wrong".to_owned());
        }
        Ok(header)
    }

    /// Where the arrays lie, and the length of the file; `None` where that is beyond all bounds.
    pub(crate) fn layout(&self) -> Option<(Layout, usize)> {
        let end = |from: usize, count: u64, width: u64| {
            from.checked_add(usize::try_from(count.checked_mul(width)?).ok()?)
        };
        let sentences = end(HEADER, self.sentences, 4)?;
        let documents = end(sentences, self.documents, 4)?;
        let pieces = end(documents, self.pieces, self.width)?;
        let layout = Layout {
            sentence_ends: HEADER..sentences,
            document_ends: sentences..documents,
            pieces: documents..pieces,
        };
        Some((layout, pieces))
    }
}

/// Checksums in JSON: sixteen digits, because not every reader of JSON has 64-bit numbers.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(word: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{word:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is no checksum")))
    }
}
