//! Files mapped into memory, and their bytes seen as numbers: the crate's only
//! unsafe code.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A read-only file mapped into memory: its bytes are read from the disk when they are looked at.
/// An empty file is an empty slice.
///
/// The file must stay as it is while it is mapped. Another program that rewrites it changes what is
/// read, and one that truncates it can end this process; replacing it by a rename does no harm.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for a file that cannot be read, and an error that names the
    /// path for what is no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before opening, which would wait for ever on a named pipe.
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(Error::weights(path, "is not a file"));
        }
        let file = File::open(path).map_err(Error::io("read", path))?;
        if metadata.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private and read-only, and lives as long as
        // `Mmap`. Nothing in this program writes in place to a file that it maps
        // (weights, shards of a corpus): a new file is renamed over the old one,
        // which leaves this mapping on the old contents. Another program that rewrites or truncates the
        // file while it is mapped can change the numbers read or end this
        // process with a bus error; every reader that maps files accepts that,
        // and no value read from the mapping is trusted for memory safety.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map into memory", path))?;
        Ok(Self(Some(map)))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Gives back the memory that the file takes in this process; what is looked at again is read
    /// again, from the system's cache if it is still there. Does nothing where the system has no
    /// such call.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Some(map) = &self.0 {
            // SAFETY: the mapping is read-only and backed by the file, so that a page which comes
            // back holds what it held.
            let released = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            // Refused, the pages stay: nothing but memory is lost.
            drop(released);
        }
    }

    /// A part of the file as little-endian numbers, or `None` where it lies outside of the file,
    /// its address or length does not suit, or the machine's byte order is another.
    pub fn u16s(&self, part: Range<usize>) -> Option<&[u16]> {
        if cfg!(target_endian = "big") {
            return None;
        }
        // SAFETY: every bit pattern is a u16, and `align_to` itself finds the
        // aligned middle; it is used only if nothing is left before or behind it.
        let (before, numbers, behind) = unsafe { self.bytes().get(part)?.align_to::<u16>() };
        (before.is_empty() && behind.is_empty()).then_some(numbers)
    }

    /// As [`MappedFile::u16s`], in four bytes each.
    pub fn u32s(&self, part: Range<usize>) -> Option<&[u32]> {
        if cfg!(target_endian = "big") {
            return None;
        }
        // SAFETY: as in `u16s`.
        let (before, numbers, behind) = unsafe { self.bytes().get(part)?.align_to::<u32>() };
        (before.is_empty() && behind.is_empty()).then_some(numbers)
    }
}

/// Little-endian f32 numbers where they lie, or `None` where the machine's byte
/// order or the address does not allow it.
pub(crate) fn as_f32(bytes: &[u8]) -> Option<&[f32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    // SAFETY: every bit pattern is an f32, and `align_to` itself finds the
    // aligned middle; it is used only if nothing is left before or behind it.
    let (before, numbers, behind) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && behind.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_read_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("numbers");
        std::fs::write(&path, [7; 100_000]).expect("a written file");
        let file = MappedFile::open(&path).expect("a mapped file");
        assert_eq!(file.bytes(), [7; 100_000]);
        file.release();
        assert_eq!(file.bytes(), [7; 100_000]);
        let empty = dir.path().join("empty");
        std::fs::write(&empty, []).expect("a written file");
        MappedFile::open(&empty).expect("an empty file").release();
    }

    #[test]
    fn numbers_are_seen_where_they_lie_well() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("numbers");
        std::fs::write(&path, [1, 0, 2, 0, 3, 0, 0, 1, 9]).expect("a written file");
        let file = MappedFile::open(&path).expect("a mapped file");
        assert_eq!(file.u16s(0..8), Some(&[1, 2, 3, 256][..]));
        assert_eq!(file.u32s(4..8), Some(&[0x0100_0003][..]));
        assert_eq!(file.u16s(1..3), None, "an odd address");
        assert_eq!(file.u32s(0..6), None, "an odd length");
        assert_eq!(file.u16s(6..10), None, "beyond the end");
        assert_eq!(file.u16s(4..4), Some(&[][..]));
    }
}
