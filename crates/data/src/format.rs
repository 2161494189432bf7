//! Which format a file is in, and reading it.

use std::path::Path;
use std::str::FromStr;

use crate::table::Table;
use crate::{Dataset, Error, Result};
use crate::{clinc150, file, glue, named, race, seq, squad};

/// A dataset's format, by the name that the command line gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// SST-2's TSV: `sentence`, `label`.
    Sst2,
    /// CoLA's TSV, without a header: source, label, mark, sentence.
    Cola,
    /// MRPC's TSV: `Quality`, `#1 String`, `#2 String`.
    Mrpc,
    /// STS-B's TSV: `sentence1`, `sentence2`, `score` from 0 to 5.
    Stsb,
    /// QQP's TSV: `question1`, `question2`, `is_duplicate`.
    Qqp,
    /// MNLI's TSV: `sentence1`, `sentence2`, `gold_label`. SNLI's too.
    Mnli,
    /// QNLI's TSV: `question`, `sentence`, `label`.
    Qnli,
    /// RTE's TSV: `sentence1`, `sentence2`, `label`.
    Rte,
    /// WNLI's TSV: as RTE's.
    Wnli,
    /// SQuAD's JSON, 1.1 and 2.0.
    Squad,
    /// RACE's JSON, an article a line or a file, or its folder of such files.
    Race,
    /// CLINC150's JSON, by splits.
    Clinc150,
    /// BANKING77's CSV: `text`, `category`.
    Banking77,
    /// A folder with `seq.in`, `seq.out` and `label`.
    Seq,
    /// One JSON object a line, with named fields.
    Jsonl,
    /// Comma-separated values with a header, quoted by `"`.
    Csv,
    /// Tab-separated values with a header; quotes are characters like any other.
    Tsv,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 17] = [
        Format::Sst2,
        Format::Cola,
        Format::Mrpc,
        Format::Stsb,
        Format::Qqp,
        Format::Mnli,
        Format::Qnli,
        Format::Rte,
        Format::Wnli,
        Format::Squad,
        Format::Race,
        Format::Clinc150,
        Format::Banking77,
        Format::Seq,
        Format::Jsonl,
        Format::Csv,
        Format::Tsv,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Sst2 => "sst2",
            Format::Cola => "cola",
            Format::Mrpc => "mrpc",
            Format::Stsb => "stsb",
            Format::Qqp => "qqp",
            Format::Mnli => "mnli",
            Format::Qnli => "qnli",
            Format::Rte => "rte",
            Format::Wnli => "wnli",
            Format::Squad => "squad",
            Format::Race => "race",
            Format::Clinc150 => "clinc150",
            Format::Banking77 => "banking77",
            Format::Seq => "seq",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = || Format::ALL.map(Format::name).join(", ");
        Format::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("`{name}` is no format; known are {}", known()))
    }
}

/// The columns or fields of [`Format::Jsonl`], [`Format::Csv`] and [`Format::Tsv`], where they are
/// not named as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text; as usual `text`, `text_a`, `sentence`, `sentence1` or `premise`.
    pub text: Option<String>,
    /// The second text; as usual `text_pair`, `text_b`, `sentence2` or `hypothesis`.
    pub text_pair: Option<String>,
    /// The class, classes or number; as usual `label`, `labels`, `category`, `intent` or `score`.
    pub label: Option<String>,
}

/// How to read a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; without it, what the file's name and first lines tell.
    pub format: Option<Format>,
    /// The columns, for files with named ones.
    pub columns: Columns,
    /// The split of a file that has several ([`Format::Clinc150`]): its name, or several joined by
    /// `+`; without it, all.
    pub split: Option<String>,
    /// Whether labels are numbers to be learned as such (JSONL, CSV and TSV).
    pub scores: bool,
    /// Whether the classes of texts are wanted where a folder has tags of words besides
    /// ([`Format::Seq`]).
    pub classes: bool,
}

