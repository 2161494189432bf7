//! RACE (Lai et al. 2017): an article with questions of four choices, a line or a file.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::file;
use crate::named::answer_index;
use crate::{ChoiceExample, Dataset, Error, Result};

#[derive(Deserialize)]
struct Article {
    article: String,
    questions: Vec<String>,
    options: Vec<Vec<String>>,
    answers: Vec<Value>,
}

/// Reads articles, one a line, or one that is the whole file.
pub(crate) fn read(path: &Path, text: &str) -> Result<Dataset> {
    let mut examples = Vec::new();
    if let Ok(article) = serde_json::from_str(text) {
        add(path, 1, article, &mut examples)?;
        return Ok(Dataset::Choices(examples));
    }
    for (line, text) in file::lines(text) {
        let article = serde_json::from_str(text).map_err(|error: serde_json::Error| {
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
            Error::row(path, line, format!("column {}: {said}", error.column()))
        })?;
        add(path, line, article, &mut examples)?;
    }
    Ok(Dataset::Choices(examples))
}

fn add(
    path: &Path,
    line: usize,
    article: Article,
    examples: &mut Vec<ChoiceExample>,
) -> Result<()> {
    let Article {
        article,
        questions,
        options,
        answers,
    } = article;
    if questions.len() != options.len() || questions.len() != answers.len() {
        let message = format!(
            "has {} `questions`, {} `options` and {} `answers`",
            questions.len(),
            options.len(),
            answers.len()
        );
        return Err(Error::row(path, line, message));
    }
    for ((question, choices), answer) in questions.into_iter().zip(options).zip(answers) {
        let index = answer_index(&answer, choices.len()).ok_or_else(|| {
            let count = choices.len();
            let message = format!("`answers` has {answer}, which is none of {count} options");
            Error::row(path, line, message)
        })?;
        examples.push(ChoiceExample {
            line,
            context: article.clone(),
            question,
            choices,
            answer: index,
        });
    }
    Ok(())
}
