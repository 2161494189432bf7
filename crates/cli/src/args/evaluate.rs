//! Evaluation.

use std::path::PathBuf;

use albert_data::{Columns, Dataset, Format};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{ExitArgs, ModelArgs};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    albert evaluate --model sentiment --data dev.tsv --format sst2\n  \
    albert evaluate --model qa --data dev-v1.1.json --predictions answers.json --json\n  \
    albert evaluate --model mine --against sentiment --data dev.tsv\n\n\
    Formats: sst2 cola mrpc stsb qqp mnli qnli rte wnli squad race clinc150 banking77 seq jsonl\n\
    csv tsv. Scores are fractions of one; intervals hold 95% of a thousand resamples.")]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Labelled examples
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    #[command(flatten)]
    pub examples: ExampleArgs,
    #[command(flatten)]
    pub exit: ExitArgs,
    /// Also score this model, without early exits, and tell by how much the first is better, with the
    /// interval of the difference
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub against: Option<String>,
    /// Also write what was said to each example: SQuAD's {id: answer}, else JSONL
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// Also write a report with the worst mistakes, as HTML
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How a file of labelled examples is read.
#[derive(Args)]
pub struct ExampleArgs {
    /// The file's format; without it, what its name and first lines tell
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// The splits of the file, joined by +; without it, all (clinc150)
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
}

/// Which columns hold what, in files with named ones.
#[derive(Args)]
pub struct ColumnArgs {
    /// The column of the text, in files with named columns
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// The column of the second text
    #[arg(long, value_name = "NAME")]
    pub pair_column: Option<String>,
    /// The column of the label
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// Other names for labels, as 0=negative 1=positive
    #[arg(long, value_name = "LABEL=NAME", num_args = 1.., value_parser = renaming)]
    pub label_names: Vec<(String, String)>,
}

impl ColumnArgs {
    /// Gives the labels of examples their other names.
    pub fn rename(&self, data: &mut Dataset) {
        data.rename_labels(&self.label_names.iter().cloned().collect());
    }
}

impl From<&ColumnArgs> for Columns {
    fn from(args: &ColumnArgs) -> Self {
        Columns {
            text: args.text_column.clone(),
            text_pair: args.pair_column.clone(),
            label: args.label_column.clone(),
        }
    }
}

fn renaming(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, name)) if !label.is_empty() && !name.is_empty() => {
            Ok((label.to_owned(), name.to_owned()))
        }
        _ => Err(format!("`{text}` is not LABEL=NAME")),
    }
}
