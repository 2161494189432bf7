//! The `tokenizer.json` that this crate writes: ALBERT's rules, as far as the format can say them.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::{Error, Result};

/// ALBERT's special pieces in the order of their ids.
pub(crate) const SPECIALS: [&str; 5] = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];

/// The rules of a `tokenizer.json`, without its vocabulary, which is nearly all of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RulesFile {
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub added_tokens: Value,
}

/// Quotes, compatibility forms, accents, case, then what is invisible. Characters that separate words
/// unseen (and U+2581, which marks spaces in pieces) become spaces as in SentencePiece's `nmt_nfkc`;
/// other control and format characters, the soft hyphen among them, vanish.
fn normalizer() -> Value {
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    json!({"type": "Sequence", "normalizers": [
        replace(json!({"String": "``"}), "\""),
        replace(json!({"String": "''"}), "\""),
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        replace(
            json!({"Regex": "[\t-\r\u{1c}-\u{1f}\u{85}\\p{Z}\u{200b}\u{200e}\u{200f}\u{2581}\u{feff}\u{fffd}]+"}),
            " ",
        ),
        replace(json!({"Regex": "[\\p{Cc}\\p{Cf}]+"}), ""),
        {"type": "Strip", "strip_left": true, "strip_right": true},
    ]})
}

/// Words with U+2581 before them, then runs of digits and single punctuation marks on their own.
///
/// U+2581 goes along with a digit or a mark that opens a word, but not with a mark that closes one:
/// so a full stop is the same piece after a word, after a space, and after `[MASK]`, where the
/// `tokenizers` crate starts a word afresh.
fn pre_tokenizer() -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false},
        {
            "type": "Split",
            "pattern": {"Regex": "▁(?=[.,;:!?%)\\]}'’”»…])"},
            "behavior": "Removed",
            "invert": false,
        },
        {
            "type": "Split",
            "pattern": {"Regex": "▁?(?:\\p{Nd}+|[\\p{P}\\p{S}&&[^▁]])"},
            "behavior": "Isolated",
            "invert": false,
        },
    ]})
}

/// The file for pieces with their scores; the special ones come before them.
pub(crate) fn tokenizer_json(pieces: &[(String, f64)]) -> String {
    let special_tokens: Vec<Value> = SPECIALS
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": *content == "[MASK]",
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let vocab: Vec<Value> = SPECIALS
        .iter()
        .map(|piece| json!([piece, 0.0]))
        .chain(pieces.iter().map(|(piece, score)| json!([piece, score])))
        .collect();
    let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    let special = |id: &str, type_id: u32| json!({"SpecialToken": {"id": id, "type_id": type_id}});
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special_tokens,
        "normalizer": normalizer(),
        "pre_tokenizer": pre_tokenizer(),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
            "pair": [
                special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0),
                sequence("B", 1), special("[SEP]", 1),
            ],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false,
        },
        "model": {"type": "Unigram", "unk_id": 1, "vocab": vocab, "byte_fallback": false},
    });
    format!("{file:#}\n")
}

/// Whether a file has the rules that this crate writes. They look at each word between spaces by
/// itself, whatever stands around it.
pub(crate) fn has_independent_words(file: &RulesFile) -> bool {
    let special = |token: &Value| {
        let content = token["content"].as_str();
        content.is_some_and(|content| SPECIALS.contains(&content))
            && token["special"] == true
            && token["normalized"] == false
    };
    file.normalizer == normalizer()
        && file.pre_tokenizer == pre_tokenizer()
        && file
            .added_tokens
            .as_array()
            .is_none_or(|added| added.iter().all(special))
}

/// Calls `visit` with what the rules make of a word of visible ASCII characters: its parts in the
/// order of the text, as the model gets them.
pub(crate) fn ascii_splits(word: &str, mut visit: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let word = word
        .replace("``", "\"")
        .replace("''", "\"")
        .to_ascii_lowercase();
    let closes = |c: char| ".,;:!?%)]}'".contains(c);
    let mut part = String::with_capacity(word.len() + '▁'.len_utf8());
    if !word.starts_with(closes) {
        part.push('▁');
    }
    let kind = |c: char| (c.is_ascii_alphabetic(), c.is_ascii_digit());
    let mut last = None;
    for c in word.chars() {
        let goes_on = last.is_none_or(|last| kind(last) == kind(c) && kind(c) != (false, false));
        if !goes_on {
            visit(&part)?;
            part.clear();
        }
        part.push(c);
        last = Some(c);
    }
    if last.is_some() {
        visit(&part)?;
    }
    Ok(())
}

/// Normalises and splits text as the file's tokenizer does.
pub(crate) struct Splitter(tokenizers::Tokenizer);

impl Splitter {
    pub fn new() -> Result<Self> {
        let tokenizer = tokenizers::Tokenizer::from_bytes(tokenizer_json(&[]))
            .map_err(|error| Error::Encode(error.to_string()))?;
        Ok(Self(tokenizer))
    }

    /// Calls `visit` with each word of `text`.
    pub fn words(&self, text: &str, mut visit: impl FnMut(&str)) -> Result<()> {
        let refuse = |error: tokenizers::Error| Error::Encode(error.to_string());
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.0.get_normalizer() {
            normalizer.normalize(&mut normalized).map_err(refuse)?;
        }
        let mut split = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = self.0.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut split).map_err(refuse)?;
        }
        for (word, _, _) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            visit(word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(splitter: &Splitter, word: &str) {
        let (mut fast, mut plain) = (Vec::new(), Vec::new());
        ascii_splits(word, |part| {
            fast.push(part.to_owned());
            Ok(())
        })
        .unwrap();
        splitter
            .words(word, |part| plain.push(part.to_owned()))
            .unwrap();
        assert_eq!(fast, plain, "{word:?}");
    }

    #[test]
    fn words_of_ascii_split_as_the_crate_splits_them() {
        let splitter = Splitter::new().unwrap();
        for word in [
            "", "A", "it's", "(Rome),", "''a``", "'''", "3,000.5", "x2y", ".", "--", "%5", "$5",
            "]]",
        ] {
            check(&splitter, word);
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(3_000));
        runner
            .run(&"[!-~]{0,12}", |word| {
                check(&splitter, &word);
                Ok(())
            })
            .unwrap();
    }
}
