//! A safetensors file whose tensors arrive one after another.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{folder_of, stage, target};
use crate::header::HeaderWriter;
use crate::tensor::DType;

/// Writes f32 tensors to a safetensors file in the order they come.
///
/// The numbers are not kept in memory. The header is, as text: for each tensor
/// twice its name and about 80 bytes. The format allows a header of 100 MB, so
/// there is room for about a million tensors.
///
/// The format puts its header first, so the data waits in an unnamed file beside
/// the target and is copied behind the header by [`TensorWriter::finish`], which
/// therefore needs room on the disk for the data twice. Until then nothing new
/// stands under the target's name, and a writer that is dropped, or a process
/// that is killed, leaves nothing behind; a process that is killed within
/// `finish` may leave a file `.albert-*.part` beside the target, which can be
/// deleted.
pub struct TensorWriter {
    path: PathBuf,
    header: HeaderWriter,
    data: BufWriter<File>,
}

impl TensorWriter {
    /// Begins the file that [`TensorWriter::finish`] will name `path`. A symbolic
    /// link is followed: the file that it points to is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that does not exist or cannot be written, and
    /// for a folder, pipe or device of the name `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = target(path)?;
        let data = tempfile::tempfile_in(folder_of(&folder)).map_err(Error::io("write", path))?;
        let data = BufWriter::new(data);
        Ok(Self {
            path: path.to_owned(),
            header: HeaderWriter::new(),
            data,
        })
    }

    /// Appends one tensor, in row-major order.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that was used before, a shape that does not
    /// hold `data.len()` numbers, and a tensor whose entry would make the header
    /// longer than the format allows; [`Error::Io`] for a full disk.
    pub fn push(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<()> {
        let elements = shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size));
        if elements != Some(data.len()) {
            let problem = format!(
                "has {} numbers, which the shape {shape:?} has not",
                data.len()
            );
            return Err(Error::tensor(&self.path, name, problem));
        }
        self.header
            .add(name, DType::F32, shape)
            .map_err(|problem| Error::tensor(&self.path, name, problem))?;
        data.iter()
            .try_for_each(|number| self.data.write_all(&number.to_le_bytes()))
            .map_err(Error::io("write", &self.path))
    }

    /// Writes header and data under a temporary name, syncs, and renames to the
    /// target.
    ///
    /// # Errors
    /// [`Error::Io`] for a full disk; the target then is as it was before.
    pub fn finish(self) -> Result<()> {
        let Self { path, header, data } = self;
        let failed = || Error::io("write", &path);
        let mut data = data.into_inner().map_err(|e| failed()(e.into_error()))?;
        data.rewind().map_err(failed())?;
        stage(&path, &path, |file| {
            file.write_all(&header.into_bytes()).map_err(failed())?;
            io::copy(&mut data, file).map(drop).map_err(failed())
        })?
        .commit()
    }
}

#[cfg(test)]
mod tests {
    use super::TensorWriter;

    #[test]
    fn what_is_pushed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.safetensors");
        let mut writer = TensorWriter::create(&path).unwrap();
        writer.push("a.0", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        writer.push("b.0", &[1], &[-0.5]).unwrap();
        assert!(
            writer.push("a.0", &[1], &[0.0]).is_err(),
            "a name may be used once"
        );
        assert!(
            writer.push("c.0", &[3], &[0.0]).is_err(),
            "the shape must hold the data"
        );
        assert!(!path.exists());
        writer.finish().unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("a.0").unwrap();
        assert_eq!(tensor.shape(), [2, 2]);
        assert_eq!(&tensor.data()[12..], 4.0f32.to_le_bytes());
        assert_eq!(file.tensor("b.0").unwrap().data(), (-0.5f32).to_le_bytes());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn shapes_that_overflow_and_reserved_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TensorWriter::create(&folder.path().join("out")).unwrap();
        assert!(writer.push("a", &[usize::MAX, 2], &[]).is_err());
        assert!(writer.push("__metadata__", &[0], &[]).is_err());
        writer.push("a", &[usize::MAX, 2, 0], &[]).unwrap_err();
        writer.push("a", &[0, 3], &[]).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("in")).unwrap();
        for error in [
            TensorWriter::create(&at("in")).err().unwrap(),
            TensorWriter::create("/dev/null".as_ref()).err().unwrap(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("cannot write") && error.contains("stays"),
                "{error}"
            );
        }
        // Links to links, relative ones, to a file that is there and one that is not.
        std::fs::write(at("in/old"), "old").unwrap();
        for (link, end) in [("a", "in/old"), ("b", "in/new")] {
            std::os::unix::fs::symlink(format!("../{end}"), at(&format!("in/{link}"))).unwrap();
            std::os::unix::fs::symlink(format!("in/{link}"), at(link)).unwrap();
            let mut writer = TensorWriter::create(&at(link)).unwrap();
            writer.push("x", &[1], &[1.0]).unwrap();
            writer.finish().unwrap();
            assert!(at(link).is_symlink() && at(&format!("in/{link}")).is_symlink());
            let bytes = std::fs::read(at(end)).unwrap();
            assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
        }
        std::os::unix::fs::symlink("circle", at("circle")).unwrap();
        assert!(TensorWriter::create(&at("circle")).is_err());
    }
}
