//! Rows of a JSONL file, with errors that name the file and the line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// `{"text"}` or `{"text", "text_pair"}`, by other names `text_a` and `text_b`; further keys are
/// ignored.
#[derive(Deserialize)]
pub struct TextRow {
    #[serde(alias = "text_a")]
    pub text: String,
    #[serde(alias = "text_b")]
    pub text_pair: Option<String>,
}

/// A row of text, or `{"input_ids"}` with or without `"token_type_ids"`; further keys are ignored.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum AnyRow {
    Ids {
        input_ids: Vec<u32>,
        token_type_ids: Option<Vec<u32>>,
    },
    Text(TextRow),
}

/// The rows of a file, one a line.
pub struct Rows<T> {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    /// Whether a line is a text, and not JSON.
    plain: bool,
    line: usize,
    buffer: Vec<u8>,
    row: PhantomData<T>,
}

impl<T: DeserializeOwned> Rows<T> {
    /// Opens a file, or the standard input for `-`.
    pub fn open(path: &Path) -> Result<Self> {
        let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            Box::new(BufReader::new(file))
        };
        let (path, buffer) = (path.to_owned(), Vec::new());
        Ok(Self {
            plain: path.extension().is_some_and(|end| end == "txt"),
            path,
            reader,
            line: 0,
            buffer,
            row: PhantomData,
        })
    }

    /// `FILE, line N`, for messages about the row that was read last.
    pub fn place(&self) -> String {
        self.place_of(self.line)
    }

    /// The same for another line.
    pub fn place_of(&self, line: usize) -> String {
        format!("{}, line {line}", self.path.display())
    }

    /// The line of the row that was read last, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    fn read(&mut self) -> Result<Option<T>> {
        self.buffer.clear();
        self.line += 1;
        if self.reader.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.buffer)
            .context("not UTF-8")?
            .trim();
        if text.is_empty() {
            bail!("a blank line is no row");
        }
        let row = match self.plain {
            true => serde_json::from_value(json!({ "text": text })),
            false => serde_json::from_str(text),
        };
        row.map(Some).map_err(|error| row_error(&error))
    }
}

/// What is wrong with a row, without the line that the parser counts from the row's own begin.
fn row_error(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    if problem.starts_with("data did not match") {
        return anyhow!(
            "a row is {{\"text\"}}, {{\"text\", \"text_pair\"}} or \
             {{\"input_ids\", \"token_type_ids\"?}} with ids from 0 on"
        );
    }
    match error.column() {
        0 => anyhow!("{problem}"),
        column => anyhow!("column {column}: {problem}"),
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().with_context(|| self.place());
        row.transpose()
    }
}
