//! `pytorch_model.bin`: a ZIP archive with a pickle that describes tensors, and a stored file of
//! numbers for each storage. The numbers are used where they lie.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use crate::header::{Entry, HeaderError};
use crate::pickle::{self, Storage, Tensor};

/// The longest pickle that is read; one of a million tensors is shorter.
const MAX_PICKLE: u64 = 256 << 20;

/// The number formats by PyTorch's names: safetensors' name and the bytes of a number.
const FORMATS: [(&str, &str, usize); 8] = [
    ("FloatStorage", "F32", 4),
    ("HalfStorage", "F16", 2),
    ("BFloat16Storage", "BF16", 2),
    ("DoubleStorage", "F64", 8),
    ("LongStorage", "I64", 8),
    ("IntStorage", "I32", 4),
    ("ByteStorage", "U8", 1),
    ("BoolStorage", "BOOL", 1),
];

/// The tensors of a whole file.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Entry>, HeaderError> {
    if file.starts_with(&[0x80]) {
        let problem = "is of PyTorch before 1.6, which is not read here: load it there and save it \
                       again";
        return Err(fault(problem));
    }
    let broken = |error: zip::result::ZipError| fault(format!("is no archive of PyTorch: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(broken)?;
    let mut pickle = None;
    let mut places: HashMap<String, Range<usize>> = HashMap::new();
    for index in 0..archive.len() {
        let mut part = archive.by_index_raw(index).map_err(broken)?;
        // NAME/data.pkl, NAME/data/KEY
        let Some((_, name)) = part.name().split_once('/') else {
            continue;
        };
        let name = name.to_owned();
        if part.compression() != CompressionMethod::Stored {
            return Err(fault(format!(
                "has {name} compressed, which PyTorch never writes"
            )));
        }
        if name == "data.pkl" {
            let mut bytes = Vec::new();
            let limited = part.by_ref().take(MAX_PICKLE).read_to_end(&mut bytes);
            limited.map_err(|error| fault(error.to_string()))?;
            pickle = Some(bytes);
        } else if let Some(key) = name.strip_prefix("data/") {
            let start = part.data_start().unwrap_or(u64::MAX);
            let range = usize::try_from(start).ok().and_then(|start| {
                let end = start.checked_add(usize::try_from(part.size()).ok()?)?;
                (end <= file.len()).then_some(start..end)
            });
            let range = range.ok_or_else(|| fault(format!("has {name} beyond its end")))?;
            places.insert(key.to_owned(), range);
        }
    }
    let pickle = pickle.ok_or_else(|| fault("has no data.pkl in it"))?;
    let tensors = pickle::tensors(&pickle).map_err(fault)?;
    tensors
        .into_iter()
        .map(|(name, tensor)| match entry(&name, &tensor, &places) {
            Ok(entry) => Ok(entry),
            Err(problem) => Err(HeaderError {
                tensor: Some(name),
                problem,
            }),
        })
        .collect()
}

fn entry(
    name: &str,
    tensor: &Tensor,
    places: &HashMap<String, Range<usize>>,
) -> Result<Entry, String> {
    let Storage { class, key, count } = &*tensor.storage;
    let format = FORMATS.iter().find(|(known, ..)| known == class);
    let Some((_, dtype, width)) = format else {
        return Err(format!("has the type {class}, which is not read here"));
    };
    let place = places.get(key);
    let place =
        place.ok_or_else(|| format!("has its numbers in data/{key}, which is not there"))?;
    let bytes = count
        .checked_mul(*width)
        .filter(|&bytes| bytes <= place.len());
    if bytes.is_none() {
        let there = place.len();
        return Err(format!(
            "has {count} numbers in data/{key}, which has {there} bytes"
        ));
    }
    // As PyTorch lays numbers out: the last dimension's beside each other. The stride of a dimension
    // of one is never taken.
    let mut step = 1_usize;
    let dimensions = tensor.shape.iter().zip(&tensor.strides);
    if tensor.shape.len() != tensor.strides.len() {
        return Err("has not as many strides as dimensions".to_owned());
    }
    for (&size, &stride) in dimensions.rev() {
        if size > 1 && stride != step {
            return Err(format!(
                "has the strides {:?}, which are not those of its shape {:?}: save it contiguous",
                tensor.strides, tensor.shape
            ));
        }
        step = step.checked_mul(size).ok_or("is too large")?;
    }
    let end = tensor.offset.checked_add(step).filter(|end| end <= count);
    let end = end.ok_or_else(|| format!("goes beyond the {count} numbers in data/{key}"))?;
    Ok(Entry {
        name: name.to_owned(),
        dtype: (*dtype).to_owned(),
        shape: tensor.shape.clone(),
        range: place.start + tensor.offset * width..place.start + end * width,
    })
}

fn fault(problem: impl Into<String>) -> HeaderError {
    HeaderError {
        tensor: None,
        problem: problem.into(),
    }
}
