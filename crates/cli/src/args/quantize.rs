//! Making a folder of 8-bit integers.

use std::path::PathBuf;
use std::str::FromStr;

use albert_checkpoint::LayerModule;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::ExampleArgs;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    albert quantize --model sentiment --calibrate dev.tsv --format sst2 --output sentiment-int8\n  \
    albert quantize --model my-encoder --calibrate sentences.txt --output my-encoder-int8\n\n\
    Weights get a scale for each output; activations get theirs as they come, so the examples only \
    tell what int8 costs: the score of a model with a task, how alike the hidden states stay of one \
    without.")]
pub struct QuantizeArgs {
    /// A checkpoint folder, or the name of a model that ships
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: String,
    /// Labelled examples of the model's task, as `evaluate` takes them; for a model without a task
    /// that has scores, texts: one a line (.txt), else JSONL, unless --format says that they are pairs
    /// with scores of how alike they are
    #[arg(long, value_name = "FILE")]
    pub calibrate: PathBuf,
    #[command(flatten)]
    pub examples: ExampleArgs,
    /// The folder to write; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// The most that a score may lose, in points of a hundred
    #[arg(long, value_name = "POINTS", default_value_t = 0.5, value_parser = points)]
    pub most_loss: f64,
    /// The least that the cosine of hidden states with those in f32 may be on average, of a model without a
    /// task
    #[arg(long, value_name = "COSINE", default_value_t = 0.999, value_parser = cosine)]
    pub least_cosine: f64,
    /// What stays in floating point: attention, ffn, ffn_output, or several with commas; or none. Without it
    /// what the folder's config.json says (int8_skip_modules); then, if that costs too much, attention, then
    /// attention and ffn
    #[arg(long, value_name = "MODULE")]
    pub skip: Option<Modules>,
    /// Write the folder whatever int8 costs
    #[arg(long)]
    pub force: bool,
    /// Threads; without it, what affinity and cgroup allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Parts of a layer.
#[derive(Clone)]
pub struct Modules(pub Vec<LayerModule>);

impl FromStr for Modules {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(Vec::new())),
            _ => {
                let modules = text.split(',').map(str::parse);
                modules.collect::<Result<_, _>>().map(Self)
            }
        }
    }
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("is not a number from 0 to 100".to_owned()),
    }
}

fn cosine(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(cosine) if (-1.0..=1.0).contains(&cosine) => Ok(cosine),
        _ => Err("is not a number from -1 to 1".to_owned()),
    }
}
