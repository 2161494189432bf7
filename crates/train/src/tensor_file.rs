//! Groups of tensors and a JSON text in one safetensors file: what runs are resumed from.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use albert_checkpoint::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// A tensor's name with its group before it (`first/albert.pooler.bias`), its shape and numbers.
pub(crate) type Entry = (String, Vec<usize>, Vec<f32>);

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
    let metadata = Some(HashMap::from([(key.to_owned(), json)]));
    let file = safetensors::serialize(views, metadata).map_err(laid_out)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    write_atomic(path, &file)?;
    Ok(())
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
    let json = metadata
        .metadata()
        .as_ref()
        .and_then(|map| map.get(key))
        .ok_or_else(|| failed(path, format!("is no state of {what}")))?
        .clone();
    let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut entries = Vec::new();
    for (name, view) in tensors.tensors() {
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
