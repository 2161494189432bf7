//! Making a folder that stands alone.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

#[derive(Args)]
#[command(after_help = "Example:\n  albert export --model sentiment --output sentiment-whole")]
pub struct ExportArgs {
    /// A checkpoint folder, or the name of a model that ships
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: String,
    /// The folder to write; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// The number format of the weights
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
}

/// A number format of weights.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// The upper half of 32 bits.
    Bf16,
}
