//! Pretraining from raw text: what a run needs, and what it tells while it goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use albert_checkpoint::AlbertConfig;
use albert_kernels::training::matmul::multiplies_bf16;
use albert_model::{AlbertForPreTraining, NamedParameters, TrainingBackend};

use crate::corpus::TokenisingReport;
use crate::error::Result;
use crate::guard::{Spike, SpikeFile};
use crate::metrics::{self, DevScores};
use crate::optim::OptimizerState;
use crate::peers::{Alone, Peers, agree, in_turn, same, same_weights};
use crate::recipe::{Arithmetic, OptimizerKind, PUBLISHED_RATE, Recipe, Stage, scaled_rate};
use crate::run::Run;
use crate::schedule::Budget;
use crate::sources::{Sources, Text, pieces, unbounded};
use crate::start::{Opened, check_memory, first_model, recipe_checksum, same_input};
use crate::state::{self, FORMAT, RunInfo, Saved};
use crate::vocabulary::Vocabulary;

/// What to train, on what, and where to.
#[derive(Clone, Debug)]
pub struct PretrainOptions {
    /// The recipe.
    pub recipe: Recipe,
    /// Corpus files ([`Documents`](crate::documents::Documents) says which kinds), or one folder of
    /// shards ([`shards`](mod@crate::shards)).
    pub corpus: Vec<PathBuf>,
    /// The folder that becomes the checkpoint.
    pub output: PathBuf,
    /// Go on with the run in `output`.
    pub resume: bool,
    /// Where the tokenised corpus is kept, for runs that share one; `output/training` by default.
    pub cache: Option<PathBuf>,
    /// Threads that tokenise; the processor's by default.
    pub threads: Option<usize>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the recipe was carried out; otherwise the run was stopped and can be resumed.
    pub finished: bool,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Positions trained on, without padding.
    pub tokens: u64,
    /// Seconds spent.
    pub seconds: f64,
    /// Steps that the guard skipped; they count as taken.
    pub skipped: u64,
    /// The last evaluation.
    pub dev: Option<DevScores>,
    /// The share of the time of steps that was not spent on forward and backward passes, clipping and
    /// the optimiser, since the run began or was resumed: waiting for batches, measuring, writing.
    /// None where the model runs beside the loop, on another device or in several processes.
    pub beside_model: Option<f64>,
}

/// What a run is about to do.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The model.
    pub config: AlbertConfig,
    /// Documents to train on.
    pub documents: usize,
    /// Documents held out.
    pub dev_documents: usize,
    /// Documents left out because they are full of markup.
    pub dropped: u64,
    /// Pieces to train on.
    pub pieces: usize,
    /// The step to go on from; 0 in a new run.
    pub step: u64,
    /// All steps, where the recipe counts steps or epochs.
    pub steps: Option<u64>,
    /// The highest rate of the stage that begins.
    pub rate: f64,
    /// With LAMB, the published rate scaled to this stage's steps
    /// ([`scaled_rate`](crate::recipe::scaled_rate)), for comparison.
    pub published_rate: Option<f64>,
    /// What one should know before the run goes on, a sentence each.
    pub notes: Vec<String>,
}

/// Where a run is after a step. Losses, accuracies and speed are smoothed over recent steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Optimiser steps taken.
    pub step: u64,
    /// The stage, counted from 0.
    pub stage: usize,
    /// The share of the run that is done.
    pub done: f64,
    /// Positions trained on, without padding.
    pub tokens: u64,
    /// Positions a second.
    pub tokens_per_second: f64,
    /// Seconds spent.
    pub seconds: f64,
    /// Seconds to come, as far as can be told.
    pub seconds_left: f64,
    /// The learning rate.
    pub rate: f64,
    /// The sum of both losses, in nats.
    pub loss: f64,
    /// The share of masked pieces that were guessed.
    pub masked_lm_accuracy: f64,
    /// The share of pairs whose order was told.
    pub order_accuracy: f64,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// Hears how a run goes on. Every method does nothing unless written.
pub trait Progress {
    /// The corpus is being tokenised.
    fn tokenising(&mut self, _report: &TokenisingReport) {}
    /// Training begins.
    fn begins(&mut self, _report: &RunReport) {}
    /// A step was out of the ordinary. On a device that is not the processor this is told late,
    /// when the numbers are read.
    fn spike(&mut self, _spike: &Spike) {}
    /// A step was taken, or skipped.
    fn step(&mut self, _report: &StepReport) {}
    /// Held-out pairs were evaluated after `step` steps.
    fn evaluated(&mut self, _step: u64, _scores: &DevScores) {}
    /// A checkpoint was saved after `step` steps.
    fn saved(&mut self, _step: u64, _folder: &Path) {}
}

impl Progress for () {}

