//! Rows of text or ids from a JSONL file, with errors that name the file and the line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What one line asks for.
pub enum Row {
    /// `{"text"}` or `{"text", "text_pair"}`.
    Text { text: String, pair: Option<String> },
    /// `{"input_ids"}` or `{"input_ids", "token_type_ids"}`.
    Ids {
        ids: Vec<u32>,
        type_ids: Option<Vec<u32>>,
    },
}

#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    text_pair: Option<String>,
    input_ids: Option<Vec<u32>>,
    token_type_ids: Option<Vec<u32>>,
}

/// The rows of a file, one a line; blank lines are an error, as a row has no number then.
pub struct Rows {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: usize,
    buffer: Vec<u8>,
}

impl Rows {
    /// Opens a file, or the standard input for `-`.
    pub fn open(path: &Path) -> Result<Self> {
        let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            path: path.to_owned(),
            reader,
            line: 0,
            buffer: Vec::new(),
        })
    }

    /// `FILE, line N`, for messages about the row that was read last.
    pub fn place(&self) -> String {
        format!("{}, line {}", self.path.display(), self.line)
    }

    fn read(&mut self) -> Result<Option<Row>> {
        self.buffer.clear();
        self.line += 1;
        if self.reader.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.buffer).context("not UTF-8")?;
        let line: Line = serde_json::from_str(text.trim_end_matches(['\n', '\r']))?;
        match line {
            Line {
                text: Some(text),
                input_ids: None,
                token_type_ids: None,
                text_pair,
            } => Ok(Some(Row::Text {
                text,
                pair: text_pair,
            })),
            Line {
                input_ids: Some(ids),
                text: None,
                text_pair: None,
                token_type_ids,
            } => Ok(Some(Row::Ids {
                ids,
                type_ids: token_type_ids,
            })),
            _ => bail!(
                "a row is {{\"text\"}}, {{\"text\", \"text_pair\"}} or \
                 {{\"input_ids\", \"token_type_ids\"?}}"
            ),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().with_context(|| self.place());
        row.transpose()
    }
}
