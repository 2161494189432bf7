//! Small files read whole, and files of any size that are there whole or not
//! at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// The longest text file that is read: an index of a million tensors fits.
const MAX_TEXT: u64 = 256 << 20;

/// Reads a text file.
///
/// # Errors
/// [`Error::Io`], or [`Error::Json`] with the line for text that is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Error::folder(
            path,
            format!("is longer than {MAX_TEXT} bytes"),
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line_start = valid.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        Error::Json {
            path: path.to_path_buf(),
            line: 1 + valid.iter().filter(|&&b| b == b'\n').count(),
            column: 1 + valid.len() - line_start,
            problem: "is not UTF-8".to_owned(),
        }
    })
}

/// Writes `bytes` to `path` so that a reader finds either the old file or the
/// new one, whole, also after a crash: a temporary name in the same folder,
/// synchronised with the disk, then renamed. A process that is killed meanwhile
/// may leave that temporary file, `.albert-*.part`; it can be deleted.
///
/// A symbolic link is followed: the file that it points to is replaced.
///
/// # Errors
/// [`Error::Io`] naming `path`, also for a folder, pipe or device of that name;
/// what was there before is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    stage(path, path, |file| {
        file.write_all(bytes).map_err(Error::io("write", path))
    })?
    .commit()
}

/// Where a file of the name `path` goes: the end of the links that `path` may be
/// the first of. Only a regular file is ever replaced.
pub(crate) fn target(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => {
            let what = if there.is_dir() {
                "a folder"
            } else {
                "no regular file"
            };
            let problem = io::Error::other(format!("it is {what}, and stays as it is"));
            return Err(Error::io("write", path)(problem));
        }
        Ok(_) => {}
        // Nothing there, or a link to nothing: the file is new.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("write", path)(e)),
    }
    let mut end = path.to_path_buf();
    // Circles were refused above.
    while let Ok(next) = fs::read_link(&end) {
        end = folder_of(&end).join(next);
    }
    Ok(end)
}

/// A file that is written and synchronised, but not yet at its place.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
    shown: PathBuf,
}

/// Writes a temporary file beside the [`target`] of `path`, which goes away again
/// unless committed. Messages call it `shown`.
pub(crate) fn stage(
    path: &Path,
    shown: &Path,
    write: impl FnOnce(&mut File) -> Result<()>,
) -> Result<Staged> {
    let path = target(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".albert-").suffix(".part");
    #[cfg(unix)]
    {
        // The mode of an ordinary new file; the umask narrows it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder
        .tempfile_in(folder_of(&path))
        .map_err(Error::io("write", shown))?;
    write(file.as_file_mut())?;
    file.as_file()
        .sync_all()
        .map_err(Error::io("write", shown))?;
    Ok(Staged {
        file,
        path,
        shown: shown.to_path_buf(),
    })
}

impl Staged {
    pub(crate) fn commit(self) -> Result<()> {
        self.file
            .persist(&self.path)
            .map_err(|e| Error::io("write", &self.shown)(e.error))?;
        sync_folder(folder_of(&self.path))
    }
}

/// The folder that a file is in; "." for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames in a folder last through a crash, where the system can.
pub(crate) fn sync_folder(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = File::open(dir).map_err(Error::io("open", dir))?;
        match folder.sync_all() {
            // Some network and user-space file systems cannot synchronise folders.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {}
            result => result.map_err(Error::io("write", dir))?,
        }
    }
    Ok(())
}
