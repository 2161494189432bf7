//! What can be fine-tuned for, and the labels that a head tells apart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use albert_checkpoint::{AlbertConfig, Architecture, ProblemType};
use albert_data::Dataset;
use albert_tasks::label_id;

use crate::error::{Error, Result};

/// What a model is fine-tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Classes of a text or a pair: one, or any number.
    Classify,
    /// A number for a text or a pair.
    Regress,
    /// A tag for each word.
    Tag,
    /// The part of a context that answers a question.
    Answer,
    /// One of several choices.
    Choose,
    /// Vectors whose cosines tell how alike texts are.
    Embed,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 6] = [
        Task::Classify,
        Task::Regress,
        Task::Tag,
        Task::Answer,
        Task::Choose,
        Task::Embed,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Classify => "classify",
            Task::Regress => "regress",
            Task::Tag => "tag",
            Task::Answer => "answer",
            Task::Choose => "choose",
            Task::Embed => "embed",
        }
    }

    /// The architecture of a model for it.
    pub fn architecture(self) -> Architecture {
        match self {
            Task::Classify | Task::Regress => Architecture::SequenceClassification,
            Task::Tag => Architecture::TokenClassification,
            Task::Answer => Architecture::QuestionAnswering,
            Task::Choose => Architecture::MultipleChoice,
            Task::Embed => Architecture::Base,
        }
    }

    /// Whether a data set is of the kind that is learnt from, or scored on where `scored`.
    pub(crate) fn takes(self, data: &Dataset, scored: bool) -> bool {
        match (self, data) {
            (Task::Classify, Dataset::Classes { .. })
            | (Task::Regress | Task::Embed, Dataset::Scores(_))
            | (Task::Tag, Dataset::Tags(_))
            | (Task::Answer, Dataset::Questions(_))
            | (Task::Choose, Dataset::Choices(_)) => true,
            (Task::Embed, Dataset::Classes { .. }) => !scored,
            _ => false,
        }
    }

    /// What the task needs, in words.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Task::Classify => "texts with classes",
            Task::Regress => "texts with numbers (format stsb, or a column `score`)",
            Task::Tag => "words with tags",
            Task::Answer => "questions about contexts",
            Task::Choose => "questions with choices",
            Task::Embed => {
                "pairs of texts with numbers; to learn from also pairs with classes, of which \
                 `entailment`, `duplicate` and `1` mean alike"
            }
        }
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = || Task::ALL.map(Task::name).join(", ");
        Task::ALL
            .into_iter()
            .find(|task| task.name() == name)
            .ok_or_else(|| format!("`{name}` is no task; tasks are {}", known()))
    }
}

/// A data set and the file that it was read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What was in it.
    pub data: Dataset,
}

/// The names of a head's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// By id.
    pub names: Vec<String>,
    /// Whether a text may have any number of them.
    pub multi: bool,
}

impl Labels {
    /// The labels of training sets, sorted; `O` comes first among tags.
    pub(crate) fn of(task: Task, sources: &[Source]) -> Result<Labels> {
        let mut names = BTreeSet::new();
        let mut multi = false;
        for source in sources {
            match &source.data {
                Dataset::Classes {
                    examples,
                    multi_label,
                } if task == Task::Classify => {
                    multi |= multi_label;
                    names.extend(examples.iter().flat_map(|example| example.labels.clone()));
                }
                Dataset::Tags(examples) => {
                    names.extend(examples.iter().flat_map(|example| example.tags.clone()));
                }
                _ => {}
            }
        }
        let mut names: Vec<String> = match task {
            Task::Classify | Task::Tag => names.into_iter().collect(),
            Task::Answer => AlbertConfig::default_labels(2),
            Task::Regress | Task::Choose | Task::Embed => AlbertConfig::default_labels(1),
        };
        if task == Task::Tag {
            names.sort_by_key(|name| (name != "O", name.clone()));
        }
        if task == Task::Classify && names.len() < 2 {
            let path = sources.first().map(|source| source.path.clone());
            return Err(Error::Examples {
                path: path.unwrap_or_default(),
                message: format!(
                    "has {} classes; a classifier needs two or more",
                    names.len()
                ),
            });
        }
        Ok(Labels { names, multi })
    }

    /// The id of a label in line `line` of `path`.
    pub(crate) fn id(&self, name: &str, path: &Path, line: usize) -> Result<usize> {
        label_id(&self.names, name).ok_or_else(|| Error::UnknownLabel {
            path: path.to_owned(),
            line,
            label: name.to_owned(),
            known: self.names.clone(),
        })
    }

    /// The configuration of the model with this head.
    pub(crate) fn config(&self, task: Task, encoder: &AlbertConfig) -> AlbertConfig {
        let mut config = encoder.clone().with_architecture(task.architecture());
        config.id2label = self.names.clone();
        config.problem_type = match task {
            Task::Classify if self.multi => Some(ProblemType::MultiLabel),
            Task::Classify => Some(ProblemType::SingleLabel),
            Task::Regress => Some(ProblemType::Regression),
            _ => None,
        };
        config
    }
}
