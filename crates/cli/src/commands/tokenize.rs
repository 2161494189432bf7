//! `albert tokenize`.

use albert_checkpoint::find_model;
use albert_tasks::text::{EncodeOptions, Encoding, Tokenizer, Truncation};
use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::TokenizeArgs;
use crate::output;
use crate::rows::{Rows, TextRow};

#[derive(Serialize)]
struct Line<'a> {
    ids: &'a [u32],
    pieces: Vec<&'a str>,
    offsets: &'a [(usize, usize)],
    type_ids: &'a [u32],
    #[serde(skip_serializing_if = "is_zero")]
    truncated: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

pub fn run(args: TokenizeArgs) -> Result<()> {
    let tokenizer = match &args.tokenizer {
        Some(file) => Tokenizer::from_file(file)?,
        None => Tokenizer::from_folder(&find_model(args.model.as_deref())?)?,
    };
    let options = EncodeOptions {
        parse_specials: !args.plain,
        max_length: args.max_length.map(|length| length as usize),
        truncation: Truncation::LongestFirst,
        ..EncodeOptions::default()
    };
    for text in &args.texts {
        print(&tokenizer.encode(text, &options)?, args.json)?;
    }
    let Some(input) = &args.input else {
        return Ok(());
    };
    let mut rows = Rows::<TextRow>::open(input)?;
    while let Some(row) = rows.next() {
        let TextRow { text, text_pair } = row?;
        let encoding = match text_pair {
            None => tokenizer.encode(&text, &options),
            Some(pair) => tokenizer.encode_pair(&text, &pair, &options),
        };
        print(&encoding.with_context(|| rows.place())?, args.json)?;
    }
    Ok(())
}

fn print(encoding: &Encoding, json: bool) -> Result<()> {
    let pieces = encoding.pieces();
    if json {
        return output::json(&Line {
            ids: &encoding.ids,
            pieces,
            offsets: &encoding.offsets,
            type_ids: &encoding.type_ids,
            truncated: encoding.truncated,
        });
    }
    let rows: Vec<Vec<String>> = pieces
        .iter()
        .zip(&encoding.ids)
        .zip(&encoding.offsets)
        .map(|((piece, id), (start, end))| {
            vec![
                id.to_string(),
                (*piece).to_owned(),
                format!("{start}..{end}"),
            ]
        })
        .collect();
    output::table(&["id", "piece", "characters"], &rows)?;
    if encoding.truncated > 0 {
        output::line(&format!(
            "({} pieces did not fit and were left out)",
            encoding.truncated
        ))?;
    }
    Ok(())
}
