//! What decides a fine-tuning run, and what is taken where a recipe is silent.

use std::path::Path;

use albert_checkpoint::AlbertConfig;
use albert_data::Format;
use serde::{Deserialize, Serialize};

use super::Task;
use crate::error::{Error, Result};
use crate::recipe::Arithmetic;

/// The rates that are tried on the dev set where none is given.
pub const RATES: [f64; 3] = [3e-4, 1e-4, 5e-5];

/// From this width on a model counts as one of the published sizes, with the paper's recipes.
const PUBLISHED_WIDTH: usize = 768;

/// A fine-tuning run as a TOML file describes it. Every field may be left out.
///
/// ```
/// let recipe = albert_train::FinetuneRecipe::parse("epochs = 2\nrates = [1e-4]")?;
/// assert_eq!(recipe.epochs, Some(2.0));
/// assert!(albert_train::FinetuneRecipe::parse("epoch = 2").is_err());
/// # Ok::<(), albert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneRecipe {
    /// The seed of fresh heads, of the order of examples and of dropout.
    pub seed: u64,
    /// How numbers enter matrix products.
    pub precision: Arithmetic,
    /// Passes over the training set.
    pub epochs: Option<f64>,
    /// Optimiser steps, instead of `epochs`.
    pub steps: Option<u64>,
    /// Examples of a step.
    pub batch: Option<usize>,
    /// The highest rate; of several the one with the best dev score is taken.
    pub rates: Option<Vec<f64>>,
    /// The share of the run's steps that each rate is tried for.
    pub trial_share: Option<f64>,
    /// Steps in which the rate climbs; without it, a tenth of all.
    pub warmup_steps: Option<u64>,
    /// The most pieces of a row; without it, the 99th percentile of the training set's lengths.
    pub max_length: Option<usize>,
    /// Pieces that neighbouring windows of a long context share (`answer`).
    pub stride: Option<usize>,
    /// Share of the weights, times the rate, taken off at each step; not of norms and biases.
    pub weight_decay: Option<f64>,
    /// The gradient's norm is cut down to this.
    pub clip: Option<f64>,
    /// Dropout inside the encoder.
    pub dropout: Option<f32>,
    /// Dropout before the classifier.
    pub classifier_dropout: Option<f32>,
    /// Each part further from the head learns at this many times the rate of the one above it:
    /// head and pooler, the shared layers, the mapping, the embeddings.
    pub rate_decay: Option<f64>,
    /// Which parts learn.
    pub train: Option<Parts>,
    /// Weight of R-Drop (Liang et al. 2021): how much two passes with different dropout may
    /// disagree.
    pub r_drop: Option<f64>,
    /// Whether every layer gets a classifier, so that clear rows can leave early (`classify` and
    /// `regress`).
    pub early_exit: Option<bool>,
    /// Whether rare classes count more.
    pub class_weights: Option<ClassWeights>,
    /// Passes over pairs of texts of equal and different classes, before the head (pooler
    /// and classifier) is learned on the frozen encoder (as SetFit, Tunstall et al. 2022).
    pub few_shot_epochs: Option<f64>,
    /// Evaluations a pass; the best of them is kept.
    pub evaluations: Option<f64>,
    /// A run ends after so many evaluations without a better dev score.
    pub patience: Option<usize>,
}

/// Which parts of a model learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parts {
    /// All.
    #[default]
    All,
    /// All but the word embeddings, which are half of a small ALBERT.
    Layers,
    /// The head and the pooler.
    Head,
}

/// How much a class counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// As often as it comes.
    #[default]
    None,
    /// All classes alike: the examples of each weigh `examples / (classes * its examples)`.
    Balanced,
}

/// A recipe with everything decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// As in [`FinetuneRecipe`], here and below.
    pub seed: u64,
    /// Arithmetic of matrix products.
    pub precision: Arithmetic,
    /// Passes over the training set.
    pub epochs: f64,
    /// Optimiser steps, where they are given.
    pub steps: Option<u64>,
    /// Examples of a step.
    pub batch: usize,
    /// Rates to try.
    pub rates: Vec<f64>,
    /// Share of the run for each trial.
    pub trial_share: f64,
    /// Steps in which the rate climbs.
    pub warmup_steps: Option<u64>,
    /// Pieces of a row, where they are given.
    pub max_length: Option<usize>,
    /// Pieces that windows share.
    pub stride: usize,
    /// Weight decay.
    pub weight_decay: f64,
    /// The norm's limit.
    pub clip: f64,
    /// Dropout inside the encoder; the model's own where it is not given.
    pub dropout: Option<f32>,
    /// Dropout before the classifier.
    pub classifier_dropout: Option<f32>,
    /// Rate of a part over that of the one above it.
    pub rate_decay: f64,
    /// The parts that learn.
    pub train: Parts,
    /// Weight of R-Drop.
    pub r_drop: f64,
    /// Whether every layer gets a classifier.
    #[serde(default)]
    pub early_exit: bool,
    /// How much classes count.
    pub class_weights: ClassWeights,
    /// Passes over pairs of texts.
    pub few_shot_epochs: f64,
    /// Evaluations a pass.
    pub evaluations: f64,
    /// Evaluations without a better score.
    pub patience: usize,
}

