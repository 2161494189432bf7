//! RACE (Lai et al. 2017): an article with questions of four choices, a line or a file.

use std::path::{Path, PathBuf};

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

/// The files of a folder and the folders in it that are named `.txt`, in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io(dir)));
    for path in paths.collect::<Result<Vec<_>>>()? {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if file::plain_name(&path).ends_with(".txt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a folder has RACE's articles, by the first of its files.
pub(crate) fn is_folder(dir: &Path) -> bool {
    let first = files(dir).unwrap_or_default().into_iter().next();
    let text = first.and_then(|path| file::text(&path).ok());
    text.is_some_and(|text| serde_json::from_str::<Article>(&text).is_ok())
}

/// Reads the official folder: an article a file, in `middle` and `high` or not.
pub(crate) fn read_folder(dir: &Path) -> Result<Dataset> {
    let mut all = Vec::new();
    for path in files(dir)? {
        if let Dataset::Choices(examples) = read(&path, &file::text(&path)?)? {
            all.extend(examples);
        }
    }
    Ok(Dataset::Choices(all))
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
