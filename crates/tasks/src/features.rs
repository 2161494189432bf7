//! The one place where text becomes a row for a head: fine-tuning and answering make the same.

use albert_text::{EncodeOptions, Encoding, Tokenizer, Truncation};

use crate::{Error, Result};

pub use crate::spans::{CANDIDATES, Span, Window, best_spans, first_alike, null_score};

/// A window must have room for so many pieces of its context.
const LEAST_CONTEXT: usize = 16;

fn options(max_length: usize, truncation: Truncation) -> EncodeOptions {
    EncodeOptions {
        parse_specials: false,
        max_length: Some(max_length),
        truncation,
        ..EncodeOptions::default()
    }
}

/// `[CLS] text [SEP]`, or with a pair `[CLS] text [SEP] pair [SEP]`, of at most `max_length`
/// pieces: the longer text is cut first, and `truncated` says by how much.
///
/// # Errors
/// The tokenizer's.
pub fn text(
    tokenizer: &Tokenizer,
    text: &str,
    pair: Option<&str>,
    max_length: usize,
) -> Result<Encoding> {
    let options = options(max_length, Truncation::LongestFirst);
    Ok(match pair {
        Some(pair) => tokenizer.encode_pair(text, pair, &options)?,
        None => tokenizer.encode(text, &options)?,
    })
}

/// The words, joined by spaces, as one text; and where in the row each word's first piece is,
/// `None` for a word that was cut off or has no pieces.
///
/// # Errors
/// The tokenizer's.
pub fn words<S: AsRef<str>>(
    tokenizer: &Tokenizer,
    words: &[S],
    max_length: usize,
) -> Result<(Encoding, Vec<Option<usize>>)> {
    let mut joined = String::new();
    let mut starts = Vec::with_capacity(words.len());
    let mut characters = 0;
    for word in words {
        if !joined.is_empty() {
            joined.push(' ');
            characters += 1;
        }
        starts.push(characters);
        joined.push_str(word.as_ref());
        characters += word.as_ref().chars().count();
    }
    let encoding = text(tokenizer, &joined, None, max_length)?;
    let mut places = vec![None; words.len()];
    for (at, &(start, end)) in encoding.offsets.iter().enumerate() {
        if encoding.special[at] || start == end {
            continue;
        }
        // A piece may begin with the space before its word.
        let word = starts.partition_point(|&first| first < end) - 1;
        if places[word].is_none() && (start >= starts[word] || end > starts[word]) {
            places[word] = Some(at);
        }
    }
    Ok((encoding, places))
}

/// A question over every part of a context: rows `[CLS] question [SEP] part [SEP]` of at most
/// `max_length` pieces, in which neighbours share `stride` pieces of the context.
///
/// # Errors
/// A question or a context without pieces; a question that leaves too little room.
pub fn question(
    tokenizer: &Tokenizer,
    question: &str,
    context: &str,
    max_length: usize,
    stride: usize,
) -> Result<Vec<Encoding>> {
    let length = tokenizer.tokens(question, false)?.len();
    if length == 0 {
        return Err(Error::BlankText("the question"));
    }
    if tokenizer.tokens(context, false)?.is_empty() {
        return Err(Error::BlankText("the context"));
    }
    // [CLS] and two [SEP] stand there too.
    let most = max_length.saturating_sub(3 + LEAST_CONTEXT.max(stride + 1));
    if length > most {
        return Err(Error::LongQuestion { length, most });
    }
    let options = options(max_length, Truncation::Error);
    Ok(tokenizer.windows(Some(question), context, max_length, stride, &options)?)
}

/// A choice: `[CLS] context [SEP] question choice [SEP]`, where a `_` in the question stands for
/// the choice, as in RACE. What does not fit is cut from the context's end. Without a context the
/// rest is one text.
///
/// # Errors
/// The tokenizer's; a question and a choice that are too long by themselves.
pub fn choice(
    tokenizer: &Tokenizer,
    context: &str,
    question: &str,
    choice: &str,
    max_length: usize,
) -> Result<Encoding> {
    let asked = match question.contains('_') {
        true => question.replacen('_', choice, 1),
        false if question.is_empty() => choice.to_owned(),
        false => format!("{question} {choice}"),
    };
    if context.is_empty() {
        return text(tokenizer, &asked, None, max_length);
    }
    let options = options(max_length, Truncation::OnlyFirst);
    Ok(tokenizer.encode_pair(context, &asked, &options)?)
}