/// Pretrains an ALBERT by a recipe, or goes on with a run that was stopped.
///
/// The output folder is a checkpoint as [`albert_checkpoint`] reads it, with `metrics.csv`,
/// `curves.svg` and a folder `training/` for resuming. A checkpoint is saved at the beginning,
/// every so many minutes or steps, when `stop` becomes true, and at the end. Steps whose loss or
/// gradient is out of the ordinary are skipped and noted in `spikes.jsonl` ([`crate::guard`]). A run whose stages count
/// steps or epochs and that is stopped and resumed on the CPU gives the same weights, bit by bit,
/// as one that was not; where stages count minutes, the time already spent counts on.
///
/// # Errors
/// The recipe, the tokenizer or a corpus file is bad; the output folder is in use; what is
/// resumed does not fit; a file cannot be written (the last checkpoint stays as it is); too many
/// steps were out of the ordinary ([`Error::TooManySpikes`](crate::Error::TooManySpikes)), or without a guard one was not finite
/// ([`Error::NotFinite`](crate::Error::NotFinite)); or `stop` was set before training began.
pub fn pretrain<B: TrainingBackend>(
    options: &PretrainOptions,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    pretrain_together::<B>(options, &Alone, device, stop, progress)
}

/// [`pretrain()`] in each of several processes that train one model: they must all call it, with
/// the same options.
///
/// A batch of the recipe is the batch of all processes together. The run is the one that a single
/// process makes of the recipe, up to rounding (and but for the places that dropout draws), and may
/// be stopped and resumed with another number of processes. Process 0 alone hears `stop`, tells
/// `progress`, evaluates and writes. The others read the recipe's files, the corpus and, to resume,
/// the output folder, so that machines should share a file system; where they do not, each
/// tokenises for itself into a folder of its own.
///
/// # Errors
/// As [`pretrain()`], told by one process; the others give [`Error::OtherProcess`](crate::Error::OtherProcess). A stage's batch
/// has fewer rows than there are processes; a process has other files or weights than process 0
/// ([`Error::ProcessDiffers`](crate::Error::ProcessDiffers)). An error of one process alone, such as a disk that is full, leaves
/// the others waiting: whoever started them must end them.
pub fn pretrain_together<B: TrainingBackend>(
    options: &PretrainOptions,
    peers: &dyn Peers,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let mut silent = ();
    let progress = match peers.rank() {
        0 => progress,
        _ => &mut silent,
    };
    prepare::<B>(options, peers, device, stop, progress)?.carry_out(stop, progress)
}

/// Everything before the first step.
pub(crate) fn prepare<'p, B: TrainingBackend>(
    options: &PretrainOptions,
    peers: &'p dyn Peers,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Run<'p, B>> {
    let leads = peers.rank() == 0;
    let recipe = &options.recipe;
    let Opened {
        claim: claimed,
        saved,
        tokenizer,
        tokenizer_checksum,
        config,
        files,
    } = agree(peers, Opened::open::<B>(options, peers))?;
    let step = saved.as_ref().map_or(0, |saved| saved.info.step);
    let things = [
        ("recipe", recipe_checksum(recipe)?),
        ("tokenizer", tokenizer_checksum),
        ("step to go on from", step),
    ];
    same(peers, &things)?;
    let text = in_turn(peers, || {
        let checksums = (tokenizer_checksum, files.corpus);
        Text::read(options, &tokenizer, checksums, stop, progress)
    })?;
    let things = [
        ("corpus", text.checksum),
        ("held-out corpus", text.dev_checksum),
    ];
    same(peers, &things)?;
    let fits = |saved: &Saved| {
        same_input("corpus", saved.info.corpus, text.checksum)?;
        same_input("held-out corpus", saved.info.dev_corpus, text.dev_checksum)
    };
    agree(peers, saved.as_ref().map_or(Ok(()), fits))?;
    if B::HOST {
        // Once more: the corpus may have taken some of the memory.
        agree(peers, check_memory(recipe, &config, peers))?;
    }
    let vocabulary = Arc::new(Vocabulary::new(&tokenizer));
    let sources = Sources {
        recipe: recipe.clone(),
        text,
        vocabulary,
    };
    let budget = sources.budget()?;
    let (stage, pass) = saved
        .as_ref()
        .map_or((0, 0), |saved| (saved.info.stage, saved.info.position.pass));
    agree(peers, sources.check(stage, pass))?;
    let arithmetic = arithmetic::<B>(recipe, device);
    let stage = &recipe.stage[stage];
    let rate = recipe.optimizer.rate_for(stage.rows());
    let published_rate = published_rate(recipe, stage);
    let processor = saved
        .as_ref()
        .and_then(|saved| other_arithmetic(&saved.info.arithmetic, &arithmetic));
    let notes = [
        processor,
        high_rate(rate, published_rate, stage),
        long_warmup(recipe, &budget),
        unbounded(&options.corpus, recipe),
        without_bf16::<B>(recipe),
    ];
    progress.begins(&RunReport {
        config: config.clone(),
        documents: sources.text.documents.len(),
        dev_documents: sources.text.dev_documents.len(),
        dropped: sources.text.corpus.dropped(),
        pieces: pieces(&sources.text.corpus, &sources.text.documents),
        step,
        steps: match &budget {
            Budget::Steps(stages) => Some(stages.iter().sum()),
            Budget::Seconds(_) => None,
        },
        rate,
        published_rate,
        notes: notes.into_iter().flatten().collect(),
    });

    let (info, model, optimizer) = match saved {
        Some(Saved {
            info,
            weights,
            optimizer,
        }) => {
            let info = RunInfo {
                recipe: recipe.clone(),
                arithmetic,
                corpus_files: files.corpus,
                dev_corpus_files: files.dev_corpus,
                ..info
            };
            let model = AlbertForPreTraining::<B>::init(&config, recipe.seed, device)?;
            let weights = weights.into_iter().map(|(name, _, values)| (name, values));
            let model = model.with_tensors(weights.collect())?;
            (info, model, Some(optimizer))
        }
        None => {
            let info = RunInfo {
                format: FORMAT,
                recipe: recipe.clone(),
                corpus: sources.text.checksum,
                dev_corpus: sources.text.dev_checksum,
                tokenizer: tokenizer_checksum,
                step: 0,
                stage: 0,
                position: Default::default(),
                nanoseconds: 0,
                tokens: 0,
                sums: Default::default(),
                optimizer_steps: 0,
                guard: Default::default(),
                skipped: 0,
                arithmetic,
                corpus_files: files.corpus,
                dev_corpus_files: files.dev_corpus,
            };
            let model = first_model::<B>(recipe, &config, &tokenizer, device);
            (info, agree(peers, model)?, None)
        }
    };
    same_weights(peers, &model.tensors())?;
    let claim = || {
        if !options.resume {
            // Before anything else is written there, so that the folder can be resumed from now
            // on.
            state::save(
                &options.output,
                &info,
                &model.tensors(),
                &OptimizerState::default(),
            )?;
        }
        tokenizer.save(&options.output)?;
        let metrics = metrics::Metrics::open(&options.output, info.step)?;
        Ok((metrics, SpikeFile::open(&options.output, info.step)?))
    };
    let written = match leads {
        true => claim(),
        false => Ok((metrics::Metrics::unwritten(), SpikeFile::unwritten())),
    };
    let (metrics, spikes) = agree(peers, written)?;
    Run::new(
        peers,
        &options.output,
        claimed,
        sources,
        budget,
        info,
        model,
        optimizer,
        metrics,
        spikes,
        device,
    )
}

