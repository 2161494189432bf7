//! A fast checksum against accidents: is this the corpus that the run began with?

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// 64 bits over a stream of words: each is xored in, multiplied by an odd constant and folded.
/// It notices changed files and damaged caches; it is no defence against forgery.
#[derive(Clone, Debug)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn new() -> Checksum {
        Checksum(0x243f_6a88_85a3_08d3)
    }

    pub(crate) fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn part(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Adds a file's content.
    pub(crate) fn file(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            let mut filled = 0;
            // Full buffers, so that the result does not depend on how the system cuts its reads.
            while filled < buffer.len() {
                match file.read(&mut buffer[filled..]).map_err(Error::io(path))? {
                    0 => break,
                    read => filled += read,
                }
            }
            self.part(&buffer[..filled]);
            total += filled as u64;
            if filled < buffer.len() {
                self.word(total);
                return Ok(());
            }
        }
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_file_counts() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let sum = |content: &[u8]| {
            let path = dir.path().join("file");
            std::fs::write(&path, content).expect("a written file");
            let mut sum = Checksum::new();
            sum.file(&path).expect("a checksum");
            sum.finish()
        };
        // Longer than the buffer, and no multiple of a word.
        let mut content: Vec<u8> = (0..3_000_001u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect();
        let whole = sum(&content);
        assert_eq!(whole, sum(&content));
        assert_ne!(whole, sum(&content[1..]));
        assert_ne!(whole, sum(&content[..3_000_000]));
        content[2_222_222] ^= 1;
        assert_ne!(whole, sum(&content));
        assert_ne!(sum(&[0]), sum(&[0, 0]));
    }
}
