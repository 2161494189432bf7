//! Folders of words and tags: `seq.in`, `seq.out` and `label`, a line each (SNIPS, ATIS).

use std::path::Path;

use crate::file;
use crate::{Dataset, Error, Result, TagExample, TextExample};

/// The words and their tags.
pub(crate) fn read(dir: &Path) -> Result<Dataset> {
    let (words_path, tags_path) = (dir.join("seq.in"), dir.join("seq.out"));
    let (words, tags) = (file::text(&words_path)?, file::text(&tags_path)?);
    let words: Vec<(usize, &str)> = file::lines(&words).collect();
    let tags: Vec<(usize, &str)> = file::lines(&tags).collect();
    same_count(&tags_path, tags.len(), words.len())?;
    let rows = words
        .into_iter()
        .zip(tags)
        .map(|((line, words), (_, tags))| {
            let split = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let (words, tags) = (split(words), split(tags));
            if words.len() != tags.len() {
                let message = format!("has {} tags for {} words", tags.len(), words.len());
                return Err(Error::row(&tags_path, line, message));
            }
            Ok(TagExample { line, words, tags })
        });
    Ok(Dataset::Tags(rows.collect::<Result<_>>()?))
}

/// The same lines as texts, with the classes that `label` gives them.
///
/// # Errors
/// A file that is missing, or has another number of lines than `seq.in`.
pub(crate) fn read_labels(dir: &Path) -> Result<Dataset> {
    let label_path = dir.join("label");
    let (words, labels) = (file::text(&dir.join("seq.in"))?, file::text(&label_path)?);
    let words: Vec<(usize, &str)> = file::lines(&words).collect();
    let labels: Vec<(usize, &str)> = file::lines(&labels).collect();
    same_count(&label_path, labels.len(), words.len())?;
    let rows = words.into_iter().zip(labels);
    let examples = rows.map(|((line, words), (_, label))| TextExample {
        line,
        text: words.trim().to_owned(),
        text_pair: None,
        labels: vec![label.trim().to_owned()],
    });
    Ok(Dataset::Classes {
        examples: examples.collect(),
        multi_label: false,
    })
}

fn same_count(path: &Path, found: usize, words: usize) -> Result<()> {
    if found == words {
        return Ok(());
    }
    let message = format!("has {found} lines, and `seq.in` beside it {words}");
    Err(Error::file(path, message))
}