/// What decides the last bits of the numbers: the backend and, where that is the processor, the
/// instructions that the kernels run on.
fn arithmetic<B: TrainingBackend>(recipe: &Recipe, device: &B::Device) -> String {
    let backend = B::name(device);
    if !B::HOST {
        return backend;
    }
    // Where no pairs of bfloat16 are multiplied, `precision` changes nothing.
    let pairs = recipe.precision == Arithmetic::Bf16 && multiplies_bf16();
    let products = if pairs { "bf16" } else { "f32" };
    format!(
        "{backend} on {} with {} and products of {products} numbers",
        std::env::consts::ARCH,
        albert_kernels::Isa::used()
    )
}

/// A note where a recipe asks for products that the processor has not.
fn without_bf16<B: TrainingBackend>(recipe: &Recipe) -> Option<String> {
    let asked = recipe.precision == Arithmetic::Bf16;
    (asked && B::HOST && !multiplies_bf16()).then(|| {
        "`precision` is bf16, which this processor does not multiply faster: products are of f32 \
         numbers"
            .to_owned()
    })
}

/// A note if a run goes on where its numbers will have other last bits.
fn other_arithmetic(was: &str, now: &str) -> Option<String> {
    (!was.is_empty() && was != now).then(|| {
        format!(
            "the run was saved by {was}, and goes on by {now}: it will not be the same to the bit \
             as one that stayed there"
        )
    })
}

/// The published rate for the steps of `stage`, where the recipe's optimiser is the published one.
fn published_rate(recipe: &Recipe, stage: &Stage) -> Option<f64> {
    let (rate, batch) = PUBLISHED_RATE;
    (recipe.optimizer.kind == OptimizerKind::Lamb).then(|| scaled_rate(rate, batch, stage.rows()))
}

/// A note if a run ends before its rate is at its highest.
fn long_warmup(recipe: &Recipe, budget: &Budget) -> Option<String> {
    let Budget::Steps(stages) = budget else {
        return None;
    };
    let (warmup, steps) = (recipe.schedule.warmup_steps, stages.iter().sum::<u64>());
    (warmup > steps).then(|| {
        format!(
            "the run ends after {steps} steps, while `schedule.warmup_steps` is {warmup}: the rate \
             never reaches its highest"
        )
    })
}

/// How far above the published rate a recipe may lie without a note. Small models and short runs
/// bear a few times as much.
const HIGH_RATE: f64 = 4.0;

/// A note if the rate is far above the published one.
fn high_rate(rate: f64, published: Option<f64>, stage: &Stage) -> Option<String> {
    let published = published?;
    let times = rate / published;
    (times > HIGH_RATE).then(|| {
        format!(
            "the rate {rate} is {times:.1} times the published one for steps of {} rows, \
             {published:.3e}; if the loss stays where it begins, lower it or raise \
             `schedule.warmup_steps`",
            stage.rows()
        )
    })
}
