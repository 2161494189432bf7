//! SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018).

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::{AnswerText, Dataset, Error, QuestionExample, Result};

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    answer_start: usize,
}

/// Reads a file of the official form.
pub(crate) fn read(path: &Path, text: &str) -> Result<Dataset> {
    let file: File = serde_json::from_str(text)
        .map_err(|error| Error::row(path, error.line(), error.to_string()))?;
    let (mut examples, mut ids) = (Vec::new(), HashSet::new());
    for article in file.data {
        for (number, paragraph) in article.paragraphs.into_iter().enumerate() {
            if paragraph.context.trim().is_empty() && !paragraph.qas.is_empty() {
                let message = format!(
                    "article `{}`, paragraph {}: `context` is empty",
                    article.title,
                    number + 1
                );
                return Err(Error::file(path, message));
            }
            for asked in paragraph.qas {
                // Predictions are told by their ids.
                if !ids.insert(asked.id.clone()) {
                    let (title, id) = (&article.title, &asked.id);
                    let message = format!(
                        "article `{title}`, paragraph {}: the `id` {id:?} stands there before",
                        number + 1
                    );
                    return Err(Error::file(path, message));
                }
                let impossible = asked.is_impossible || asked.answers.is_empty();
                let answers = asked.answers.into_iter().map(|answer| AnswerText {
                    text: answer.text,
                    start: answer.answer_start,
                });
                examples.push(QuestionExample {
                    id: asked.id,
                    question: asked.question,
                    context: paragraph.context.clone(),
                    // What stands there for a question without an answer is only plausible.
                    answers: answers.filter(|_| !impossible).collect(),
                    impossible,
                });
            }
        }
    }
    Ok(Dataset::Questions(examples))
}
