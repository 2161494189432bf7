//! Everything before the first step: the folder, the labels, the rows, the plan.

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_data::{Dataset, QuestionExample};
use albert_model::{AlbertForTask, TrainingBackend};
use albert_tasks::text::Tokenizer;
use albert_tasks::tokenizer_of;

use super::FinetuneOptions;
use super::dev::DevSet;
use super::loss::Teaching;
use super::recipe::{ClassWeights, Plan};
use super::set::{Item, Making, Set, Target, usual_length};
use super::task::{Labels, Source, Task};
use crate::error::{Error, Result};
use crate::random::{Purpose, Random, stream};

/// So many of the questions that are learnt from are scored at the end.
const QUESTIONS_SAMPLE: usize = 200;

/// Which weights a run begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starts {
    /// Those of the folder.
    #[default]
    Pretrained,
    /// Fresh ones of the same shapes: what pretraining is worth.
    Random,
}

/// A run's data and model, ready.
pub(crate) struct Prepared {
    pub task: Task,
    pub checkpoint: Checkpoint,
    pub tokenizer: Tokenizer,
    /// The configuration of the model with its head.
    pub config: AlbertConfig,
    pub labels: Labels,
    pub plan: Plan,
    pub max_length: usize,
    pub train: Set,
    pub dev: DevSet,
    /// Some of the questions that are learnt from, to be scored: their rows are windows.
    pub learnt_questions: Option<DevSet>,
    pub starts: Starts,
    /// Whether the folder has this very head already.
    keeps_head: bool,
    pub notes: Vec<String>,
}

impl Prepared {
    pub(crate) fn new(options: &FinetuneOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(&options.model)?;
        checkpoint.check_finite()?;
        let tokenizer = tokenizer_of(&checkpoint)?;
        if options.difference {
            checkpoint.check_is_base()?;
        }
        let task = options.task;
        let encoder = checkpoint.config();

        // A folder with a head for these labels goes on with it.
        let mut labels = Labels::of(task, &options.train)?;
        let same_head = encoder.architecture == task.architecture()
            && labels
                .names
                .iter()
                .all(|name| encoder.id2label.contains(name))
            // A number is one output, whatever a classifier calls its first.
            && (task != Task::Regress || encoder.id2label.len() == 1);
        if same_head {
            labels.names.clone_from(&encoder.id2label);
        }
        let mut config = labels.config(task, encoder);
        let examples = options.train.iter().map(|source| source.data.len()).sum();
        let format = options.format;
        let unanswerable = options.train.iter().any(|source| match &source.data {
            Dataset::Questions(examples) => examples.iter().any(|example| example.impossible),
            _ => false,
        });
        let plan = options
            .recipe
            .plan(task, &config, format, examples, unanswerable);
        config.early_exits = plan.early_exit;
        if plan.early_exit && (config.exits() == 0 || task == Task::Embed) {
            let message = "goes with `classify` and `regress`, and with two layers or more";
            return Err(Error::field("early_exit", message));
        }
        // One class a text, a token or a row.
        let classes = task == Task::Classify && !labels.multi;
        let refused = [
            (
                "few_shot_epochs",
                plan.few_shot_epochs > 0.0 && !classes,
                "goes with `classify` of one class a text: it draws texts of a class together",
            ),
            (
                "r_drop",
                plan.r_drop > 0.0 && !classes && task != Task::Tag,
                "goes with `tag` and with `classify` of one class a text: it compares the \
                 probabilities of classes",
            ),
            (
                "class_weights",
                plan.class_weights == ClassWeights::Balanced && !classes,
                "goes with `classify` of one class a text",
            ),
        ];
        if let Some((name, _, message)) = refused.into_iter().find(|(_, refused, _)| *refused) {
            return Err(Error::field(name, message));
        }
        if let Some(dropout) = plan.dropout {
            config.hidden_dropout_prob = dropout;
            config.attention_probs_dropout_prob = dropout;
        }
        if let Some(dropout) = plan.classifier_dropout {
            config.classifier_dropout_prob = dropout;
        }
        let positions = config.max_position_embeddings;
        if let Some(length) = plan.max_length.filter(|&length| length > positions) {
            return Err(Error::field(
                "max_length",
                format!("is {length}; the model has {positions} positions"),
            ));
        }
        let making = |max_length: usize, scored| Making {
            task,
            tokenizer: &tokenizer,
            labels: &labels,
            max_length,
            stride: plan.stride.min(max_length / 3),
            scored,
        };
        let mut max_length = plan.max_length.unwrap_or(positions);
        let mut train = making(max_length, false).set(&options.train)?;
        if plan.max_length.is_none() {
            max_length = usual_length(&train);
            train = making(max_length, false).set(&options.train)?;
        }
        let dev = making(max_length, true).set(std::slice::from_ref(&options.dev))?;
        let learnt_questions = match sample_of_questions(&options.train, plan.seed) {
            Some(sample) => {
                let set = making(max_length, true).set(&[sample])?;
                Some(DevSet::new(task, &labels, set))
            }
            None => None,
        };
        let notes = notes(&train, &dev, max_length);
        Ok(Self {
            dev: DevSet::new(task, &labels, dev),
            task,
            config,
            labels,
            plan,
            max_length,
            train,
            learnt_questions,
            starts: options.starts,
            keeps_head: same_head,
            notes,
            tokenizer,
            checkpoint,
        })
    }

