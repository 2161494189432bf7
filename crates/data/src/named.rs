//! People's own data: JSONL, CSV and TSV with named columns.

use std::path::Path;

use serde_json::{Map, Value};

use crate::file;
use crate::glue::number;
use crate::table::{Table, either};
use crate::{
    AnswerText, ChoiceExample, Columns, Dataset, Error, QuestionExample, ReadOptions, Result,
    ScoreExample, TagExample, TextExample,
};

const TEXT: [&str; 6] = [
    "text",
    "text_a",
    "sentence",
    "sentence1",
    "premise",
    "question1",
];
const PAIR: [&str; 5] = [
    "text_pair",
    "text_b",
    "sentence2",
    "hypothesis",
    "question2",
];
const LABEL: [&str; 7] = [
    "label",
    "labels",
    "gold_label",
    "category",
    "intent",
    "is_duplicate",
    "score",
];
const WORDS: [&str; 2] = ["words", "tokens"];
const TAGS: [&str; 2] = ["tags", "ner_tags"];

/// Between the labels of a text in a column `labels` of a table.
const BETWEEN_LABELS: char = '|';

/// The names to look for: the one that is given, else the usual ones.
fn names<'a>(given: &'a Option<String>, usual: &[&'a str]) -> Vec<&'a str> {
    match given {
        Some(name) => vec![name.as_str()],
        None => usual.to_vec(),
    }
}

/// A text or a pair, and what stands for its label.
struct Labelled {
    line: usize,
    text: String,
    text_pair: Option<String>,
    labels: Vec<String>,
    /// Whether the label is a number by its kind or its column's name.
    is_score: bool,
}

/// What the names of a file's columns or fields say that it holds, beside texts with labels.
#[derive(Clone, Copy)]
enum Kind {
    Tags,
    Choices,
    Questions,
}

fn kind(has: &dyn Fn(&str) -> bool) -> Option<Kind> {
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    if any(&WORDS) && any(&TAGS) {
        Some(Kind::Tags)
    } else if has("choices") {
        Some(Kind::Choices)
    } else {
        (has("context") && has("question") && !any(&LABEL)).then_some(Kind::Questions)
    }
}

fn examples(kind: Kind, rows: &[Row<'_>]) -> Result<Dataset> {
    Ok(match kind {
        Kind::Tags => Dataset::Tags(rows.iter().map(Row::tags).collect::<Result<_>>()?),
        Kind::Choices => Dataset::Choices(rows.iter().map(Row::choice).collect::<Result<_>>()?),
        Kind::Questions => {
            Dataset::Questions(rows.iter().map(Row::question).collect::<Result<_>>()?)
        }
    })
}

/// The usual names of a text and its pair: in QNLI, which asks a question of a sentence, those.
fn usual(has: &dyn Fn(&str) -> bool) -> (&'static [&'static str], &'static [&'static str]) {
    match has("question") && has("sentence") {
        true => (&["question"], &["sentence"]),
        false => (&TEXT, &PAIR),
    }
}

/// A row of a table as if it were a line of JSONL: words are divided by spaces, several answers or
/// choices by `|`.
fn cells<'a>(path: &'a Path, table: &Table, (line, row): &(usize, Vec<String>)) -> Row<'a> {
    let fields = table.header.iter().zip(row).map(|(name, cell)| {
        let list = |parts: Vec<&str>| Value::from(parts);
        let value = match name.as_str() {
            "words" | "tokens" | "tags" | "ner_tags" => list(cell.split_whitespace().collect()),
            "choices" | "answers" => {
                let parts = cell.split(BETWEEN_LABELS).map(str::trim);
                list(parts.filter(|part| !part.is_empty()).collect())
            }
            _ => Value::from(cell.as_str()),
        };
        (name.clone(), value)
    });
    Row {
        path,
        line: *line,
        fields: fields.collect(),
    }
}

