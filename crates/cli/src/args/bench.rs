//! Flags of `albert bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ModelArgs;
#[cfg(feature = "train")]
use super::{Device, TrainPrecision};

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Time a model's forward pass on random ids
    Run(BenchRunArgs),
    /// Time pretraining steps on generated tokens
    #[cfg(feature = "train")]
    Train(BenchTrainArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    albert bench run --model mini --batch 8 --length 128 --precision int8 --json\n  \
    albert bench run --model mini --batch 32 --lengths lengths.txt\n\n\
    A pass gives what the model's head gives: of a masked-LM head one position a row, of a base model\n\
    every state. Three passes go before the clock starts. `peak_share` is the share of what the threads'\n\
    arithmetic units can do at most in this precision, measured in the same run; \n\
    `peak_memory_bytes` is the process's largest resident set, where the system tells.")]
pub struct BenchRunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows of a pass
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Tokens of a row
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub length: u32,
    /// A file of row lengths, one a line, instead of --length: its rows are taken in order, --batch
    /// of them a pass
    #[arg(long, value_name = "FILE", conflicts_with = "length")]
    pub lengths: Option<PathBuf>,
    /// At least so many seconds; all of a file of lengths at least once
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Give every state of the last layer and the pooler's output instead of the head's
    #[arg(long)]
    pub states: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("`{text}` is no number of seconds from 0 to 86,400")),
    }
}

#[cfg(feature = "train")]
#[derive(Args)]
#[command(after_help = "Example:\n  \
    albert bench train --preset base --batch 8 --length 128 --steps 5 --json\n\n\
    A step is masking, forward pass, both losses, backward pass, clipping and AdamW; two steps go\n\
    before the clock starts. `step_ms` is the median; `peak_memory_bytes` is the process's largest\n\
    resident set, where the system tells.")]
pub struct BenchTrainArgs {
    /// base, large, xlarge, xxlarge, mini or tiny
    #[arg(long, default_value = "mini")]
    pub preset: String,
    /// Rows of a step
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Positions of a row
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(5..=65_535))]
    pub length: u32,
    /// Steps to time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Arithmetic of matrix products; bf16 only where the device is faster so
    #[arg(long, value_enum, default_value_t = TrainPrecision::F32)]
    pub precision: TrainPrecision,
    /// Where to train: cpu; cuda:N or wgpu in a program built with the cargo feature of that name
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Threads; without it, what affinity and cgroup allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
