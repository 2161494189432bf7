//! One text or several, as a caller likes.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::config::Limits;
use crate::problem::{Problem, Result};

/// A text, or a list of texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Texts {
    pub(crate) texts: Vec<String>,
    /// Whether it was a list.
    pub(crate) list: bool,
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Texts, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: serde::de::Error>(
                self,
                text: String,
            ) -> std::result::Result<Texts, E> {
                let texts = vec![text];
                Ok(Texts { texts, list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts { texts, list: true })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Texts {
    /// Whether there is a number of texts, of a length, that the server takes.
    pub(crate) fn check(&self, field: &'static str, limits: &Limits) -> Result<()> {
        if self.texts.is_empty() {
            return Err(Problem::field(
                field,
                "an empty list: there is nothing to answer",
            ));
        }
        if self.texts.len() > limits.rows {
            let detail = format!(
                "{} texts; a request may have {}",
                self.texts.len(),
                limits.rows
            );
            return Err(Problem::field(field, detail));
        }
        for (row, text) in self.texts.iter().enumerate() {
            check_text(field, self.row(row), text, limits)?;
        }
        Ok(())
    }

    /// The same of their partners in pairs, of which there must be as many.
    pub(crate) fn check_pairs(&self, pairs: Option<&Texts>, limits: &Limits) -> Result<()> {
        let Some(pairs) = pairs else {
            return Ok(());
        };
        pairs.check("text_pair", limits)?;
        let (count, partners) = (self.texts.len(), pairs.texts.len());
        if partners != count {
            let detail = format!("{partners} second texts for {count} texts");
            return Err(Problem::field("text_pair", detail));
        }
        Ok(())
    }

    /// Whether the pieces of all, each told with its number and place, make no monstrous answer.
    pub(crate) fn check_pieces(
        &self,
        field: &'static str,
        pairs: Option<&Texts>,
        limits: &Limits,
    ) -> Result<()> {
        let pairs = pairs.into_iter().flat_map(|pairs| &pairs.texts);
        let all = self.texts.iter().chain(pairs);
        let characters: usize = all.map(|text| text.chars().count()).sum();
        if characters > limits.tokenize_characters {
            let detail = format!(
                "{characters} characters in all texts together; a request may have {}",
                limits.tokenize_characters
            );
            return Err(Problem::field(field, detail));
        }
        Ok(())
    }

    /// Bytes of each text.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.texts.iter().map(String::len)
    }

    /// The rows in runs of at most so many bytes, but of at least one row each.
    pub(crate) fn parts(&self, bytes: usize) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut held = 0;
        for (row, length) in self.lengths().enumerate() {
            match parts.last_mut() {
                Some(part) if held + length <= bytes => part.end = row + 1,
                _ => {
                    parts.push(row..row + 1);
                    held = 0;
                }
            }
            held += length;
        }
        parts
    }

    /// Of all texts together.
    pub(crate) fn bytes(&self) -> usize {
        self.lengths().sum()
    }

    /// What a refusal says of a text's place: nothing where there is no list.
    pub(crate) fn row(&self, row: usize) -> Option<usize> {
        self.list.then_some(row)
    }
}

/// Whether what a request has read, each text as often as it is, is no more than a body may hold.
pub(crate) fn check_reading(field: &'static str, bytes: usize, limits: &Limits) -> Result<()> {
    if bytes > limits.body_bytes {
        let detail = format!(
            "{bytes} bytes to read, each text as often as it is asked about; a request may have {}",
            limits.body_bytes
        );
        return Err(Problem::field(field, detail));
    }
    Ok(())
}

/// Whether a text says something and is not too long.
pub(crate) fn check_text(
    field: &'static str,
    row: Option<usize>,
    text: &str,
    limits: &Limits,
) -> Result<()> {
    // Bytes are at least as many as characters, and are known.
    if text.len() > limits.characters {
        let characters = text.chars().count();
        if characters > limits.characters {
            let detail = format!(
                "{characters} characters; a text may have {}",
                limits.characters
            );
            return Err(Problem::field(field, detail).in_row(row));
        }
    }
    match text.trim().is_empty() {
        true => Err(Problem::field(field, "the text is blank").in_row(row)),
        false => Ok(()),
    }
}

impl PartialSchema for Texts {
    fn schema() -> RefOr<Schema> {
        let text = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
        };
        let list = ArrayBuilder::new().items(text()).min_items(Some(1));
        OneOfBuilder::new().item(text()).item(list).into()
    }
}

impl ToSchema for Texts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_and_a_list_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<Texts>(text);
        let one = read(r#""a""#).unwrap();
        assert_eq!((one.texts.len(), one.list), (1, false));
        let list = read(r#"["a"]"#).unwrap();
        assert_eq!((list.texts.len(), list.list), (1, true));
        for wrong in ["3", "null", "{}", r#"["a", 3]"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let says = read("3").unwrap_err().to_string();
        assert!(says.contains("a text or a list of texts"), "{says}");
    }

    #[test]
    fn every_row_is_in_one_part() {
        let parts = |lengths: &[usize]| {
            let texts = lengths.iter().map(|&length| "a".repeat(length)).collect();
            Texts { texts, list: true }.parts(4)
        };
        assert_eq!(parts(&[9, 1]), [0..1, 1..2]);
        assert_eq!(parts(&[1, 2, 1, 1, 9, 0, 4]), [0..3, 3..4, 4..5, 5..7]);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn limits_name_the_row() {
        let limits = Limits {
            rows: 2,
            characters: 3,
            ..Limits::default()
        };
        let check = |texts: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            Texts { texts, list: true }.check("text", &limits)
        };
        // Three characters of two bytes each.
        assert!(check(&["äöü", "a"]).is_ok());
        for (texts, row) in [
            (&["a", "abcd"][..], Some(1)),
            (&["a", " \n"][..], Some(1)),
            (&["a", "b", "c"][..], None),
            (&[][..], None),
        ] {
            let problem = serde_json::to_value(check(texts).unwrap_err()).unwrap();
            assert_eq!(problem["row"].as_u64(), row, "{texts:?}");
            assert_eq!(problem["field"], "text");
        }
    }
}
