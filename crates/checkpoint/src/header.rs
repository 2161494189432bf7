//! The header of a safetensors file, read and written: which tensors it holds,
//! and where.
//!
//! The format: 8 bytes with the length of the header, the header as JSON, then
//! the tensors' bytes end to end. Nothing in it is believed before it is
//! checked, so that a lying file gives an error that names the tensor.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::tensor::DType;

/// The format's own limit on the length of a header.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the length in front of the header.
const LENGTH_BYTES: usize = 8;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The format's name for the number format, also of those not read here.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub(crate) range: Range<usize>,
}

/// What is wrong with a file, with the tensor where it is one tensor's fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeaderError {
    pub(crate) tensor: Option<String>,
    pub(crate) problem: String,
}

impl HeaderError {
    fn file(problem: impl Into<String>) -> Self {
        Self {
            tensor: None,
            problem: problem.into(),
        }
    }

    fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Self {
            tensor: Some(name.to_owned()),
            problem: problem.into(),
        }
    }
}

/// Reads the header of a whole file. The entries come in the order of their bytes.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Entry>, HeaderError> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(HeaderError::file(format!(
            "is {} bytes long, too short for a safetensors file",
            file.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(HeaderError::file(format!(
            "says that its header has {length} bytes, more than the format allows; is it a safetensors file?"
        )));
    }
    let available = rest.len();
    let (header, data) = usize::try_from(length)
        .ok()
        .and_then(|n| rest.split_at_checked(n))
        .ok_or_else(|| {
            HeaderError::file(format!(
                "is truncated: its header should have {length} bytes, and {available} are there"
            ))
        })?;
    let text = std::str::from_utf8(header)
        .map_err(|e| HeaderError::file(format!("has a header that is not UTF-8: {e}")))?;
    let Header(listed) = serde_json::from_str(text)
        .map_err(|e| HeaderError::file(format!("has a damaged header: {e}")))?;
    place(listed, data.len(), file.len() - data.len())
}

/// Checks the tensors against each other and the bytes that are there.
fn place(
    mut listed: Vec<(String, Info)>,
    data_length: usize,
    data_start: usize,
) -> Result<Vec<Entry>, HeaderError> {
    let mut names = HashSet::with_capacity(listed.len());
    if let Some((twice, _)) = listed.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(HeaderError::tensor(twice, "is in the header twice"));
    }
    listed.sort_by_key(|(_, info)| info.data_offsets);

    let mut entries = Vec::with_capacity(listed.len());
    let mut position = 0;
    for (name, info) in listed {
        let (start, end) = info.data_offsets;
        if end < start {
            return Err(HeaderError::tensor(
                &name,
                format!("ends at byte {end}, before its start"),
            ));
        }
        if end > data_length {
            return Err(HeaderError::tensor(
                &name,
                format!("ends at byte {end}, but the file is truncated at {data_length}"),
            ));
        }
        if start < position {
            return Err(HeaderError::tensor(&name, "overlaps the tensor before it"));
        }
        if start > position {
            return Err(HeaderError::tensor(
                &name,
                format!(
                    "follows a hole of {} bytes, which the format forbids",
                    start - position
                ),
            ));
        }
        let bits = bits(&info.dtype).ok_or_else(|| {
            HeaderError::tensor(&name, format!("has the unknown type {:?}", info.dtype))
        })?;
        let expected = info
            .shape
            .iter()
            .try_fold(bits, |product, &size| product.checked_mul(size))
            .filter(|bits| bits % 8 == 0)
            .map(|bits| bits / 8);
        if expected != Some(end - start) {
            return Err(HeaderError::tensor(
                &name,
                format!(
                    "has {} bytes, which a tensor {:?} of {} has not",
                    end - start,
                    info.shape,
                    info.dtype
                ),
            ));
        }
        position = end;
        entries.push(Entry {
            name,
            dtype: info.dtype,
            shape: info.shape,
            range: data_start + start..data_start + end,
        });
    }
    if position != data_length {
        return Err(HeaderError::file(format!(
            "has {} bytes after its last tensor",
            data_length - position
        )));
    }
    Ok(entries)
}

