//! Groups of tensors and a JSON text in one safetensors file: what runs are resumed from.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use albert_checkpoint::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// A tensor's name with its group before it (`first/albert.pooler.bias`), its shape and numbers.
pub(crate) type Entry = (String, Vec<usize>, Vec<f32>);

/// The metadata with the checksum of all else.
const CHECKSUM: &str = "checksum";

fn failed(path: &Path, message: String) -> Error {
    Error::State {
        path: path.to_owned(),
        message,
    }
}

/// Writes the tensors in 32 bits with `json` as metadata `key`; what was there before is replaced
/// only by a whole new file.
pub(crate) fn write<'a>(
    path: &Path,
    key: &str,
    json: String,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
) -> Result<()> {
    let bytes = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let data: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, (shape, bytes(values))))
        .collect();
    let laid_out =
        |error: safetensors::SafeTensorError| failed(path, format!("cannot be laid out: {error}"));
    let views = data
        .iter()
        .map(|(name, (shape, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(laid_out)?;
    let checksum = {
        let parts = data
            .iter()
            .map(|(name, (shape, bytes))| (&name[..], &shape[..], &bytes[..]));
        checksum(&json, parts)
    };
    let metadata = Some(HashMap::from([
        (key.to_owned(), json),
        (CHECKSUM.to_owned(), checksum),
    ]));
    let file = safetensors::serialize(views, metadata).map_err(laid_out)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    write_atomic(path, &file)?;
    Ok(())
}

/// A checksum of all that a file holds; tensors in the order of their names.
fn checksum<'a>(
    json: &str,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
) -> String {
    let mut sum = Xxh3::new();
    sum.update(json.as_bytes());
    for (name, shape, bytes) in tensors {
        sum.update(name.as_bytes());
        for &size in shape {
            sum.update(&(size as u64).to_le_bytes());
        }
        sum.update(bytes);
    }
    format!("{:016x}", sum.digest())
}

/// The metadata `key` and all tensors; `None` if there is no such file.
pub(crate) fn read(path: &Path, key: &str, what: &str) -> Result<Option<(String, Vec<Entry>)>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let damaged =
        |error: safetensors::SafeTensorError| failed(path, format!("is damaged: {error}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let text = |key: &str| metadata.metadata().as_ref()?.get(key);
    let json = text(key)
        .ok_or_else(|| failed(path, format!("is no state of {what}")))?
        .clone();
    let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let tensors: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    let parts = tensors
        .iter()
        .map(|(name, view)| (&name[..], view.shape(), view.data()));
    let checksum = checksum(&json, parts);
    // Earlier versions wrote none.
    if let Some(written) = text(CHECKSUM).filter(|written| **written != checksum) {
        let message = format!(
            "is damaged: what it holds has checksum {checksum}, not {written} as when it was \
             written; begin anew, or take the weights of the checkpoint beside it for \
             `start_from`"
        );
        return Err(failed(path, message));
    }
    let mut entries = Vec::new();
    for (name, view) in tensors {
        if view.dtype() != Dtype::F32 {
            let dtype = view.dtype();
            let message = format!("holds `{name}` as {dtype:?}, not F32");
            return Err(failed(path, message));
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        entries.push((name, view.shape().to_vec(), values));
    }
    Ok(Some((json, entries)))
}
