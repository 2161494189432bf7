//! A safetensors file whose tensors arrive one after another.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Writes f32 tensors to a safetensors file in the order they come, in memory that does not grow
/// with the data.
///
/// The format puts its header first, so the data waits in an unnamed file beside the target and
/// is copied behind the header by [`TensorWriter::finish`]. Until then nothing stands under the
/// target's name; a writer that is dropped leaves nothing behind.
pub struct TensorWriter {
    path: PathBuf,
    folder: PathBuf,
    data: BufWriter<File>,
    header: Map<String, Value>,
    bytes: u64,
}

impl TensorWriter {
    /// Begins the file that [`TensorWriter::finish`] will name `path`.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let data = tempfile::tempfile_in(&folder).map_err(|error| failed(path, error))?;
        let header = Map::new();
        Ok(Self { path: path.to_owned(), folder, data: BufWriter::new(data), header, bytes: 0 })
    }

    /// Appends one tensor, row-major.
    ///
    /// # Errors
    /// A name that was used before, a shape that does not hold `data.len()` numbers, a full disk.
    pub fn push(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<()> {
        if shape.iter().product::<usize>() != data.len() || self.header.contains_key(name) {
            let reason = format!("tensor {name}: used twice, or not of shape {shape:?}");
            return Err(failed(&self.path, io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let end = self.bytes + 4 * data.len() as u64;
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [self.bytes, end] });
        self.header.insert(name.to_owned(), entry);
        self.bytes = end;
        data.iter()
            .try_for_each(|number| self.data.write_all(&number.to_le_bytes()))
            .map_err(|error| failed(&self.path, error))
    }

    /// Writes header and data under a temporary name, syncs, and renames to the target.
    ///
    /// # Errors
    /// A full disk; the target then is as it was before.
    pub fn finish(self) -> Result<()> {
        let path = self.path.clone();
        self.write().map_err(|error| failed(&path, error))
    }

    fn write(self) -> io::Result<()> {
        let mut header = Value::Object(self.header).to_string();
        while header.len() % 8 != 0 {
            header.push(' ');
        }
        let mut data = self.data.into_inner()?;
        data.rewind()?;
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        io::copy(&mut data, file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io { action: "write", path: path.to_owned(), source }
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
        assert!(writer.push("a.0", &[1], &[0.0]).is_err(), "a name may be used once");
        assert!(writer.push("c.0", &[3], &[0.0]).is_err(), "the shape must hold the data");
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