impl FinetuneRecipe {
    /// Reads a TOML text.
    ///
    /// # Errors
    /// [`Error::RecipeSyntax`] with the line, or [`Error::RecipeField`].
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text, Path::new("recipe"))
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// As [`FinetuneRecipe::parse`], and a file that cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::read(&text, path)
    }

    fn read(text: &str, path: &Path) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|error| Error::RecipeSyntax {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether every value makes sense.
    ///
    /// # Errors
    /// [`Error::RecipeField`] naming the first that does not.
    pub fn check(&self) -> Result<()> {
        let positive = |field: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value.is_finite()) => Err(Error::field(
                field,
                format!("is {value}; it must be a number above 0"),
            )),
            _ => Ok(()),
        };
        positive("epochs", self.epochs)?;
        positive("clip", self.clip)?;
        positive("evaluations", self.evaluations)?;
        for &rate in self.rates.iter().flatten() {
            positive("rates", Some(rate))?;
        }
        if self.rates.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::field("rates", "is empty; it needs one rate or more"));
        }
        let share = |field: &str, value: Option<f64>, most: f64| match value {
            Some(value) if !(0.0..=most).contains(&value) => Err(Error::field(
                field,
                format!("is {value}; it must be from 0 to {most}"),
            )),
            _ => Ok(()),
        };
        share("trial_share", self.trial_share, 1.0)?;
        share("weight_decay", self.weight_decay, 1.0)?;
        share("dropout", self.dropout.map(f64::from), 0.9)?;
        let dropout = self.classifier_dropout.map(f64::from);
        share("classifier_dropout", dropout, 0.9)?;
        share("rate_decay", self.rate_decay, 1.0)?;
        share("r_drop", self.r_drop, 100.0)?;
        share("few_shot_epochs", self.few_shot_epochs, 1e4)?;
        let count = |field: &str, value: Option<usize>, least: usize| match value {
            Some(value) if value < least => Err(Error::field(
                field,
                format!("is {value}; it must be {least} or more"),
            )),
            _ => Ok(()),
        };
        count("steps", self.steps.map(|steps| steps as usize), 1)?;
        count("batch", self.batch, 1)?;
        count("max_length", self.max_length, 8)?;
        count("patience", self.patience, 1)
    }

    /// The recipe with what it leaves open decided for a task, a model and a training set.
    ///
    /// A model as wide as the published ones gets the paper's recipe for the data set (Lan et al.
    /// 2019, table 14) or the nearest; a smaller one passes so often over a small set that it
    /// takes some hundreds of steps, and tries [`RATES`]. `unanswerable`: whether questions without
    /// an answer are among the examples, as in SQuAD 2.0.
    pub fn plan(
        &self,
        task: Task,
        config: &AlbertConfig,
        format: Option<Format>,
        examples: usize,
        unanswerable: bool,
    ) -> Plan {
        let small = Published {
            rate: 0.0,
            batch: if examples < 2_000 { 16 } else { 32 },
            dropout: -1.0,
            steps: 0,
            warmup: 0,
            length: 0,
        };
        let large = config.hidden_size >= PUBLISHED_WIDTH;
        let base = if large {
            published(task, format, unanswerable)
        } else {
            small
        };
        let known = large && base.steps > 0;
        let epochs = match (task, examples) {
            (_, 0..1_000) => 20.0,
            (_, 1_000..5_000) => 10.0,
            (Task::Answer, _) => 3.0,
            (_, 5_000..30_000) => 5.0,
            _ => 3.0,
        };
        let of_base = |open: bool| (large && open).then_some(base);
        Plan {
            seed: self.seed,
            precision: self.precision,
            epochs: self.epochs.unwrap_or(epochs),
            steps: self.steps.or_else(|| {
                let open = self.epochs.is_none() && known;
                of_base(open).map(|base| base.steps)
            }),
            batch: self.batch.unwrap_or(base.batch),
            rates: self.rates.clone().unwrap_or_else(|| match large {
                true => vec![base.rate],
                false => RATES.to_vec(),
            }),
            trial_share: self.trial_share.unwrap_or(0.4),
            warmup_steps: self.warmup_steps.or_else(|| {
                let open = self.epochs.is_none() && self.steps.is_none() && known;
                of_base(open).map(|base| base.warmup)
            }),
            max_length: self.max_length.or_else(|| {
                let room = config.max_position_embeddings;
                match (known, task) {
                    (true, _) => Some(base.length.min(room)),
                    (false, Task::Answer) => Some(256.min(room)),
                    _ => None,
                }
            }),
            stride: self.stride.unwrap_or(match large {
                true => 128,
                false => 64,
            }),
            weight_decay: self.weight_decay.unwrap_or(0.01),
            clip: self.clip.unwrap_or(1.0),
            dropout: self.dropout.or(known.then_some(base.dropout)),
            classifier_dropout: self.classifier_dropout,
            rate_decay: self.rate_decay.unwrap_or(1.0),
            train: self.train.unwrap_or_default(),
            r_drop: self.r_drop.unwrap_or(0.0),
            early_exit: self.early_exit.unwrap_or(false),
            class_weights: self.class_weights.unwrap_or_default(),
            few_shot_epochs: self.few_shot_epochs.unwrap_or(0.0),
            evaluations: self.evaluations.unwrap_or(match examples {
                0..5_000 => 1.0,
                5_000..30_000 => 2.0,
                _ => 4.0,
            }),
            patience: self.patience.unwrap_or(5),
        }
    }
}