/// Reads a dataset.
///
/// # Errors
/// A file that cannot be read; a row or field that is wrong, by line; a format that cannot be told;
/// a file without examples.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset> {
    if path.is_dir() {
        return match options.format.map_or_else(|| detect(path), Ok)? {
            Format::Seq if options.classes => full(path, seq::read_labels(path)?),
            Format::Seq => full(path, seq::read(path)?),
            Format::Race => full(path, race::read_folder(path)?),
            other => {
                let message = format!("is a folder; the format {} is a file", other.name());
                Err(Error::file(path, message))
            }
        };
    }
    let text = file::text(path)?;
    let format = match options.format {
        Some(format) => format,
        None => detect_text(path, &text)?,
    };
    if options.split.is_some() && format != Format::Clinc150 {
        let message = format!("the format {} has no splits to choose from", format.name());
        return Err(Error::file(path, message));
    }
    let of_lines = file::plain_name(path).ends_with(".jsonl");
    let data = match format {
        Format::Jsonl => named::jsonl(path, &text, options),
        Format::Csv | Format::Banking77 => named::table(path, Table::csv(path, &text)?, options),
        Format::Tsv => named::table(path, Table::tsv(path, &text, None)?, options),
        Format::Squad if of_lines => named::jsonl(path, &text, options),
        Format::Squad => squad::read(path, &text),
        Format::Race => race::read(path, &text),
        Format::Clinc150 => clinc150::read(path, &text, options.split.as_deref()),
        Format::Seq => Err(Error::file(path, "the format seq is a folder with seq.in")),
        // GLUE's tasks, also by samples of named fields.
        _ if of_lines => {
            let scores = options.scores || format == Format::Stsb;
            let options = ReadOptions {
                scores,
                ..options.clone()
            };
            named::jsonl(path, &text, &options)
        }
        glue => glue::read(path, &text, glue),
    };
    full(path, data?)
}

fn full(path: &Path, data: Dataset) -> Result<Dataset> {
    if data.is_empty() {
        return Err(Error::file(path, "has no examples"));
    }
    Ok(data)
}

/// The format that a file's name and first lines tell.
///
/// # Errors
/// A file that cannot be read, or looks like none of the formats.
pub fn detect(path: &Path) -> Result<Format> {
    if path.is_dir() {
        return match path.join("seq.in").exists() {
            true => Ok(Format::Seq),
            false if race::is_folder(path) => Ok(Format::Race),
            false => Err(Error::file(
                path,
                "is a folder without a file seq.in, or .txt files of RACE's articles",
            )),
        };
    }
    detect_text(path, &file::text(path)?)
}

fn detect_text(path: &Path, text: &str) -> Result<Format> {
    let first = file::lines(text).next().map_or("", |(_, line)| line);
    let name = file::plain_name(path);
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let format = match end {
        "json" | "jsonl" => Some(detect_json(text, first)),
        "csv" => Some(match first.trim() {
            "text,category" => Format::Banking77,
            _ => Format::Csv,
        }),
        "tsv" => Some(detect_tsv(first)),
        _ => None,
    };
    format.ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        let message = format!("its name tells no format; name one of {known}");
        Error::file(path, message)
    })
}

fn detect_json(text: &str, first: &str) -> Format {
    let keys = |text: &str| -> Vec<String> {
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
        object.map_or_else(
            |_| Vec::new(),
            |object| object.into_iter().map(|f| f.0).collect(),
        )
    };
    let of_line = keys(first);
    let keys = match of_line.is_empty() {
        true => keys(text),
        false => of_line,
    };
    let has = |name: &str| keys.iter().any(|key| key == name);
    if has("data") {
        Format::Squad
    } else if has("article") && has("options") {
        Format::Race
    } else if has("oos_train") || (has("train") && has("val")) {
        Format::Clinc150
    } else {
        Format::Jsonl
    }
}

fn detect_tsv(first: &str) -> Format {
    let columns: Vec<&str> = first.split('\t').collect();
    let has = |name: &str| columns.contains(&name);
    match columns.as_slice() {
        ["sentence", "label"] => Format::Sst2,
        ["index", "sentence1", "sentence2", "label"] => Format::Rte,
        ["index", "question", "sentence", "label"] => Format::Qnli,
        [_, "0" | "1", _, _] => Format::Cola,
        _ if has("#1 String") => Format::Mrpc,
        _ if has("sentence1") && has("score") => Format::Stsb,
        _ if has("is_duplicate") => Format::Qqp,
        _ if has("gold_label") => Format::Mnli,
        _ => Format::Tsv,
    }
}
