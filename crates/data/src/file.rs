//! Text files, plain or packed.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use crate::{Error, Result};

/// A file to be read piece by piece; of one named `.zst` what is packed in it.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened, or is a folder.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(Error::io(path))?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(Error::io(path)(ErrorKind::IsADirectory.into()));
    }
    if path.extension().is_some_and(|end| end == "zst") {
        let packed = zstd::Decoder::new(file).map_err(Error::io(path))?;
        return Ok(Box::new(BufReader::new(packed)));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// The whole text of a file; of one named `.zst` what is packed in it. A byte-order mark at the
/// beginning is left out.
pub(crate) fn text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Error::row(path, line, "is not UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The name without `.zst`.
pub fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".zst").unwrap_or(&name).to_owned()
}

/// The lines with their numbers from 1, without their ends; empty ones are left out.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.split('\n').enumerate();
    numbered
        .map(|(i, line)| (i + 1, line.strip_suffix('\r').unwrap_or(line)))
        .filter(|(_, line)| !line.trim().is_empty())
}