/// A row of the paper's table 14.
#[derive(Clone, Copy)]
struct Published {
    rate: f64,
    batch: usize,
    dropout: f32,
    steps: u64,
    warmup: u64,
    length: usize,
}

/// The paper's recipe for a data set; 0 steps where it has none, with a rate and a batch that
/// are common in the table.
fn published(task: Task, format: Option<Format>, unanswerable: bool) -> Published {
    let row = |rate, batch, dropout, steps, warmup, length| Published {
        rate,
        batch,
        dropout,
        steps,
        warmup,
        length,
    };
    match (task, format) {
        (_, Some(Format::Cola)) => row(1e-5, 16, 0.0, 5336, 320, 512),
        (_, Some(Format::Stsb)) => row(2e-5, 16, 0.0, 3598, 214, 512),
        (_, Some(Format::Sst2)) => row(1e-5, 32, 0.0, 20_935, 1256, 512),
        (_, Some(Format::Mnli)) => row(3e-5, 128, 0.0, 10_000, 1000, 512),
        (_, Some(Format::Qnli)) => row(1e-5, 32, 0.0, 33_112, 1986, 512),
        (_, Some(Format::Qqp)) => row(5e-5, 128, 0.1, 14_000, 1000, 512),
        (_, Some(Format::Rte)) => row(3e-5, 32, 0.1, 800, 200, 512),
        (_, Some(Format::Mrpc)) => row(2e-5, 32, 0.0, 800, 200, 512),
        (_, Some(Format::Wnli)) => row(2e-5, 16, 0.1, 2000, 250, 512),
        // SQuAD 2.0, then 1.1.
        (Task::Answer, _) if unanswerable => row(3e-5, 48, 0.0, 8144, 814, 512),
        (Task::Answer, _) => row(5e-5, 48, 0.0, 3649, 365, 384),
        (_, Some(Format::Race)) => row(2e-5, 32, 0.1, 12_000, 1000, 512),
        _ => row(2e-5, 32, 0.0, 0, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_recipes_are_for_the_published_sizes() {
        let base = AlbertConfig::preset("base").unwrap();
        let recipe = FinetuneRecipe::default();
        let plan = recipe.plan(Task::Classify, &base, Some(Format::Rte), 2_490, false);
        assert_eq!((plan.batch, plan.steps), (32, Some(800)));
        assert_eq!((plan.rates, plan.warmup_steps), (vec![3e-5], Some(200)));
        assert_eq!((plan.dropout, plan.max_length), (Some(0.1), Some(512)));
        // What the recipe says goes first, and takes the published length of the run with it.
        let recipe = FinetuneRecipe::parse("epochs = 2\nbatch = 8").unwrap();
        let plan = recipe.plan(Task::Classify, &base, Some(Format::Rte), 2_490, false);
        assert_eq!((plan.epochs, plan.steps, plan.batch), (2.0, None, 8));
        assert_eq!(plan.warmup_steps, None);

        let mini = AlbertConfig::preset("mini").unwrap();
        let plan = |task, config, unanswerable| {
            let recipe = FinetuneRecipe::default();
            recipe.plan(task, config, Some(Format::Rte), 2_490, unanswerable)
        };
        let squad = |unanswerable| {
            let recipe = FinetuneRecipe::default();
            let format = Some(Format::Squad);
            let plan = recipe.plan(Task::Answer, &base, format, 87_599, unanswerable);
            (plan.rates[0], plan.steps, plan.max_length)
        };
        assert_eq!(squad(false), (5e-5, Some(3649), Some(384)));
        assert_eq!(squad(true), (3e-5, Some(8144), Some(512)));
        let plan = plan(Task::Classify, &mini, false);
        assert_eq!(plan.rates, RATES);
        assert_eq!(
            (plan.epochs, plan.steps, plan.max_length),
            (10.0, None, None)
        );
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (text, field) in [
            ("epochs = 0", "epochs"),
            ("rates = []", "rates"),
            ("rates = [1e-4, -1]", "rates"),
            ("batch = 0", "batch"),
            ("dropout = 1.0", "dropout"),
            ("max_length = 2", "max_length"),
            ("trial_share = 1.5", "trial_share"),
            ("patience = 0", "patience"),
        ] {
            let message = FinetuneRecipe::parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{field}`")), "{text}: {message}");
        }
        let message = FinetuneRecipe::parse("train = \"some\"").unwrap_err();
        assert!(message.to_string().contains("line 1"), "{message}");
    }
}
