//! CLINC150 (Larson et al. 2019): queries with intents, by splits.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Dataset, Error, Result, TextExample};

/// The intent of queries that no intent fits.
pub const OUT_OF_SCOPE: &str = "oos";

/// Reads the splits that are named, joined by `+`; without a name all of them.
pub(crate) fn read(path: &Path, text: &str, split: Option<&str>) -> Result<Dataset> {
    let splits: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(text)
        .map_err(|error| Error::row(path, error.line(), error.to_string()))?;
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
        let rows = rows.iter().enumerate();
        examples.extend(rows.map(|(i, (text, intent))| TextExample {
            line: i + 1,
            text: text.clone(),
            text_pair: None,
            labels: vec![intent.clone()],
        }));
    }
    Ok(Dataset::Classes {
        examples,
        multi_label: false,
    })
}
