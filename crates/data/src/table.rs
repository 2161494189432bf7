//! Rows with named columns: tab-separated, comma-separated.

use std::path::Path;

use crate::file;
use crate::{Error, Result};

/// A table: names of columns, and rows with the line that each begins in.
#[derive(Debug)]
pub(crate) struct Table {
    pub header: Vec<String>,
    pub rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// Tab-separated values, in which quotes are characters like any other. Without a header the
    /// columns are called by `names`.
    ///
    /// # Errors
    /// A row with fewer or more columns than the header, by line.
    pub(crate) fn tsv(path: &Path, text: &str, names: Option<&[&str]>) -> Result<Table> {
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = file::lines(text);
        let header = match names {
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
            None => match lines.next() {
                Some((_, line)) => cells(line),
                None => return Err(Error::file(path, "is empty")),
            },
        };
        let table = Table {
            header,
            rows: lines.map(|(line, text)| (line, cells(text))).collect(),
        };
        table.checked(path)
    }

    /// Comma-separated values with a header, quoted by `"`.
    ///
    /// # Errors
    /// A quote that stands within a field or is never closed; a row with fewer or more columns than
    /// the header; each by line.
    pub(crate) fn csv(path: &Path, text: &str) -> Result<Table> {
        let lines = record_lines(path, text)?;
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.as_bytes());
        let failed = |error: csv::Error| {
            let line = error.position().map_or(1, |at| at.line() as usize);
            Error::row(path, line, error.to_string())
        };
        let header = reader.headers().map_err(failed)?;
        let header: Vec<String> = header.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        // The first is the header's.
        for (record, line) in reader.records().zip(lines.into_iter().skip(1)) {
            let record = record.map_err(failed)?;
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
        Table { header, rows }.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Table> {
        let columns = self.header.len();
        for (line, row) in &self.rows {
            if row.len() < columns {
                let message = format!(
                    "has {} columns, and the column `{}` is missing",
                    row.len(),
                    self.header[row.len()]
                );
                return Err(Error::row(path, *line, message));
            }
            if row.len() > columns {
                let message = format!("has {} columns; there are {columns}", row.len());
                return Err(Error::row(path, *line, message));
            }
        }
        Ok(self)
    }

    /// The index of a column by the first of these names that there is.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        let place = |name: &&str| self.header.iter().position(|column| column == name);
        names.iter().find_map(place)
    }

    /// As [`Table::find`], for a column that must be there.
    pub(crate) fn column(&self, path: &Path, names: &[&str]) -> Result<usize> {
        self.find(names).ok_or_else(|| {
            let message = format!(
                "has no column {}; its columns are {}",
                either(names),
                self.header.join(", ")
            );
            Error::file(path, message)
        })
    }
}

/// Names in backticks, joined by "or".
pub(crate) fn either(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" or ")
}

/// The line that each record begins in. Holds quotes against RFC 4180 on the way: a field is quoted
/// whole or not at all. The reader would take a stray one for the beginning of a field that goes on
/// to the next, lines later; and it counts no lines that end in CR LF.
fn record_lines(path: &Path, text: &str) -> Result<Vec<usize>> {
    /// Where the next character is.
    #[derive(PartialEq)]
    enum At {
        Begin,
        Plain,
        Quoted,
        /// Behind a quote within a quoted field: its end, or the first half of a quote.
        Closed,
    }
    let (mut at, mut line, mut opened) = (At::Begin, 1, 1);
    let (mut lines, mut fresh) = (Vec::new(), true);
    for character in text.chars() {
        // A record begins with the first character of a line that is not empty.
        if fresh && !matches!(character, '\n' | '\r') {
            lines.push(line);
            fresh = false;
        }
        fresh |= character == '\n' && at != At::Quoted;
        at = match (at, character) {
            (At::Begin, '"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, '"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (At::Closed, '"') => At::Quoted,
            (At::Begin | At::Plain | At::Closed, ',' | '\n') => At::Begin,
            (At::Closed, '\r') => At::Closed,
            (At::Closed, _) | (At::Plain, '"') => {
                let message = "has a stray quote: a field is quoted whole, and a quote in it is \
                               written twice";
                return Err(Error::row(path, line, message));
            }
            (At::Begin | At::Plain, _) => At::Plain,
        };
        line += usize::from(character == '\n');
    }
    if at == At::Quoted {
        return Err(Error::row(
            path,
            opened,
            "opens a quote that is never closed",
        ));
    }
    Ok(lines)
}