/// A table with named columns.
pub(crate) fn table(path: &Path, table: Table, options: &ReadOptions) -> Result<Dataset> {
    let Columns {
        text,
        text_pair,
        label,
    } = &options.columns;
    let has = |name: &str| table.find(&[name]).is_some();
    if options.columns == Columns::default()
        && let Some(kind) = kind(&has)
    {
        let rows: Vec<Row<'_>> = table
            .rows
            .iter()
            .map(|row| cells(path, &table, row))
            .collect();
        return examples(kind, &rows);
    }
    let (usual_text, usual_pair) = usual(&has);
    let text = table.column(path, &names(text, usual_text))?;
    let pair = match text_pair {
        Some(name) => Some(table.column(path, &[name])?),
        None => table.find(usual_pair),
    };
    let label = table.column(path, &names(label, &LABEL))?;
    let name = table.header[label].clone();
    let multi_label = name == "labels";
    let rows = table.rows.into_iter().map(|(line, mut row)| Labelled {
        line,
        labels: match multi_label {
            true => row[label]
                .split(BETWEEN_LABELS)
                .map(|label| label.trim().to_owned())
                .filter(|label| !label.is_empty())
                .collect(),
            false => vec![std::mem::take(&mut row[label])],
        },
        text_pair: pair.map(|pair| std::mem::take(&mut row[pair])),
        text: std::mem::take(&mut row[text]),
        is_score: name == "score",
    });
    labelled(path, rows.collect(), &name, multi_label, options.scores)
}

fn labelled(
    path: &Path,
    rows: Vec<Labelled>,
    field: &str,
    multi_label: bool,
    scores: bool,
) -> Result<Dataset> {
    for row in &rows {
        let empty = match row.labels.as_slice() {
            [label] => label.trim().is_empty(),
            _ => false,
        };
        if empty {
            return Err(Error::row(path, row.line, format!("`{field}` is empty")));
        }
    }
    if scores || (!rows.is_empty() && rows.iter().all(|row| row.is_score)) {
        let examples = rows.into_iter().map(|row| {
            let label = row.labels.first().map_or("", String::as_str);
            Ok(ScoreExample {
                line: row.line,
                score: number(path, row.line, field, label)?,
                text: row.text,
                text_pair: row.text_pair,
            })
        });
        return Ok(Dataset::Scores(examples.collect::<Result<_>>()?));
    }
    let examples = rows.into_iter().filter(|row| row.labels != ["-"]);
    Ok(Dataset::Classes {
        examples: examples
            .map(|row| TextExample {
                line: row.line,
                text: row.text,
                text_pair: row.text_pair,
                labels: row.labels,
            })
            .collect(),
        multi_label,
    })
}

/// A line of JSONL, and where it stands.
struct Row<'a> {
    path: &'a Path,
    line: usize,
    fields: Map<String, Value>,
}

