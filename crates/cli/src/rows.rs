//! Rows of a JSONL file, with errors that name the file and the line.

use std::io::{self, BufRead, BufReader};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use albert_data::plain_name;
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// `{"text"}` or `{"text", "text_pair"}`, or by the other names that data sets have for them; further
/// keys are ignored.
#[derive(Deserialize)]
pub struct TextRow {
    #[serde(
        alias = "text_a",
        alias = "sentence",
        alias = "sentence1",
        alias = "premise"
    )]
    pub text: String,
    #[serde(alias = "text_b", alias = "sentence2", alias = "hypothesis")]
    pub text_pair: Option<String>,
}

/// A [`TextRow`] that has both texts.
#[derive(Deserialize)]
#[serde(try_from = "TextRow")]
pub struct PairRow {
    pub text: String,
    pub text_pair: String,
}

impl TryFrom<TextRow> for PairRow {
    type Error = &'static str;

    fn try_from(row: TextRow) -> Result<Self, Self::Error> {
        Ok(Self {
            text: row.text,
            text_pair: row.text_pair.ok_or("missing field `text_pair`")?,
        })
    }
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
    /// Whether the file could not be read on.
    broken: bool,
    row: PhantomData<T>,
}

impl<T: DeserializeOwned> Rows<T> {
    /// Opens a file, packed if it is named `.zst`, or the standard input for `-`, which may hold objects
    /// or plain lines.
    pub fn open(path: &Path) -> Result<Self> {
        let name = plain_name(path);
        for table in [".csv", ".tsv"] {
            if name.ends_with(table) {
                bail!(
                    "{}: rows are JSON objects, one a line, or the lines of a .txt; {table} is read \
                     where examples with labels are (`albert evaluate`, `albert finetune`)",
                    path.display()
                );
            }
        }
        let standard = path.as_os_str() == "-";
        let mut reader: Box<dyn BufRead> = match standard {
            true => Box::new(BufReader::new(io::stdin())),
            false => albert_data::open(path)?,
        };
        // The standard input has no name that tells: an object begins with a brace.
        let begin = if standard { reader.fill_buf()? } else { &[] };
        let begin = begin.trim_ascii_start().first();
        Ok(Self {
            plain: name.ends_with(".txt") || begin.is_some_and(|&byte| byte != b'{'),
            path: path.to_owned(),
            reader,
            line: 0,
            buffer: Vec::new(),
            broken: false,
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

    /// Whether the file could not be read to its end: the error was the last row.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn read(&mut self) -> Result<Option<T>> {
        if self.broken {
            return Ok(None);
        }
        self.buffer.clear();
        self.line += 1;
        match self.reader.read_until(b'\n', &mut self.buffer) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => {
                self.broken = true;
                return Err(error.into());
            }
        }
        let mut text = std::str::from_utf8(&self.buffer).context("not UTF-8")?;
        if self.line == 1 {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        let text = text.trim();
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
