//! From a data set's examples to rows of ids and what a head should say of them.

use std::path::Path;

use albert_data::{Dataset, QuestionExample};
use albert_tasks::features;
use albert_tasks::text::{Encoding, Tokenizer};

use super::task::{Labels, Source, Task};
use crate::error::{Error, Result};

/// Labels of pairs whose texts mean the same, for learning vectors.
const ALIKE: [&str; 4] = ["entailment", "duplicate", "equivalent", "1"];

/// One row for the encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u32>,
}

impl From<Encoding> for Row {
    fn from(encoding: Encoding) -> Self {
        Self {
            ids: encoding.ids,
            type_ids: encoding.type_ids,
        }
    }
}

/// What a head should say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// The class of the row.
    Class(usize),
    /// Whether each class is the row's.
    Classes(Vec<bool>),
    /// The number of the row.
    Number(f32),
    /// Positions in the row and the tag there.
    Tags(Vec<(usize, usize)>),
    /// The positions where the answer begins and ends; 0 and 0 where the row has none.
    Span(usize, usize),
    /// Which of the rows is right.
    Choice(usize),
    /// How alike the two rows are.
    Alike(f32),
    /// The two rows mean the same.
    Match,
}

/// What is learnt from, or scored, at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// One; two for a pair of vectors; one a choice.
    pub rows: Vec<Row>,
    pub target: Target,
}

impl Item {
    pub(crate) fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.ids.len()).sum()
    }
}

/// A question to score: its windows and its right answers.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub windows: Vec<Encoding>,
    pub context: Vec<char>,
    pub answers: Vec<String>,
}

/// Examples as the model takes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub items: Vec<Item>,
    /// Only in a set to score questions on.
    pub questions: Vec<Question>,
    /// Pieces cut off because rows were too long.
    pub truncated: usize,
    /// Questions that have an answer.
    pub answerable: usize,
    /// Those of them whose answers their contexts do not have, each with its file; not learnt from.
    pub lost_answers: Vec<String>,
}

/// How rows are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making<'a> {
    pub task: Task,
    pub tokenizer: &'a Tokenizer,
    pub labels: &'a Labels,
    pub max_length: usize,
    pub stride: usize,
    /// To score on, not to learn from.
    pub scored: bool,
}

impl Making<'_> {
    /// The examples of all sources, in order.
    pub(crate) fn set(&self, sources: &[Source]) -> Result<Set> {
        let mut set = Set::default();
        for source in sources {
            if !self.task.takes(&source.data, self.scored) {
                return Err(Error::Examples {
                    path: source.path.clone(),
                    message: format!(
                        "has {}; `{}` needs {}",
                        source.data.kind(),
                        self.task.name(),
                        self.task.needs()
                    ),
                });
            }
            self.add(&mut set, source)?;
        }
        if set.items.is_empty() && set.questions.is_empty() {
            let path = sources.first().map(|source| source.path.clone());
            let message = match set.lost_answers.first() {
                Some(first) => format!(
                    "none of its {} answers occurs in its context; the first is that of {first}",
                    set.answerable
                ),
                None => "has no example to learn from".to_owned(),
            };
            let path = path.unwrap_or_default();
            return Err(Error::Examples { path, message });
        }
        Ok(set)
    }

    fn add(&self, set: &mut Set, source: &Source) -> Result<()> {
        let path = &source.path;
        match &source.data {
            Dataset::Classes { examples, .. } if self.task == Task::Embed => {
                for example in examples {
                    let alike = example.labels.iter().any(|l| ALIKE.contains(&l.as_str()));
                    let Some(pair) = &example.text_pair else {
                        let message = format!("line {}: has one text, not two", example.line);
                        return Err(Error::Examples {
                            path: path.clone(),
                            message,
                        });
                    };
                    if alike {
                        let rows = vec![
                            self.row(set, &example.text, None)?,
                            self.row(set, pair, None)?,
                        ];
                        let target = Target::Match;
                        set.items.push(Item { rows, target });
                    }
                }
            }
            Dataset::Classes { examples, .. } => {
                for example in examples {
                    let ids = example.labels.iter();
                    let ids = ids.map(|label| self.labels.id(label, path, example.line));
                    let ids = ids.collect::<Result<Vec<_>>>()?;
                    let target = match ids.as_slice() {
                        _ if self.labels.multi => {
                            let mut classes = vec![false; self.labels.names.len()];
                            ids.iter().for_each(|&id| classes[id] = true);
                            Target::Classes(classes)
                        }
                        [id] => Target::Class(*id),
                        _ => {
                            let (line, labels) = (example.line, ids.len());
                            let message = format!("line {line}: has {labels} labels, not one");
                            let path = path.clone();
                            return Err(Error::Examples { path, message });
                        }
                    };
                    let rows = vec![self.row(set, &example.text, example.text_pair.as_deref())?];
                    set.items.push(Item { rows, target });
                }
            }
            Dataset::Scores(examples) => {
                for example in examples {
                    let pair = example.text_pair.as_deref();
                    let (rows, target) = match (self.task, pair) {
                        (Task::Embed, Some(pair)) => {
                            let a = self.row(set, &example.text, None)?;
                            let b = self.row(set, pair, None)?;
                            (vec![a, b], Target::Alike(example.score))
                        }
                        (Task::Embed, None) => {
                            let message = format!("line {}: has one text, not two", example.line);
                            let path = path.clone();
                            return Err(Error::Examples { path, message });
                        }
                        _ => {
                            let row = self.row(set, &example.text, pair)?;
                            (vec![row], Target::Number(example.score))
                        }
                    };
                    set.items.push(Item { rows, target });
                }
            }
            Dataset::Tags(examples) => {
                for example in examples {
                    let (encoding, places) =
                        features::words(self.tokenizer, &example.words, self.max_length)?;
                    set.truncated += encoding.truncated;
                    let mut tags = Vec::new();
                    for (place, tag) in places.iter().zip(&example.tags) {
                        let id = self.labels.id(tag, path, example.line)?;
                        tags.extend(place.map(|place| (place, id)));
                    }
                    if !tags.is_empty() {
                        let rows = vec![encoding.into()];
                        let target = Target::Tags(tags);
                        set.items.push(Item { rows, target });
                    }
                }
            }
            Dataset::Questions(examples) => {
                for example in examples {
                    let place = format!("question {}", example.id);
                    self.question(set, example, path)
                        .map_err(at(path, &place))?;
                }
            }
            Dataset::Choices(examples) => {
                for example in examples {
                    let rows = example.choices.iter().map(|choice| {
                        let (context, question) = (&example.context, &example.question);
                        let max = self.max_length;
                        features::choice(self.tokenizer, context, question, choice, max)
                    });
                    let rows = rows.collect::<albert_tasks::Result<Vec<_>>>();
                    let place = format!("line {}", example.line);
                    let rows = rows.map_err(Error::from).map_err(at(path, &place))?;
                    set.truncated += rows.iter().map(|row| row.truncated).sum::<usize>();
                    let rows = rows.into_iter().map(Row::from).collect();
                    let target = Target::Choice(example.answer);
                    set.items.push(Item { rows, target });
                }
            }
        }
        Ok(())
    }

    fn row(&self, set: &mut Set, text: &str, pair: Option<&str>) -> Result<Row> {
        let encoding = features::text(self.tokenizer, text, pair, self.max_length)?;
        set.truncated += encoding.truncated;
        Ok(encoding.into())
    }

    fn question(&self, set: &mut Set, example: &QuestionExample, path: &Path) -> Result<()> {
        let windows = features::question(
            self.tokenizer,
            &example.question,
            &example.context,
            self.max_length,
            self.stride,
        )?;
        let context: Vec<char> = example.context.chars().collect();
        let found = example.answers.iter().filter(|_| !example.impossible);
        let span = found
            .clone()
            .find_map(|answer| occurrence(&context, &answer.text, answer.start));
        set.answerable += usize::from(found.clone().next().is_some());
        let lost = span.is_none() && found.clone().next().is_some();
        if lost {
            set.lost_answers
                .push(format!("question {} in {}", example.id, path.display()));
        }
        if self.scored {
            set.questions.push(Question {
                windows,
                context,
                answers: example.answers.iter().map(|a| a.text.clone()).collect(),
            });
            return Ok(());
        }
        // One answer is learnt, as in the official code: the first that the context has.
        if lost {
            return Ok(());
        }
        for window in windows {
            let (start, end) = span.and_then(|span| place(&window, span)).unwrap_or((0, 0));
            set.items.push(Item {
                rows: vec![window.into()],
                target: Target::Span(start, end),
            });
        }
        Ok(())
    }
}

