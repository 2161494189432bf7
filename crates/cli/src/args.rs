//! What a user can type.

// The comments below are help texts: [MASK] stands in them as the user sees it.
#![allow(rustdoc::broken_intra_doc_links)]

mod bench;
mod evaluate;
mod export;
#[cfg(feature = "train")]
mod finetune;
mod quantize;
#[cfg(feature = "serve")]
mod serve;
mod tasks;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

#[cfg(feature = "train")]
pub use bench::BenchTrainArgs;
pub use bench::{BenchCommand, BenchRunArgs};
#[cfg(feature = "train")]
pub use evaluate::ColumnArgs;
pub use evaluate::{EvaluateArgs, ExampleArgs};
pub use export::{Dtype, ExportArgs};
#[cfg(feature = "train")]
pub use finetune::FinetuneArgs;
pub use quantize::{Modules, QuantizeArgs};
#[cfg(feature = "serve")]
pub use serve::{LogStyle, MOST_THREADS, ServeArgs, host};
pub use tasks::{
    AnswerArgs, ChooseArgs, ClassifyArgs, EmbedArgs, ExitArgs, PoolingArg, RowsArgs,
    SimilarityArgs, TagArgs, ZeroShotArgs,
};

/// ALBERT, a Lite BERT: raw text to a trained model, a trained model to answers.
#[derive(Parser)]
#[command(
    name = "albert",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Complete a sentence and judge the order of two: ALBERT at a glance
    Try(TryArgs),
    /// Fill every [MASK] of a text with the likeliest pieces
    FillMask(FillMaskArgs),
    /// Judge which of two texts came first
    Order(OrderArgs),
    /// Tell the class of texts, or give them a number
    Classify(ClassifyArgs),
    /// Find the words that matter: names, places, times
    Tag(TagArgs),
    /// Answer a question from a text of any length
    Answer(AnswerArgs),
    /// Choose an answer to a question
    Choose(ChooseArgs),
    /// Turn texts into vectors
    Embed(EmbedArgs),
    /// Tell how alike two texts are
    Similarity(SimilarityArgs),
    /// Classify by classes that nobody trained for
    ZeroShot(ZeroShotArgs),
    /// Score a model on labelled examples with their official metrics
    Evaluate(EvaluateArgs),
    /// Turn text into ids, pieces and character offsets
    Tokenize(TokenizeArgs),
    /// Turn rows of text or ids into hidden states and logits
    Encode(EncodeArgs),
    /// Show what a checkpoint folder holds
    Inspect(InspectArgs),
    /// Write a folder that stands alone, and that transformers loads
    Export(ExportArgs),
    /// Write a folder whose layers are 8-bit integers, and tell what that costs
    Quantize(QuantizeArgs),
    /// Answer over HTTP, with a page to try it
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// List the models that ship
    Models(ModelsArgs),
    /// Show version, instruction sets, threads, default model and memory
    Doctor(DoctorArgs),
    /// Train a vocabulary
    #[cfg(feature = "train")]
    #[command(
        after_help = "Example:\n  albert tokenizer train --corpus book.txt --output my-vocabulary"
    )]
    Tokenizer {
        #[command(subcommand)]
        command: TokenizerCommand,
    },
    /// Turn raw text of any size into tokenised shards to pretrain from
    #[cfg(feature = "train")]
    #[command(
        after_help = "Example:\n  albert corpus build --corpus wikipedia.jsonl.zst \
        --tokenizer my-vocabulary --output my-shards"
    )]
    Corpus {
        #[command(subcommand)]
        command: CorpusCommand,
    },
    /// Pretrain an ALBERT from raw text
    #[cfg(feature = "train")]
    Pretrain(PretrainArgs),
    /// Teach a pretrained model a task by labelled examples
    #[cfg(feature = "train")]
    Finetune(Box<FinetuneArgs>),
    /// Time this machine
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Score a model on held-out documents: masked-LM and sentence order
    #[cfg(feature = "train")]
    Score(ScoreArgs),
}

/// Which model, and how it runs.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// A checkpoint folder, or the name of a model that ships; without it, the one for this task
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: Option<String>,
    /// Threads; without it, what affinity and cgroup allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Arithmetic of the forward pass; without it, int8 for a folder of `quantize`, else f32
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
}