/// Bits of one number of a type of the format.
fn bits(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The header's entries in its own order, so that one named twice is seen twice.
struct Header(Vec<(String, Info)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut entries = Vec::new();
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut metadata_seen, true) {
                            return Err(de::Error::custom("`__metadata__` is there twice"));
                        }
                        map.next_value::<Option<std::collections::HashMap<String, String>>>()?;
                    } else {
                        let info = map.next_value()?;
                        entries.push((name, info));
                    }
                }
                Ok(Header(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Puts a header together while tensors are laid end to end.
pub(crate) struct HeaderWriter {
    text: String,
    names: HashSet<Box<str>>,
    end: u64,
}

impl HeaderWriter {
    pub(crate) fn new() -> Self {
        Self {
            // transformers asks for this mark before it reads a file.
            text: r#"{"__metadata__":{"format":"pt"}"#.to_owned(),
            names: HashSet::new(),
            end: 0,
        }
    }

    /// Adds the next tensor, or says what is wrong with it.
    pub(crate) fn add(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Result<(), String> {
        if name == "__metadata__" {
            return Err("has a name that the format reserves".to_owned());
        }
        if self.names.contains(name) {
            return Err("is given twice".to_owned());
        }
        let end = self.end + shape.iter().product::<usize>() as u64 * dtype.bytes() as u64;
        let info = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [self.end, end]});
        let entry = format!(",{}:{info}", Value::from(name));
        // The brace that closes the header is still to come; the spaces behind it are within the
        // limit, which is a multiple of their unit.
        if (self.text.len() + entry.len() + 1) as u64 > MAX_HEADER {
            return Err(format!(
                "does not fit: with it the header would have more than the {MAX_HEADER} bytes that the format allows"
            ));
        }
        self.text.push_str(&entry);
        self.names.insert(name.into());
        self.end = end;
        Ok(())
    }

    /// The bytes that stand before the tensors.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut text = self.text;
        text.push('}');
        // The format aligns the numbers to 8 bytes with spaces.
        text.push_str(&" ".repeat(text.len().next_multiple_of(LENGTH_BYTES) - text.len()));
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; data]].concat()
    }

    /// A file with tensors of several types, one of them without elements.
    fn good() -> Vec<u8> {
        let header = json!({
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
            "b": {"dtype": "F16", "shape": [3], "data_offsets": [8, 14]},
            "empty": {"dtype": "I64", "shape": [0, 4], "data_offsets": [14, 14]},
            "c": {"dtype": "BOOL", "shape": [], "data_offsets": [14, 15]},
        });
        file(&header.to_string(), 15)
    }

    /// The reference reader must refuse nothing that `read` accepts, and must
    /// see the same tensors.
    fn agrees_with_the_reference(file: &[u8]) {
        let Ok(entries) = read(file) else { return };
        let reference = SafeTensors::deserialize(file).unwrap();
        assert_eq!(reference.len(), entries.len());
        for entry in entries {
            let tensor = reference.tensor(&entry.name).unwrap();
            assert_eq!(tensor.shape(), entry.shape);
            assert_eq!(tensor.data(), &file[entry.range]);
            assert_eq!(format!("{:?}", tensor.dtype()), entry.dtype);
        }
    }

    #[test]
    fn a_good_file_reads_as_the_reference_reads_it() {
        assert_eq!(read(&good()).unwrap().len(), 4);
        agrees_with_the_reference(&good());
    }

    #[test]
    fn every_type_of_the_format_is_known() {
        for (dtype, bytes) in [
            ("F4", 4),
            ("F6_E2M3", 6),
            ("F6_E3M2", 6),
            ("BOOL", 8),
            ("U8", 8),
            ("I8", 8),
            ("F8_E5M2", 8),
            ("F8_E4M3", 8),
            ("F8_E8M0", 8),
            ("I16", 16),
            ("U16", 16),
            ("F16", 16),
            ("BF16", 16),
            ("I32", 32),
            ("U32", 32),
            ("F32", 32),
            ("I64", 64),
            ("U64", 64),
            ("F64", 64),
            ("C64", 64),
        ] {
            let info = json!({"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, bytes]}});
            let file = file(&info.to_string(), bytes);
            assert_eq!(read(&file).unwrap()[0].dtype, dtype);
            assert!(SafeTensors::deserialize(&file).is_ok(), "{dtype}");
        }
    }

    #[test]
    fn a_header_never_grows_beyond_what_is_read() {
        let mut header = HeaderWriter::new();
        let name = |i: usize| format!("{i}{}", "x".repeat(30_000_000));
        for i in 0..3 {
            header.add(&name(i), DType::F32, &[0]).unwrap();
        }
        let problem = header.add(&name(3), DType::F32, &[0]).unwrap_err();
        assert!(problem.contains("100000000 bytes"), "{problem}");
        // What is as long as allowed, quotes that are escaped included, is read.
        let left = MAX_HEADER as usize - header.text.len() - 1;
        let mut last = "\"\n".to_owned();
        let frame = r#","\"\n":{"data_offsets":[0,0],"dtype":"F32","shape":[0]}"#.len();
        last.push_str(&"y".repeat(left - frame));
        let longer = format!("{last}y");
        assert!(header.add(&longer, DType::F32, &[0]).is_err());
        header.add(&last, DType::F32, &[0]).unwrap();
        let entries = read(&header.into_bytes()).unwrap();
        assert_eq!(entries.len(), 4);
        assert!(entries.iter().any(|entry| entry.name == last));
    }

    proptest! {
        #[test]
        fn a_changed_file_is_refused_or_reads_as_the_reference_reads_it(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            digits in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 0..4),
            length in 0usize..400,
        ) {
            let mut file = good();
            let places: Vec<usize> =
                (8..file.len()).filter(|i| file[*i].is_ascii_digit()).collect();
            for (at, digit) in digits {
                file[places[at.index(places.len())]] = digit;
            }
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            agrees_with_the_reference(&file);
            file.truncate(length);
            agrees_with_the_reference(&file);
        }
    }
}
