//! The commands that answer.

use std::path::PathBuf;

use albert_engine::EarlyExit;
use albert_tasks::Pooling;
use clap::{Args, ValueEnum};

use super::ModelArgs;

/// Where the rows come from, and what becomes of those that fail.
#[derive(Args)]
pub struct RowsArgs {
    /// Rows from a file: JSON objects, one a line, or a .txt with a text a line; .zst of either; - for either from standard input
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// End at the first row that fails, instead of reporting it in its place
    #[arg(long, requires = "input")]
    pub strict: bool,
    /// Print JSON, a line for each row; always so with --input
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  albert classify \"A film to remember.\"\n  \
    albert classify --model intents --abstain 0.7 \"how do i freeze my account\"\n  \
    albert classify --model nli \"A man sleeps.\" --pair \"Someone is asleep.\"\n  \
    albert classify --input reviews.jsonl > answers.jsonl\n\n\
    Rows are {\"text\", \"text_pair\"?} or {\"text_a\", \"text_b\"}."
)]
pub struct ClassifyArgs {
    /// Texts to classify
    #[arg(
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    /// The second text of a pair, for each of the texts
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub pair: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// So many of the likeliest classes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Below this confidence say that a person should look
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub abstain: Option<f32>,
    #[command(flatten)]
    pub exit: ExitArgs,
    #[command(flatten)]
    pub rows: RowsArgs,
}

/// When rows leave a model that was fine-tuned with --early-exit.
#[derive(Args, Clone, Copy)]
pub struct ExitArgs {
    /// A row leaves once so many layers' classifiers in a row agreed with the one before them;
    /// without it, rows go through all layers. Needs a model of `finetune --early-exit`
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Numbers that differ by no more agree, where the model gives numbers
    #[arg(long, value_name = "D", default_value_t = EarlyExit::TOLERANCE, value_parser = tolerance, requires = "patience")]
    pub tolerance: f32,
}

fn tolerance(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(tolerance) if tolerance >= 0.0 && tolerance.is_finite() => Ok(tolerance),
        _ => Err(format!("`{text}` is no number of 0 or more")),
    }
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert tag \"play blue moon by billie holiday\"\n\n\
    Rows are {\"text\"}."
)]
pub struct TagArgs {
    /// Texts to tag
    #[arg(
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Say that a person should look where the least sure word is below this confidence
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub abstain: Option<f32>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    albert answer --question \"Who founded it?\" --context article.txt\n  \
    albert answer --input questions.jsonl\n\n\
    Rows are {\"question\", \"context\"}. Places are characters of the context, from 0.")]
pub struct AnswerArgs {
    /// The question
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub question: Option<String>,
    /// The file with the text to find the answer in; - for standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub context: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// So many of the best answers, none saying the same as another or overlapping it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub top: u32,
    /// The most pieces of a window of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..))]
    pub max_length: Option<u32>,
    /// Below this confidence say that a person should look
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub abstain: Option<f32>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert choose --model my-race --context story.txt \
    --question \"Why did he leave?\" --choices \"He was tired.\" \"It rained.\"\n\n\
    Rows are {\"context\"?, \"question\", \"choices\": [...]}."
)]
pub struct ChooseArgs {
    /// The question; a _ in it stands for the choice
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub question: Option<String>,
    /// What to choose from
    #[arg(
        long,
        value_name = "TEXT",
        num_args = 2..,
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub choices: Vec<String>,
    /// The file with the text that the question is about; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub context: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Below this confidence say that a person should look
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub abstain: Option<f32>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

/// [`Pooling`] on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum PoolingArg {
    /// The mean over all pieces
    Mean,
    /// That of [CLS]
    Cls,
}

impl From<PoolingArg> for Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Mean => Pooling::Mean,
            PoolingArg::Cls => Pooling::Cls,
        }
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  albert embed --input texts.txt > vectors.jsonl")]
pub struct EmbedArgs {
    /// Texts to turn into vectors
    #[arg(
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// How the pieces of a text become one vector; without it, as the folder says
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert similarity \"A plane takes off.\" \"An aircraft leaves.\"\n\n\
    Rows are {\"text\", \"text_pair\"} or {\"text_a\", \"text_b\"}."
)]
pub struct SimilarityArgs {
    /// Two texts
    #[arg(
        value_name = "TEXT",
        num_args = 2,
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// How the pieces of a text become one vector; without it, as the folder says
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert zero-shot \"The match ended in a draw.\" \
    --classes sport politics science\n\nRows are {\"text\"}."
)]
pub struct ZeroShotArgs {
    /// Texts to classify
    #[arg(
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    /// The classes
    #[arg(long, value_name = "CLASS", num_args = 1.., required = true)]
    pub classes: Vec<String>,
    /// What a text is said to be, with {} for the class
    #[arg(long, value_name = "TEXT")]
    pub hypothesis: Option<String>,
    /// Judge each class by itself
    #[arg(long)]
    pub multi_label: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Below this confidence say that a person should look
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub abstain: Option<f32>,
    #[command(flatten)]
    pub rows: RowsArgs,
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is no number from 0 to 1")),
    }
}
