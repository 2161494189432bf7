//! Files mapped into memory, and their bytes seen as numbers: the crate's only
//! unsafe code.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A read-only file in memory. An empty file is an empty slice.
#[derive(Debug)]
pub(crate) struct MappedFile(Option<Mmap>);

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
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
        // `Mmap`. Nothing in this program writes to a weight file in place:
        // `save` renames a new file over the old one, which leaves this mapping
        // on the old contents. Another program that rewrites or truncates the
        // file while it is mapped can change the numbers read or end this
        // process with a bus error; every reader that maps files accepts that,
        // and no value read from the mapping is trusted for memory safety.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map into memory", path))?;
        Ok(Self(Some(map)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
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
