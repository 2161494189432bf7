//! The cache file of a tokenised corpus, so that resuming does not tokenise again.
//!
//! Little-endian: the magic `ALBERTC1`, the key, bytes a piece (2 or 4), documents dropped, the
//! numbers of pieces, sentences and documents, the checksum (8 bytes each), then the three arrays.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use albert_text::Tokenizer;

use crate::checksum::Checksum;
use crate::corpus::{Limits, Owned, Pieces, TokenisingReport};
use crate::error::{Error, Result};
use crate::files::unfinished;

const MAGIC: &[u8; 8] = b"ALBERTC1";

/// What a cache was made from: the corpus files' content, the tokenizer's, the limits.
///
/// # Errors
/// A corpus file cannot be read.
pub(crate) fn key(paths: &[PathBuf], limits: &Limits, tokenizer: u64) -> Result<u64> {
    let mut sum = Checksum::new();
    sum.word(tokenizer);
    sum.word(limits.max_documents.map_or(0, |max| max + 1));
    sum.word(limits.max_bytes.map_or(0, |max| max + 1));
    sum.word(limits.drop_markup.into());
    for path in paths {
        sum.file(path)?;
    }
    Ok(sum.finish())
}

/// The corpus from the cache in `dir`, by the [`key`] of all that follows; tokenised and put there
/// if it is missing, damaged or made from something else.
///
/// # Errors
/// As [`Corpus::tokenise`](crate::corpus::Corpus::tokenise), or the cache cannot be written.
pub(crate) fn load_or_tokenise(
    dir: &Path,
    key: u64,
    paths: &[PathBuf],
    limits: &Limits,
    tokenizer: &Tokenizer,
    threads: usize,
    report: &mut dyn FnMut(TokenisingReport) -> Result<()>,
) -> Result<Owned> {
    let path = dir.join(format!("corpus-{key:016x}.bin"));
    if let Some(corpus) = read(&path, key) {
        return Ok(corpus);
    }
    let corpus = Owned::tokenise(paths, limits, tokenizer, threads, report)?;
    write(&path, key, &corpus)?;
    Ok(corpus)
}

/// Writes beside the place and renames, so that a cache is whole or not there.
pub(crate) fn write(path: &Path, key: u64, corpus: &Owned) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let temporary = unfinished(dir).map_err(Error::io(path))?;
    let save = || -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, temporary.as_file());
        file.write_all(MAGIC)?;
        let width = match corpus.pieces {
            Pieces::Narrow(_) => 2,
            Pieces::Wide(_) => 4,
        };
        for word in [
            key,
            width,
            corpus.dropped,
            corpus.pieces.len() as u64,
            corpus.sentence_ends.len() as u64,
            corpus.document_ends.len() as u64,
            corpus.checksum(),
        ] {
            file.write_all(&word.to_le_bytes())?;
        }
        match &corpus.pieces {
            Pieces::Narrow(pieces) => pieces
                .iter()
                .try_for_each(|id| file.write_all(&id.to_le_bytes()))?,
            Pieces::Wide(pieces) => pieces
                .iter()
                .try_for_each(|id| file.write_all(&id.to_le_bytes()))?,
        }
        corpus
            .sentence_ends
            .iter()
            .try_for_each(|end| file.write_all(&end.to_le_bytes()))?;
        corpus
            .document_ends
            .iter()
            .try_for_each(|end| file.write_all(&end.to_le_bytes()))?;
        file.flush()?;
        file.get_ref().sync_all()
    };
    save().map_err(Error::io(path))?;
    temporary
        .persist(path)
        .map_err(|error| Error::io(path)(error.error))?;
    Ok(())
}

/// The cached corpus, or `None` if there is none that can be trusted.
pub(crate) fn read(path: &Path, key: u64) -> Option<Owned> {
    let file = File::open(path).ok()?;
    let on_disk = file.metadata().ok()?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).ok()?;
    let mut header = [0u64; 7];
    for word in &mut header {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes).ok()?;
        *word = u64::from_le_bytes(bytes);
    }
    let [
        found,
        width,
        dropped,
        pieces,
        sentences,
        documents,
        checksum,
    ] = header;
    let body = pieces
        .checked_mul(width)?
        .checked_add(sentences.checked_mul(8)?)?
        .checked_add(documents.checked_mul(4)?)?;
    if &magic != MAGIC || found != key || body.checked_add(64)? != on_disk {
        return None;
    }
    let pieces = match width {
        2 => Pieces::Narrow(array(&mut file, pieces, u16::from_le_bytes)?),
        4 => Pieces::Wide(array(&mut file, pieces, u32::from_le_bytes)?),
        _ => return None,
    };
    let corpus = Owned {
        pieces,
        sentence_ends: array(&mut file, sentences, u64::from_le_bytes)?,
        document_ends: array(&mut file, documents, u32::from_le_bytes)?,
        dropped,
    };
    (corpus.checksum() == checksum).then_some(corpus)
}

fn array<T, const N: usize>(
    file: &mut impl Read,
    len: u64,
    from: impl Fn([u8; N]) -> T,
) -> Option<Vec<T>> {
    let mut items = Vec::with_capacity(len as usize);
    let mut bytes = [0; N];
    for _ in 0..len {
        file.read_exact(&mut bytes).ok()?;
        items.push(from(bytes));
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_read_back_or_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("corpus.bin");
        for vocab_size in [1000, 100_000] {
            let mut corpus = Owned::new(vocab_size);
            corpus.push(&[vec![1, 2, 3], vec![999]]);
            corpus.push(&[vec![7]]);
            corpus.dropped = 3;
            write(&path, 42, &corpus).expect("a written cache");
            assert_eq!(read(&path, 42), Some(corpus));
            assert_eq!(read(&path, 43), None);
            let mut bytes = std::fs::read(&path).expect("the cache");
            let last = bytes.len() - 1;
            bytes[64] ^= 1;
            std::fs::write(&path, &bytes).expect("a damaged cache");
            assert_eq!(read(&path, 42), None);
            std::fs::write(&path, &bytes[..last]).expect("a truncated cache");
            assert_eq!(read(&path, 42), None);
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("the folder").collect();
        assert_eq!(left.len(), 1, "no temporary files stay behind");
    }
}