    /// Other examples, as these were made.
    pub(crate) fn set(&self, sources: &[Source], scored: bool) -> Result<Set> {
        let making = Making {
            task: self.task,
            tokenizer: &self.tokenizer,
            labels: &self.labels,
            max_length: self.max_length,
            stride: self.plan.stride.min(self.max_length / 3),
            scored,
        };
        making.set(sources)
    }

    /// The model before its first step.
    pub(crate) fn model<B: TrainingBackend>(
        &self,
        seed: u64,
        device: &B::Device,
    ) -> Result<AlbertForTask<B>> {
        let model = match self.starts {
            Starts::Random => AlbertForTask::init(&self.config, seed, device)?,
            Starts::Pretrained => {
                let heads = self.keeps_head;
                AlbertForTask::load_encoder(&self.checkpoint, &self.config, heads, seed, device)?.0
            }
        };
        Ok(model.with_precision(self.plan.precision.precision()))
    }

    /// How the head is taught by these items.
    pub(crate) fn teaching(&self, items: &[Item]) -> Teaching {
        let mut class_weights = Vec::new();
        if self.plan.class_weights == ClassWeights::Balanced && self.task == Task::Classify {
            let mut counts = vec![0.0_f32; self.labels.names.len()];
            for item in items {
                if let Target::Class(class) = item.target {
                    counts[class] += 1.0;
                }
            }
            let all = items.len() as f32 / counts.len() as f32;
            class_weights = counts.iter().map(|&count| all / count.max(1.0)).collect();
        }
        Teaching {
            class_weights,
            r_drop: self.plan.r_drop,
            contrast: false,
        }
    }

    /// The name of the folder that is the beginning.
    pub(crate) fn name(&self) -> String {
        let name = self.checkpoint.dir().file_name();
        name.unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Some of the questions, as one source; `None` where there are none.
fn sample_of_questions(sources: &[Source], seed: u64) -> Option<Source> {
    let first = sources.first()?;
    let questions = sources.iter().filter_map(|source| match &source.data {
        Dataset::Questions(examples) => Some(examples),
        _ => None,
    });
    let mut questions: Vec<&QuestionExample> = questions.flatten().collect();
    stream(seed, Purpose::Parts, 4, 0).shuffle(&mut questions);
    questions.truncate(QUESTIONS_SAMPLE);
    (!questions.is_empty()).then(|| Source {
        path: first.path.clone(),
        data: Dataset::Questions(questions.into_iter().cloned().collect()),
    })
}

fn notes(train: &Set, dev: &Set, max_length: usize) -> Vec<String> {
    let mut notes = Vec::new();
    for (set, what) in [(train, "are not learnt from"), (dev, "cannot be found")] {
        if let Some(first) = set.lost_answers.first() {
            notes.push(format!(
                "{} of {} answers do not occur in their contexts and {what}; the first is that of \
                 {first}",
                set.lost_answers.len(),
                set.answerable
            ));
        }
    }
    for (set, name) in [(train, "training"), (dev, "dev")] {
        if set.truncated > 0 {
            notes.push(format!(
                "rows are cut at {max_length} pieces: {} pieces of the {name} set are left out",
                set.truncated
            ));
        }
    }
    notes
}