/// One JSON object a line.
pub(crate) fn jsonl(path: &Path, text: &str, options: &ReadOptions) -> Result<Dataset> {
    let rows = file::lines(text).map(|(line, text)| {
        let fields = serde_json::from_str(text).map_err(|error| {
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
            Error::row(path, line, format!("column {}: {said}", error.column()))
        })?;
        Ok(Row { path, line, fields })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let has = |name: &str| {
        rows.first()
            .is_some_and(|row| row.fields.contains_key(name))
    };
    if options.columns == Columns::default()
        && let Some(kind) = kind(&has)
    {
        return examples(kind, &rows);
    }
    let (usual_text, usual_pair) = usual(&has);
    let label_names = names(&options.columns.label, &LABEL);
    let mut multi_label = false;
    let examples = rows.iter().map(|row| {
        let (name, label) = row.field(&label_names)?;
        let (labels, is_score) = row.labels(name, label)?;
        multi_label |= label.is_array();
        let pair = names(&options.columns.text_pair, usual_pair);
        Ok(Labelled {
            line: row.line,
            text: row.string(&names(&options.columns.text, usual_text))?,
            text_pair: match row.find(&pair) {
                None if options.columns.text_pair.is_none() => None,
                _ => Some(row.string(&pair)?),
            },
            labels,
            is_score: is_score || name == "score",
        })
    });
    let examples = examples.collect::<Result<Vec<_>>>()?;
    labelled(path, examples, label_names[0], multi_label, options.scores)
}

impl Row<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::row(self.path, self.line, message)
    }

    fn find(&self, names: &[&str]) -> Option<(&str, &Value)> {
        let find = |name: &&str| self.fields.get_key_value(*name);
        let (name, value) = names.iter().find_map(find)?;
        Some((name, value))
    }

    fn field(&self, names: &[&str]) -> Result<(&str, &Value)> {
        self.find(names)
            .ok_or_else(|| self.error(format!("has no field {}", either(names))))
    }

    fn string(&self, names: &[&str]) -> Result<String> {
        match self.field(names)? {
            (_, Value::String(text)) => Ok(text.clone()),
            (name, _) => Err(self.error(format!("`{name}` is not a text"))),
        }
    }

    /// The labels in a field, and whether it is a number that is not whole.
    fn labels(&self, name: &str, value: &Value) -> Result<(Vec<String>, bool)> {
        let one = |value: &Value| match value {
            Value::String(label) => Ok(label.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(label) => Ok(label.to_string()),
            _ => Err(self.error(format!("`{name}` is neither a label nor a list of labels"))),
        };
        match value {
            Value::Array(labels) => {
                let labels = labels.iter().map(one).collect::<Result<_>>()?;
                Ok((labels, false))
            }
            value => Ok((vec![one(value)?], value.is_f64())),
        }
    }

    fn strings(&self, names: &[&str]) -> Result<Vec<String>> {
        let (name, value) = self.field(names)?;
        let texts = value.as_array().map(|values| {
            let texts = values.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        texts
            .flatten()
            .ok_or_else(|| self.error(format!("`{name}` is not a list of texts")))
    }

    fn tags(&self) -> Result<TagExample> {
        let (words, tags) = (self.strings(&WORDS)?, self.strings(&TAGS)?);
        if words.len() != tags.len() {
            let (words, tags) = (words.len(), tags.len());
            return Err(self.error(format!("has {words} words and {tags} tags")));
        }
        Ok(TagExample {
            line: self.line,
            words,
            tags,
        })
    }

    fn choice(&self) -> Result<ChoiceExample> {
        let choices = self.strings(&["choices"])?;
        let (name, answer) = self.field(&["answer", "label"])?;
        let answer = answer_index(answer, choices.len()).ok_or_else(|| {
            let count = choices.len();
            self.error(format!(
                "`{name}` is {answer}, which is none of {count} choices"
            ))
        })?;
        let or_empty = |name: &str| match self.fields.contains_key(name) {
            true => self.string(&[name]),
            false => Ok(String::new()),
        };
        Ok(ChoiceExample {
            line: self.line,
            context: or_empty("context")?,
            question: or_empty("question")?,
            choices,
            answer,
        })
    }

    fn question(&self) -> Result<QuestionExample> {
        let context = self.string(&["context"])?;
        if context.trim().is_empty() {
            return Err(self.error("`context` is empty"));
        }
        let wrong = || self.error("`answers` is neither a list of texts nor of {\"text\"} objects");
        let mut answers = Vec::new();
        if let Some((_, value)) = self.find(&["answers"]) {
            for answer in value.as_array().ok_or_else(wrong)? {
                let (text, start) = match answer {
                    Value::String(text) => (text.as_str(), 0),
                    answer => {
                        let text = answer.get("text").and_then(Value::as_str);
                        let start = answer.get("answer_start").and_then(Value::as_u64);
                        (text.ok_or_else(wrong)?, start.unwrap_or(0) as usize)
                    }
                };
                answers.push(AnswerText {
                    text: text.to_owned(),
                    start,
                });
            }
        }
        let id = match self.fields.get("id") {
            Some(Value::String(id)) => id.clone(),
            _ => self.line.to_string(),
        };
        Ok(QuestionExample {
            id,
            question: self.string(&["question"])?,
            context,
            impossible: answers.is_empty(),
            answers,
        })
    }
}

/// The index that a letter or a number from 0 names.
pub(crate) fn answer_index(answer: &Value, choices: usize) -> Option<usize> {
    let index = match answer {
        Value::String(letter) => match letter.as_bytes() {
            [letter @ b'A'..=b'Z'] => usize::from(letter - b'A'),
            _ => letter.parse().ok()?,
        },
        answer => usize::try_from(answer.as_u64()?).ok()?,
    };
    (index < choices).then_some(index)
}
