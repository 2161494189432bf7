//! One file a command, or a few that are alike.

mod answers;
mod bench_run;
#[cfg(feature = "train")]
mod bench_train;
#[cfg(feature = "train")]
mod corpus;
mod doctor;
mod encode;
mod evaluate;
mod export;
mod fill_mask;
#[cfg(feature = "train")]
mod finetune;
mod inspect;
mod models;
mod order;
#[cfg(feature = "train")]
mod pretrain;
#[cfg(feature = "train")]
mod processes;
mod quantize;
#[cfg(feature = "train")]
mod score;
#[cfg(feature = "serve")]
mod serve;
mod tokenize;
#[cfg(feature = "train")]
mod tokenizer_train;
mod try_it;

use std::sync::Arc;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, find_model};
use albert_engine::{EarlyExit, Engine, EngineOptions, Precision};
use albert_tasks::{Model as TaskModel, TaskSettings, load, text::Tokenizer};
use anyhow::{Result, bail};

use crate::args::{BenchCommand, Cli, Command, ExitArgs, ModelArgs};
#[cfg(feature = "train")]
use crate::args::{CorpusCommand, TokenizerCommand};
use crate::output;

/// Runs what the user typed.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Try(args) => try_it::run(args),
        Command::FillMask(args) => fill_mask::run(args),
        Command::Order(args) => order::run(args),
        Command::Classify(args) => answers::classify(args),
        Command::Tag(args) => answers::tag(args),
        Command::Answer(args) => answers::answer(args),
        Command::Choose(args) => answers::choose(args),
        Command::Embed(args) => answers::embed(args),
        Command::Similarity(args) => answers::similarity(args),
        Command::ZeroShot(args) => answers::zero_shot(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Encode(args) => encode::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Export(args) => export::run(args),
        Command::Quantize(args) => quantize::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(*args),
        Command::Models(args) => models::run(args),
        Command::Doctor(args) => doctor::run(args),
        #[cfg(feature = "train")]
        Command::Tokenizer {
            command: TokenizerCommand::Train(args),
        } => tokenizer_train::run(args),
        Command::Bench { command } => match command {
            BenchCommand::Run(args) => bench_run::run(args),
            #[cfg(feature = "train")]
            BenchCommand::Train(args) => bench_train::run(args),
        },
        #[cfg(feature = "train")]
        Command::Corpus { command } => match command {
            CorpusCommand::Build(args) => corpus::build(args),
            CorpusCommand::Inspect(args) => corpus::inspect(args),
        },
        #[cfg(feature = "train")]
        Command::Pretrain(args) => pretrain::run(args),
        #[cfg(feature = "train")]
        Command::Finetune(args) => finetune::run(*args),
        #[cfg(feature = "train")]
        Command::Score(args) => score::run(args),
    }
}

fn engine_options(args: &ModelArgs, checkpoint: &Checkpoint) -> EngineOptions {
    EngineOptions {
        precision: match args.precision {
            Some(precision) => precision.into(),
            None => Precision::stored(checkpoint),
        },
        threads: args.threads.map(usize::from),
    }
}

/// The model and tokenizer that the flags name, or those of the name `default`.
fn open_model(args: &ModelArgs, default: &str) -> Result<(Arc<Engine>, Arc<Tokenizer>)> {
    let mut args = args.clone();
    args.model.get_or_insert_with(|| default.to_owned());
    let checkpoint = open_checkpoint(&args)?;
    load_for_good(&args, &checkpoint)
}

/// The model that the flags name, or the one of the name `default`.
fn open_task(args: &ModelArgs, default: &str) -> Result<TaskModel> {
    let mut args = args.clone();
    args.model.get_or_insert_with(|| default.to_owned());
    let checkpoint = open_checkpoint(&args)?;
    let (engine, tokenizer) = load_for_good(&args, &checkpoint)?;
    Ok(TaskModel {
        engine,
        tokenizer,
        settings: TaskSettings::read(checkpoint.dir())?,
    })
}

/// The model and tokenizer of a checkpoint, to be used until the process ends: the tokenizer is not taken
/// apart then, which in the case of a `tokenizer.json` takes a good part of a short run.
fn load_for_good(
    args: &ModelArgs,
    checkpoint: &Checkpoint,
) -> Result<(Arc<Engine>, Arc<Tokenizer>)> {
    let (engine, tokenizer) = load(checkpoint, engine_options(args, checkpoint))?;
    std::mem::forget(Arc::clone(&tokenizer));
    Ok((engine, tokenizer))
}

/// The same model, with rows that leave early where the flags say so.
fn with_exit(mut model: TaskModel, args: ExitArgs) -> Result<TaskModel> {
    let Some(patience) = args.patience else {
        return Ok(model);
    };
    if model.engine.config().exits() == 0 {
        bail!(
            "--patience: the model has no early exits; `albert finetune classify --early-exit` \
             makes one that has"
        );
    }
    model.settings.early_exit = Some(EarlyExit {
        patience,
        tolerance: args.tolerance,
    });
    Ok(model)
}

/// Says so where texts are to be compared by a folder that has learnt something else.
fn note_untaught(config: &AlbertConfig) {
    if config.architecture != Architecture::Base {
        output::note(
            "note: this folder was not taught to compare texts (`albert finetune embed` does): its \
             vectors are the means of hidden states as they are",
        );
    }
}

/// The checkpoint that the flags name, and the engine over it.
fn open_engine(args: &ModelArgs) -> Result<(Checkpoint, Engine)> {
    let checkpoint = open_checkpoint(args)?;
    let engine = Engine::load(&checkpoint, engine_options(args, &checkpoint))?;
    Ok((checkpoint, engine))
}

/// The checkpoint that the flags name. What the folder holds beyond what is used is said once.
fn open_checkpoint(args: &ModelArgs) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(&find_model(args.model.as_deref())?)?;
    let dir = checkpoint.dir().display();
    for text in checkpoint.notes() {
        output::note(&format!("note: {dir}: {text}"));
    }
    if !checkpoint.unused().is_empty() {
        output::note(&format!(
            "note: {dir}: unused tensors: {}",
            checkpoint.unused().join(", ")
        ));
    }
    Ok(checkpoint)
}
