//! GLUE's nine tasks in their official files.

use std::path::Path;

use crate::table::Table;
use crate::{Dataset, Error, Format, Result, ScoreExample, TextExample};

/// The columns of CoLA's file, which has no header.
const COLA: [&str; 4] = ["source", "label", "mark", "sentence"];

/// MNLI's and SNLI's label of pairs that people did not agree on; the official scripts leave them
/// out.
const NO_AGREEMENT: &str = "-";

/// Reads an official TSV file.
pub(crate) fn read(path: &Path, text: &str, format: Format) -> Result<Dataset> {
    let names = (format == Format::Cola).then_some(COLA.as_slice());
    let table = Table::tsv(path, text, names)?;
    let (first, second, label): (&[&str], Option<&[&str]>, &[&str]) = match format {
        Format::Sst2 | Format::Cola => (&["sentence"], None, &["label"]),
        Format::Mrpc => (&["#1 String"], Some(&["#2 String"]), &["Quality"]),
        Format::Stsb => (&["sentence1"], Some(&["sentence2"]), &["score"]),
        Format::Qqp => (
            &["question1"],
            Some(&["question2"]),
            &["is_duplicate", "label"],
        ),
        Format::Mnli => (
            &["sentence1"],
            Some(&["sentence2"]),
            &["gold_label", "label"],
        ),
        Format::Qnli => (&["question"], Some(&["sentence"]), &["label"]),
        _ => (&["sentence1"], Some(&["sentence2"]), &["label"]),
    };
    let first = table.column(path, first)?;
    let second = second.map(|names| table.column(path, names)).transpose()?;
    let label_name = label[0];
    let label = table.column(path, label)?;
    let rows = table.rows.into_iter().map(|(line, mut row)| {
        let label = std::mem::take(&mut row[label]);
        let pair = second.map(|column| std::mem::take(&mut row[column]));
        (line, std::mem::take(&mut row[first]), pair, label)
    });
    if format == Format::Stsb {
        let scores = rows.map(|(line, text, text_pair, score)| {
            let score = number(path, line, label_name, &score)?;
            Ok(ScoreExample {
                line,
                text,
                text_pair,
                score,
            })
        });
        return Ok(Dataset::Scores(scores.collect::<Result<_>>()?));
    }
    let examples =
        rows.filter(|(.., label)| label != NO_AGREEMENT)
            .map(|(line, text, text_pair, label)| TextExample {
                line,
                text,
                text_pair,
                labels: vec![label],
            });
    Ok(Dataset::Classes {
        examples: examples.collect(),
        multi_label: false,
    })
}

/// A finite number in a field.
pub(crate) fn number(path: &Path, line: usize, field: &str, text: &str) -> Result<f32> {
    match text.trim().parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => {
            let message = format!("`{field}` is `{text}`, which is no finite number");
            Err(Error::row(path, line, message))
        }
    }
}
