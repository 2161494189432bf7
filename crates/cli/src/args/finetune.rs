//! Fine-tuning and exporting.

use std::path::PathBuf;

use albert_data::Format;
use albert_train::finetune::Task;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{ColumnArgs, Device, TrainPrecision};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    albert finetune classify --model mini --train train.tsv --dev dev.tsv --output my-model\n  \
    albert finetune answer --model mini --train train-v1.1.json --dev dev-v1.1.json --output my-qa\n  \
    albert finetune tag --model mini --train snips/train --dev snips/valid --output my-slots\n\n\
    Formats: sst2 cola mrpc stsb qqp mnli qnli rte wnli squad race clinc150 banking77 seq jsonl\n\
    csv tsv. JSONL rows are {\"text\", \"text_pair\", \"label\"} or {\"text_a\", \"text_b\", \"label\"}.")]
pub struct FinetuneArgs {
    /// What for: classify, regress, tag, answer, choose or embed
    pub task: Task,
    /// The folder to begin with, or the name of a model that ships; without it, `mini`
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: Option<String>,
    /// Examples to learn from
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub train: Vec<PathBuf>,
    /// Examples that decide: the rate, the best weights, the temperature; --folds needs none
    #[arg(long, value_name = "FILE", required_unless_present = "folds")]
    pub dev: Option<PathBuf>,
    /// The folder to write; must be new or empty unless --resume; --folds writes nothing
    #[arg(long, value_name = "DIR", required_unless_present = "folds")]
    pub output: Option<PathBuf>,
    /// A TOML recipe; see configs/finetune/all.toml
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// The files' format; without it, what their names and first lines tell
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// The format of the dev file, where it is another
    #[arg(long, value_name = "FORMAT")]
    pub dev_format: Option<Format>,
    /// The splits of the training file, joined by + (clinc150: train+oos_train)
    #[arg(long, value_name = "SPLIT")]
    pub train_split: Option<String>,
    /// The splits of the dev file (clinc150: val+oos_val)
    #[arg(long, value_name = "SPLIT")]
    pub dev_split: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Learn from so many examples of each class only, drawn by the seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub per_class: Option<u32>,
    /// The seed, instead of the recipe's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Passes over the training set, instead of the recipe's
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// The highest rate, instead of the recipe's; of several the best on the dev set
    #[arg(long, value_name = "RATE", num_args = 1..)]
    pub rate: Vec<f64>,
    /// Examples of a step, instead of the recipe's
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// The most pieces of a row, instead of the recipe's
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Arithmetic of matrix products, instead of the recipe's
    #[arg(long, value_enum)]
    pub precision: Option<TrainPrecision>,
    /// Give every layer a classifier, so that clear rows need not go through all of them:
    /// --patience at use
    #[arg(long)]
    pub early_exit: bool,
    /// Begin with random weights: what is pretraining worth?
    #[arg(long)]
    pub from_scratch: bool,
    /// Store only what differs from --model; `albert export` makes it whole
    #[arg(long)]
    pub adapter: bool,
    /// Instead of a model: the spread of scores over N folds of the training set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    pub folds: Option<u32>,
    /// Instead of a model: scores with 10, 25, 50 and 100% of the training set
    #[arg(long, conflicts_with = "folds")]
    pub learning_curve: bool,
    /// Seeds for --folds and --learning-curve
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub seeds: u32,
    /// Go on with the run in the output folder
    #[arg(long, conflicts_with_all = ["folds", "learning_curve"])]
    pub resume: bool,
    /// Where to train: cpu; cuda:N or wgpu in a program built with the cargo feature of that name
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Threads; without it, what affinity and cgroup allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print JSON lines instead of a progress bar
    #[arg(long)]
    pub json: bool,
}
