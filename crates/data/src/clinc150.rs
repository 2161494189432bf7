//! CLINC150 (Larson et al. 2019): queries with intents, by splits.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::value::RawValue;

use crate::{Dataset, Error, Result, TextExample};

/// The intent of queries that no intent fits.
pub const OUT_OF_SCOPE: &str = "oos";

/// Reads the splits that are named, joined by `+`; without a name all of them.
pub(crate) fn read(path: &Path, text: &str, split: Option<&str>) -> Result<Dataset> {
    let splits: BTreeMap<String, Vec<&RawValue>> = serde_json::from_str(text)
        .map_err(|error| Error::row(path, error.line(), error.to_string()))?;
    // Where each line of the file begins: it may be all in one.
    let begins: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let line_of = |row: &RawValue| {
        let at = row.get().as_ptr() as usize - text.as_ptr() as usize;
        begins.partition_point(|&begin| begin <= at) + 1
    };
    let chosen: Vec<&str> = match split {
        Some(split) => split.split('+').collect(),
        None => splits.keys().map(String::as_str).collect(),
    };
    let mut examples = Vec::new();
    for name in chosen {
        let Some(rows) = splits.get(name) else {
            let known: Vec<&str> = splits.keys().map(String::as_str).collect();
            let message = format!("has no split `{name}`; it has {}", known.join(", "));
            return Err(Error::file(path, message));
        };
        for row in rows {
            let line = line_of(row);
            let (text, intent): (String, String) = serde_json::from_str(row.get())
                .map_err(|_| Error::row(path, line, "a query is `[text, intent]`"))?;
            examples.push(TextExample {
                line,
                text,
                text_pair: None,
                labels: vec![intent],
            });
        }
    }
    Ok(Dataset::Classes {
        examples,
        multi_label: false,
    })
}
