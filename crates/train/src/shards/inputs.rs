//! Whether the corpus files are those that a build began with.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::format::{Input, Setup};
use crate::error::{Error, Result};

/// A corpus file's length.
pub(super) fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(Error::io(path))?.len())
}

/// What the corpus files are now. `read` hears how many bytes were read, every megabyte.
pub(super) fn identify(
    paths: &[PathBuf],
    read: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Input>> {
    let mut total = 0;
    paths
        .iter()
        .map(|path| {
            let mut file = File::open(path).map_err(Error::io(path))?;
            let mut sum = Xxh3::new();
            let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
            loop {
                let filled = file.read(&mut buffer).map_err(Error::io(path))?;
                if filled == 0 {
                    break;
                }
                sum.update(&buffer[..filled]);
                bytes += filled as u64;
                total += filled as u64;
                read(total)?;
            }
            Ok(Input {
                path: path.display().to_string(),
                bytes,
                checksum: sum.digest(),
            })
        })
        .collect()
}

/// That the corpus files are as long as they were, which takes no time to see.
pub(super) fn same_lengths(folder: &Path, began: &Setup, paths: &[PathBuf]) -> Result<()> {
    let named: Vec<Input> = paths
        .iter()
        .map(|path| {
            Ok(Input {
                path: path.display().to_string(),
                bytes: length(path)?,
                checksum: 0,
            })
        })
        .collect::<Result<_>>()?;
    same(folder, began, &named, |was, now| was.bytes == now.bytes)
}

/// That the corpus files have the content that they had, under whatever names.
pub(super) fn same_content(folder: &Path, began: &Setup, now: &[Input]) -> Result<()> {
    same(folder, began, now, |was, now| {
        (was.bytes, was.checksum) == (now.bytes, now.checksum)
    })
}

fn same(
    folder: &Path,
    began: &Setup,
    now: &[Input],
    equal: impl Fn(&Input, &Input) -> bool,
) -> Result<()> {
    for (was, now) in began.inputs.iter().zip(now) {
        if !equal(was, now) {
            let message = format!(
                "not what the corpus in {} was begun with ({}, {} bytes then, {} bytes now, or \
                 other content); give the old files, or build into another folder",
                folder.display(),
                was.path,
                was.bytes,
                now.bytes
            );
            return Err(Error::shards(Path::new(&now.path), message));
        }
    }
    if began.inputs.len() != now.len() {
        let message = format!(
            "begun with {} corpus files, not {}; give the same, or build into another folder",
            began.inputs.len(),
            now.len()
        );
        return Err(Error::shards(folder, message));
    }
    Ok(())
}
