//! Files on their way to their places, and folders that one run at a time may write to.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// What unfinished files are called, as everywhere in this project.
const PREFIX: &str = ".albert-";
const SUFFIX: &str = ".part";

/// A file in `folder` under a temporary name, to be renamed when it is whole.
pub(crate) fn unfinished(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        // The mode of an ordinary new file; the umask narrows it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Removes what a program that was killed had begun to write in `folder`.
pub(crate) fn remove_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            // Only untidy if it stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What `parse` reads of each line that a run wrote to a log, behind a first one that begins with `head`,
/// if there is such. A last line that a kill cut short is left out, and so are blank ones; of a file that is
/// not there, there is nothing.
///
/// # Errors
/// [`Error::Log`] where a line is not what it should be, [`Error::Io`].
pub(crate) fn read_log<T>(
    path: &Path,
    head: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut all = Vec::new();
    for (i, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") || line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = || Error::Log {
            path: path.to_owned(),
            line: i + 1,
        };
        let line = std::str::from_utf8(line).map_err(|_| wrong())?;
        match head.filter(|_| i == 0) {
            Some(head) if line.starts_with(head) => {}
            Some(_) => return Err(wrong()),
            None => all.push(parse(line.trim_end()).ok_or_else(wrong)?),
        }
    }
    Ok(all)
}

/// Keeps others out of a folder while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    /// `None` where the system cannot lock folders.
    _folder: Option<File>,
}

impl Lock {
    /// Locks a folder; `None` if another program has done so.
    pub(crate) fn new(folder: &Path) -> Option<Lock> {
        let folder = File::open(folder).ok();
        match folder.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => None,
            _ => Some(Lock { _folder: folder }),
        }
    }
}

/// A folder that one run alone writes to. Dropped, it goes away again if it is new and still empty.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: PathBuf,
    new: bool,
    _lock: Lock,
}

impl Claim {
    /// Makes the folder, if need be, and sees whether it can be written to.
    ///
    /// # Errors
    /// [`Error::OutputBusy`] where another run has it, [`Error::Io`] where nothing can be written.
    pub(crate) fn new(folder: &Path) -> Result<Claim> {
        let new = !folder.exists();
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let lock = Lock::new(folder).ok_or_else(|| Error::OutputBusy {
            path: folder.to_owned(),
        })?;
        let claim = Claim {
            folder: folder.to_owned(),
            new,
            _lock: lock,
        };
        unfinished(folder).map_err(Error::io(folder))?;
        Ok(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.new {
            // A folder with something in it is not removed.
            let _ = std::fs::remove_dir(self.folder.join("training"));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_runs_alone_and_goes_if_nothing_came_of_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("a/b");
        let first = Claim::new(&folder).expect("the folder");
        let second = Claim::new(&folder).expect_err("a second run");
        assert!(matches!(second, Error::OutputBusy { .. }), "{second}");
        assert!(folder.exists());
        drop(first);
        assert!(!folder.exists());

        let third = Claim::new(&folder).expect("the folder again");
        std::fs::write(folder.join("file"), "text").expect("a file");
        drop(third);
        assert!(folder.join("file").exists());
    }

    #[test]
    fn a_log_is_read_but_for_a_line_cut_short() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("log");
        let read = || read_log(&path, Some("numbers"), |line| line.parse::<u8>().ok());
        assert!(read().expect("no file").is_empty());
        std::fs::write(&path, "numbers\n7\r\n\n8\n9").expect("a file");
        assert_eq!(read().expect("the file"), [7, 8]);
        for (bad, at) in [("numbers\n7\neight\n9\n", 3), ("7\n8\n", 1)] {
            std::fs::write(&path, bad).expect("a file");
            let error = read().expect_err("a line that is none");
            assert!(
                matches!(error, Error::Log { line, .. } if line == at),
                "{error}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_unfinished_file_has_the_mode_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mode = |path: &Path| path.metadata().expect("a file").permissions().mode();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").expect("a file");
        let file = unfinished(dir.path()).expect("a file");
        assert_eq!(mode(file.path()), mode(&plain));
        let (_, kept) = file.keep().expect("a file that stays");
        remove_unfinished(dir.path());
        assert!(!kept.exists() && plain.exists());
    }
}