/// Arithmetic of the forward pass.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 8-bit integers in the layers' products: several times faster, nearly the same answers.
    Int8,
}

impl From<Precision> for albert_engine::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Int8 => Self::Int8,
        }
    }
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert try \"The ship sailed across the [MASK].\" \
    --order \"The war began in 1914.\" \"It ended in 1918.\""
)]
pub struct TryArgs {
    /// A sentence with one or more [MASK]
    #[arg(
        value_name = "TEXT",
        default_value = "The ship sailed across the [MASK]."
    )]
    pub text: String,
    /// Two texts whose order to judge; without it, an example
    #[arg(long, num_args = 2, value_names = ["TEXT_A", "TEXT_B"])]
    pub order: Vec<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  albert fill-mask \"The capital of France is [MASK].\" --top 3")]
pub struct FillMaskArgs {
    /// Texts with one or more [MASK]
    #[arg(required = true, value_name = "TEXT")]
    pub texts: Vec<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Candidates for each mask
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Print JSON, a line for each text
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  albert order \"He opened the door.\" \"Then he went in and sat down.\""
)]
pub struct OrderArgs {
    /// The text that may have come first
    pub text_a: String,
    /// The text that may have come second
    pub text_b: String,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  albert tokenize \"Hello, world\" --json\n  \
    albert tokenize --tokenizer spiece.model --input rows.jsonl --json"
)]
pub struct TokenizeArgs {
    /// Texts, one row each
    #[arg(
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    pub texts: Vec<String>,
    /// Rows of {"text"} or {"text", "text_pair"}, one JSON object a line; - for standard input
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Take the tokenizer of this folder, or of a model that ships; without it, `mini`
    #[arg(long, value_name = "DIR|NAME", conflicts_with = "tokenizer")]
    pub model: Option<String>,
    /// A spiece.model or a tokenizer.json
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Read special pieces typed in the text, such as [MASK], as plain text
    #[arg(long)]
    pub plain: bool,
    /// Cut rows to this many pieces, and say so in "truncated"
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_length: Option<u32>,
    /// Print JSON, a line for each row
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  \
    albert encode --model mini --input rows.jsonl --output out.safetensors\n\n\
    Tensors are named as transformers names its output fields, with the row's number behind:\n\
    last_hidden_state.0, pooler_output.0, prediction_logits.0, ...")]
pub struct EncodeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows of {"text"}, {"text", "text_pair"} or {"input_ids", "token_type_ids"?}, one a line
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Read special pieces typed in the text, such as [MASK], as plain text
    #[arg(long)]
    pub plain: bool,
    /// Also write every layer's hidden states as hidden_states.LAYER.ROW
    #[arg(long)]
    pub hidden_states: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  albert inspect models/mini")]
pub struct InspectArgs {
    /// A checkpoint folder, or the name of a model that ships
    #[arg(value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  albert models --json")]
pub struct ModelsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  albert doctor --json")]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "train")]
#[derive(Subcommand)]
pub enum TokenizerCommand {
    /// Train a Unigram vocabulary from raw text and save it as tokenizer.json
    Train(TokenizerTrainArgs),
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(
    after_help = "Example:\n  albert tokenizer train --corpus book.txt --corpus news.jsonl.zst \
    --vocab-size 16000 --output my-tokenizer"
)]
pub struct TokenizerTrainArgs {
    /// Raw text: .txt with blank lines between documents, or JSONL; plain or .zst
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// The folder for tokenizer.json; must not hold one yet
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Pieces of the vocabulary, the special ones counted
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub vocab_size: u32,
    /// At most this many megabytes of text, drawn evenly over the corpus
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub sample_mb: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "train")]
#[derive(Subcommand)]
pub enum CorpusCommand {
    /// Tokenise corpus files into a folder of shards, or go on where that was stopped
    Build(CorpusBuildArgs),
    /// Check every byte of such a folder, and show what it holds
    Inspect(CorpusInspectArgs),
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(
    after_help = "Example:\n  albert corpus build --corpus wikipedia.jsonl.zst --corpus news.txt \
    --tokenizer my-vocabulary --output my-shards\n\n\
    Give the same command again to go on with a build that was stopped."
)]
pub struct CorpusBuildArgs {
    /// Raw text: .txt with blank lines between documents, or JSONL; plain or .zst
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// A spiece.model, a tokenizer.json or a folder with either
    #[arg(long, value_name = "FILE|DIR")]
    pub tokenizer: PathBuf,
    /// The folder to write; must be new, empty, or of the same build
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Megabytes of pieces a shard; a build that was stopped loses at most one
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shard_mb: u16,
    /// Take at most this many megabytes of text of each file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_mb: Option<u32>,
    /// Keep documents that are full of HTML or wiki markup
    #[arg(long)]
    pub keep_markup: bool,
    /// Threads; without it, what affinity and cgroup allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(after_help = "Example:\n  albert corpus inspect my-shards")]
pub struct CorpusInspectArgs {
    /// A folder that `albert corpus build` made
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arithmetic of matrix products in training.
#[cfg(feature = "train")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainPrecision {
    /// 32-bit floating point.
    F32,
    /// bfloat16 numbers, 32-bit sums.
    Bf16,
}

/// Where to train.
#[cfg(feature = "train")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(usize),
    #[cfg(feature = "wgpu")]
    Wgpu,
}

#[cfg(feature = "train")]
impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = text.split_once(':').unwrap_or((text, "0"));
        let number: u16 = number
            .parse()
            .map_err(|_| format!("`{number}` is no device number"))?;
        match (kind, number) {
            ("cpu", 0) => Ok(Self::Cpu),
            #[cfg(feature = "cuda")]
            ("cuda", number) => Ok(Self::Cuda(number.into())),
            #[cfg(feature = "wgpu")]
            ("wgpu", 0) => Ok(Self::Wgpu),
            // With CUDA built in all its numbers are taken above.
            #[cfg_attr(feature = "cuda", allow(unreachable_patterns))]
            ("cuda" | "wgpu", _) => Err(format!(
                "no such device, or this program was built without `--features {kind}`"
            )),
            _ => Err("devices are cpu, cuda:N and wgpu".to_owned()),
        }
    }
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(
    after_help = "Example:\n  albert pretrain --recipe configs/tiny.toml --corpus my-text.txt \
    --output my-albert\n  albert pretrain --recipe configs/tiny.toml --corpus my-text.txt \
    --output my-albert --resume\n\n\
    On several machines, in a program built with the cargo feature `mpi`:\n  \
    mpirun -n 2 --bind-to none albert pretrain --recipe configs/tiny.toml ...\n\
    The recipe's batch is then split over the processes."
)]
pub struct PretrainArgs {
    /// A TOML recipe; see configs/
    #[arg(long, value_name = "FILE")]
    pub recipe: PathBuf,
    /// Raw text: .txt with blank lines between documents, or JSONL; plain or .zst. Or one folder
    /// that `albert corpus build` made
    #[arg(long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// A spiece.model, a tokenizer.json or a folder with either, instead of the recipe's
    #[arg(long, value_name = "FILE|DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Arithmetic of matrix products, instead of the recipe's; bf16 only where the device is
    /// faster so
    #[arg(long, value_enum)]
    pub precision: Option<TrainPrecision>,
    /// The folder to write; must be new or empty unless --resume
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Keep the tokenised corpus in this folder, for runs that share it; without it, in the output
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Go on from the last checkpoint in the output folder
    #[arg(long)]
    pub resume: bool,
    /// Where to train: cpu; cuda:N or wgpu in a program built with the cargo feature of that name.
    /// Under mpirun a machine's next processes take cuda:N+1 and so on
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Threads; without it, what affinity and cgroup allow, shared by a machine's processes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print JSON lines instead of a progress bar
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(after_help = "Example:\n  albert score --model mini --corpus heldout.jsonl.zst")]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Held-out raw text that the model was not trained on
    #[arg(long, value_name = "FILE")]
    pub corpus: PathBuf,
    /// Score only the first N documents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Also write the scored examples as JSONL, so that others can score them
    #[arg(long, value_name = "FILE")]
    pub examples: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
