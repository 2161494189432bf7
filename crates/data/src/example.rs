//! What a dataset is made of.

use std::collections::BTreeMap;

/// A text, or a pair, and the names of its classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextExample {
    /// Where it stands in its file: the line, from 1; in files without lines, the row.
    pub line: usize,
    /// The text, or the first of a pair.
    pub text: String,
    /// The second of a pair.
    pub text_pair: Option<String>,
    /// One class, or any number of them in a multi-label set.
    pub labels: Vec<String>,
}

/// A text, or a pair, and a number.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreExample {
    /// As in [`TextExample`].
    pub line: usize,
    /// The text, or the first of a pair.
    pub text: String,
    /// The second of a pair.
    pub text_pair: Option<String>,
    /// The number, finite.
    pub score: f32,
}

/// Words, and a tag for each (IOB2: `O`, `B-name`, `I-name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagExample {
    /// As in [`TextExample`].
    pub line: usize,
    /// The words.
    pub words: Vec<String>,
    /// One for each word.
    pub tags: Vec<String>,
}

/// An answer as a dataset gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerText {
    /// What the answer says.
    pub text: String,
    /// Where the file says that it begins in the context, in characters; not held against the
    /// context: some files are wrong there.
    pub start: usize,
}

/// A question about a context, as in SQuAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionExample {
    /// The question's id in its file.
    pub id: String,
    /// The question.
    pub question: String,
    /// The text that it is asked of.
    pub context: String,
    /// Every answer that counts as right; empty where there is none (SQuAD 2.0).
    pub answers: Vec<AnswerText>,
    /// Whether the context does not answer the question.
    pub impossible: bool,
}

/// A question about a context with choices, as in RACE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceExample {
    /// As in [`TextExample`].
    pub line: usize,
    /// The text that the question is asked of; may be empty.
    pub context: String,
    /// The question; a `_` in it stands for the choice (as in RACE). May be empty.
    pub question: String,
    /// Two or more.
    pub choices: Vec<String>,
    /// The index of the right one.
    pub answer: usize,
}

/// A file's examples, by what is asked about each.
#[derive(Clone, Debug, PartialEq)]
pub enum Dataset {
    /// Which class?
    Classes {
        /// The examples, in the file's order.
        examples: Vec<TextExample>,
        /// Whether a text may have any number of classes.
        multi_label: bool,
    },
    /// Which number?
    Scores(Vec<ScoreExample>),
    /// Which tag for each word?
    Tags(Vec<TagExample>),
    /// Which part of the context?
    Questions(Vec<QuestionExample>),
    /// Which choice?
    Choices(Vec<ChoiceExample>),
}

impl Dataset {
    /// Gives labels other names; those that are not listed stay.
    pub fn rename_labels(&mut self, names: &BTreeMap<String, String>) {
        let rename = |label: &mut String| {
            if let Some(name) = names.get(label) {
                label.clone_from(name);
            }
        };
        match self {
            Dataset::Classes { examples, .. } => examples
                .iter_mut()
                .flat_map(|example| &mut example.labels)
                .for_each(rename),
            Dataset::Tags(examples) => examples
                .iter_mut()
                .flat_map(|example| &mut example.tags)
                .for_each(rename),
            _ => {}
        }
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        match self {
            Dataset::Classes { examples, .. } => examples.len(),
            Dataset::Scores(examples) => examples.len(),
            Dataset::Tags(examples) => examples.len(),
            Dataset::Questions(examples) => examples.len(),
            Dataset::Choices(examples) => examples.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is asked about each example, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Dataset::Classes { .. } => "classes",
            Dataset::Scores(_) => "numbers",
            Dataset::Tags(_) => "tags",
            Dataset::Questions(_) => "questions about contexts",
            Dataset::Choices(_) => "choices",
        }
    }
}
