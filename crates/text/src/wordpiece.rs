//! `vocab.txt`: BERT's WordPiece, which the Chinese ALBERTs have.
//!
//! The file is a piece a line; how text is cut by it is fixed, but for three fields of a
//! `tokenizer_config.json` beside it. Both together say what a `tokenizer.json` says, so they are
//! turned into one and go the same way.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// The name of the file.
pub(crate) const VOCAB_NAME: &str = "vocab.txt";

/// Pieces that such a vocabulary must have.
const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The fields of `tokenizer_config.json` that change how text is cut, with the values that
/// transformers' `BertTokenizer` has without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    lower_case: bool,
    /// As `lower_case` where it is not given.
    strip_accents: Option<bool>,
    chinese: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lower_case: true,
            strip_accents: None,
            chinese: true,
        }
    }
}

impl Rules {
    /// Reads the fields of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// What is wrong with the file or a field.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let flag = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("`{name}` is {other}, neither true nor false")),
        };
        let usual = Self::default();
        Ok(Self {
            lower_case: flag("do_lower_case")?.unwrap_or(usual.lower_case),
            strip_accents: flag("strip_accents")?,
            chinese: flag("tokenize_chinese_chars")?.unwrap_or(usual.chinese),
        })
    }
}

/// The `tokenizer.json` that says the same.
///
/// # Errors
/// [`Error::File`]: a file that is not UTF-8, a line without a piece or with one that was there
/// before, by number; a special piece that is missing.
pub(crate) fn as_json(bytes: &[u8], rules: Rules, path: &Path) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::file(path, reason);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        refuse(format!("line {line} is not UTF-8"))
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (id, line) in text.split('\n').enumerate() {
        let piece = line.strip_suffix('\r').unwrap_or(line);
        if piece.is_empty() {
            return Err(refuse(format!("line {} has no piece", id + 1)));
        }
        if let Some(first) = ids.insert(piece, id) {
            return Err(refuse(format!(
                "line {} has the piece {piece:?} of line {} again",
                id + 1,
                first + 1
            )));
        }
    }
    let special = |name: &&str| {
        let id = ids.get(name);
        let id = id.ok_or_else(|| refuse(format!("the vocabulary lacks the piece {name}")))?;
        Ok(json!({
            "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }))
    };
    let added = SPECIALS.iter().map(special).collect::<Result<Vec<_>>>()?;
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": rules.chinese,
            "strip_accents": rules.strip_accents,
            "lowercase": rules.lower_case,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", ids["[SEP]"]],
            "cls": ["[CLS]", ids["[CLS]"]],
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            // As Google's code: longer words are unknown.
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    });
    serde_json::to_vec(&file).map_err(|error| refuse(error.to_string()))
}