/// What says of an error of the tasks which example it is about.
fn at<'a>(path: &'a Path, place: &'a str) -> impl Fn(Error) -> Error + 'a {
    move |error| match error {
        Error::Tasks(error) => Error::Examples {
            path: path.to_owned(),
            message: format!("{place}: {error}"),
        },
        error => error,
    }
}

/// Where `answer` stands in the context: the occurrence nearest to `start`, in characters. Files
/// are not always right about the place.
pub(crate) fn occurrence(context: &[char], answer: &str, start: usize) -> Option<(usize, usize)> {
    let answer: Vec<char> = answer.trim().chars().collect();
    if answer.is_empty() || answer.len() > context.len() {
        return None;
    }
    let found = |at: &usize| context[*at..].starts_with(&answer);
    let nearest = (0..=context.len() - answer.len())
        .filter(found)
        .min_by_key(|at| at.abs_diff(start))?;
    Some((nearest, nearest + answer.len()))
}

/// The positions of the pieces of a window that hold the characters `span` of the context, if the
/// window has them all.
fn place(window: &Encoding, span: (usize, usize)) -> Option<(usize, usize)> {
    let of_context = |i: &usize| window.type_ids[*i] == 1 && !window.special[*i];
    let pieces = || (0..window.len()).filter(of_context);
    let first = pieces().next()?;
    let last = pieces().next_back()?;
    if window.offsets[first].0 > span.0 || window.offsets[last].1 < span.1 {
        return None;
    }
    let start = pieces().find(|&i| window.offsets[i].1 > span.0)?;
    let end = pieces().rfind(|&i| window.offsets[i].0 < span.1)?;
    (start <= end).then_some((start, end))
}

/// The length, in pieces, that all but a hundredth of the rows have at most.
pub(crate) fn usual_length(set: &Set) -> usize {
    let mut lengths: Vec<usize> = set
        .items
        .iter()
        .flat_map(|item| item.rows.iter().map(|row| row.ids.len()))
        .collect();
    lengths.sort_unstable();
    let at = (lengths.len() * 99).div_ceil(100).saturating_sub(1);
    lengths.get(at).copied().unwrap_or(8).max(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_nearest_to_where_the_file_says() {
        let context: Vec<char> = "né en 1990, mort en 1990.".chars().collect();
        assert_eq!(occurrence(&context, "1990", 6), Some((6, 10)));
        assert_eq!(occurrence(&context, "1990", 18), Some((20, 24)));
        assert_eq!(occurrence(&context, " 1990 ", 0), Some((6, 10)));
        assert_eq!(occurrence(&context, "1991", 6), None);
        assert_eq!(occurrence(&context, "", 6), None);
    }
}
