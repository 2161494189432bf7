//! Tables for people, JSON for machines, on a standard output that may close at any time.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// The longest rule below a column; a cell may run further.
const RULE: usize = 60;

/// Prints one line to the standard output.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Prints one line to the standard error. That nobody reads it is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Prints rows in aligned columns, with a rule below the header. Columns whose every cell
/// reads as a number stand to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let width_of = |cell: &str| console::measure_text_width(cell);
    let mut widths: Vec<usize> = header.iter().map(|cell| width_of(cell)).collect();
    let mut numeric = vec![!rows.is_empty(); header.len()];
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width_of(cell));
            numeric[column] &= cell
                .trim_end_matches('%')
                .replace(',', "")
                .parse::<f64>()
                .is_ok();
        }
    }
    let render = |cells: &[String]| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(width_of(cell)));
            if numeric[column] {
                text += &pad;
                text += cell;
            } else {
                text += cell;
                text += &pad;
            }
            text += "  ";
        }
        text.trim_end().to_owned()
    };
    line(&render(
        &header
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<_>>(),
    ))?;
    line(
        &widths
            .iter()
            .map(|&width| "─".repeat(width.min(RULE)))
            .collect::<Vec<_>>()
            .join("  "),
    )?;
    rows.iter().try_for_each(|row| line(&render(row)))
}

/// A whole number with commas between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that a person would use.
pub fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

/// An error with its causes, outermost first; a cause that the text before tells already is not
/// told again.
pub fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| match told.contains(&cause) {
            true => told,
            false if told.is_empty() => cause,
            false => format!("{told}: {cause}"),
        })
}

/// Whether an error is only that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::{bytes, thousands};

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(11_700_000), "11.7 MB");
    }
}
