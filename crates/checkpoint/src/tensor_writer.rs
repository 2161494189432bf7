//! A safetensors file whose tensors arrive one after another.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{folder_of, stage};
use crate::header::HeaderWriter;
use crate::tensor::DType;

/// Writes f32 tensors to a safetensors file in the order they come, in memory
/// that does not grow with the data.
///
/// The format puts its header first, so the data waits in an unnamed file beside
/// the target and is copied behind the header by [`TensorWriter::finish`]. Until
/// then nothing stands under the target's name; a writer that is dropped leaves
/// nothing behind.
pub struct TensorWriter {
    path: PathBuf,
    header: HeaderWriter,
    data: BufWriter<File>,
}

impl TensorWriter {
    /// Begins the file that [`TensorWriter::finish`] will name `path`.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that does not exist or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let data = tempfile::tempfile_in(folder_of(path)).map_err(Error::io("write", path))?;
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
    /// [`Error::Tensor`] for a name that was used before or a shape that does
    /// not hold `data.len()` numbers; [`Error::Io`] for a full disk.
    pub fn push(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<()> {
        if shape.iter().product::<usize>() != data.len() {
            let problem = format!(
                "has {} numbers, which the shape {shape:?} has not",
                data.len()
            );
            return Err(Error::tensor(&self.path, name, problem));
        }
        if !self.header.add(name, DType::F32, shape) {
            return Err(Error::tensor(&self.path, name, "is given twice"));
        }
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
}
