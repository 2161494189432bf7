//! Pretraining from raw text: what a run needs, and what it tells while it goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_kernels::available_threads;
use albert_model::{AlbertForPreTraining, NamedParameters, TrainingBackend};
use albert_text::Tokenizer;

use crate::batches::{BatchSource, Masks, Pass};
use crate::checksum::Checksum;
use crate::corpus::{Corpus, TokenisingReport};
use crate::error::{Error, Result};
use crate::examples::PairRules;
use crate::guard::{Spike, SpikeFile};
use crate::metrics::DevScores;
use crate::optim::OptimizerState;
use crate::peers::{Alone, Peers, agree, in_turn, same, same_weights};
use crate::random::{Purpose, Random, stream};
use crate::recipe::{Arithmetic, OptimizerKind, PUBLISHED_RATE, Recipe, Stage, scaled_rate};
use crate::run::Run;
use crate::schedule::Budget;
use crate::shards::{Shards, is_shards};
use crate::state::{self, FORMAT, RunInfo, Saved};
use crate::vocabulary::Vocabulary;
use crate::{cache, memory, metrics};

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
/// steps were out of the ordinary ([`Error::TooManySpikes`]), or without a guard one was not finite
/// ([`Error::NotFinite`]); or `stop` was set before training began.
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
/// As [`pretrain()`], told by one process; the others give [`Error::OtherProcess`]. A stage's batch
/// has fewer rows than there are processes; a process has other files or weights than process 0
/// ([`Error::ProcessDiffers`]). An error of one process alone, such as a disk that is full, leaves
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
    let vocabulary = Arc::new(Vocabulary::new(&tokenizer));
    let sources = Sources {
        recipe: recipe.clone(),
        text,
        vocabulary,
    };
    let budget = sources.budget()?;

    if leads {
        std::fs::create_dir_all(&options.output).map_err(Error::io(&options.output))?;
        remove_leftovers(&options.output);
    }
    let arithmetic = arithmetic::<B>(recipe, device);
    let stage = &recipe.stage[saved.as_ref().map_or(0, |saved| saved.info.stage)];
    let rate = recipe.optimizer.rate_for(stage.rows());
    let published_rate = published_rate(recipe, stage);
    let processor = saved
        .as_ref()
        .and_then(|saved| other_arithmetic(&saved.info.arithmetic, &arithmetic));
    let notes = [processor, high_rate(rate, published_rate, stage)];
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

/// The corpus files as they lie on disk, each with all else that tokenising them depends on.
struct FileChecksums {
    corpus: u64,
    /// 0 where documents are held out of the corpus itself; either is 0 for a folder of shards.
    dev_corpus: u64,
}

impl FileChecksums {
    fn new(options: &PretrainOptions, tokenizer: u64) -> Result<FileChecksums> {
        let limits = options.recipe.data.limits();
        // Shards are checked as they are opened.
        let of = |paths: &[PathBuf]| match paths.iter().any(|path| is_shards(path)) {
            true => Ok(0),
            false => cache::key(paths, &limits, tokenizer),
        };
        let dev_corpus = options.recipe.report.dev_corpus.as_ref();
        Ok(FileChecksums {
            corpus: of(&options.corpus)?,
            dev_corpus: dev_corpus.map_or(Ok(0), |path| of(std::slice::from_ref(path)))?,
        })
    }

    fn agree_with(&self, info: &RunInfo) -> Result<()> {
        for (what, was, now) in [
            ("corpus", info.corpus_files, self.corpus),
            ("held-out corpus", info.dev_corpus_files, self.dev_corpus),
        ] {
            // A run that began with an earlier version knows nothing of its files.
            if was != 0 {
                same_input(what, was, now)?;
            }
        }
        Ok(())
    }
}

/// What decides the last bits of the numbers: the backend and, where that is the processor, the
/// instructions that the kernels run on.
fn arithmetic<B: TrainingBackend>(recipe: &Recipe, device: &B::Device) -> String {
    let backend = B::name(device);
    if !B::HOST {
        return backend;
    }
    // Only AVX512-BF16 multiplies pairs of bfloat16; elsewhere `precision` changes nothing.
    let pairs = recipe.precision == Arithmetic::Bf16
        && albert_kernels::detected_features().contains(&"avx512bf16");
    let products = if pairs { "bf16" } else { "f32" };
    format!(
        "{backend} on {} with {} and products of {products} numbers",
        std::env::consts::ARCH,
        albert_kernels::Isa::used()
    )
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

/// Whether the machine has the memory for a process's share of every stage's batch.
fn check_memory(recipe: &Recipe, config: &AlbertConfig, processes: usize) -> Result<()> {
    for (i, stage) in recipe.stage.iter().enumerate() {
        let shape = memory::Shape {
            rows: stage.batch.div_ceil(processes),
            length: stage.length,
            masked: recipe.masking.share,
        };
        memory::check(&format!("stage[{i}].batch"), config, shape)?;
    }
    Ok(())
}

/// What a run reads before the corpus.
struct Opened {
    saved: Option<Saved>,
    tokenizer: Tokenizer,
    tokenizer_checksum: u64,
    config: AlbertConfig,
    files: FileChecksums,
}

impl Opened {
    fn open<B: TrainingBackend>(options: &PretrainOptions, peers: &dyn Peers) -> Result<Opened> {
        let recipe = &options.recipe;
        recipe.validate()?;
        enough_rows(recipe, peers.count())?;
        let saved = match options.resume {
            true => Some(state::load(&options.output)?),
            false => {
                if peers.rank() == 0 {
                    refuse_foreign_content(&options.output)?;
                }
                None
            }
        };
        let tokenizer_checksum = tokenizer_checksum(&recipe.tokenizer)?;
        if let Some(saved) = &saved {
            recipe.agrees_with(&saved.info.recipe)?;
            same_input("tokenizer", saved.info.tokenizer, tokenizer_checksum)?;
        }
        let tokenizer = open_tokenizer(&recipe.tokenizer)?;
        let config = recipe.config(tokenizer.vocab_size())?;
        if let Some(saved) = &saved {
            saved.fits(&options.output, &config.parameters())?;
        }
        if B::HOST {
            check_memory(recipe, &config, peers.count())?;
        }
        let files = FileChecksums::new(options, tokenizer_checksum)?;
        if let Some(saved) = &saved {
            // Before anything is tokenised anew, which may take long.
            files.agree_with(&saved.info)?;
        }
        Ok(Opened {
            saved,
            tokenizer,
            tokenizer_checksum,
            config,
            files,
        })
    }
}

/// Whether every process has a row of each batch.
fn enough_rows(recipe: &Recipe, processes: usize) -> Result<()> {
    match recipe
        .stage
        .iter()
        .position(|stage| stage.batch < processes)
    {
        None => Ok(()),
        Some(i) => {
            let message = format!(
                "must be at least 1 row for each of the {processes} processes, not {}",
                recipe.stage[i].batch
            );
            Err(Error::field(format!("stage[{i}].batch"), message))
        }
    }
}

/// A checksum of all that a recipe says but where its files lie, which may differ by machine.
fn recipe_checksum(recipe: &Recipe) -> Result<u64> {
    let mut recipe = recipe.clone();
    recipe.tokenizer = PathBuf::new();
    recipe.start_from = None;
    recipe.report.dev_corpus = recipe.report.dev_corpus.map(|_| PathBuf::new());
    let text = toml::to_string(&recipe)
        .map_err(|error| Error::field("recipe", format!("cannot be compared: {error}")))?;
    let mut sum = Checksum::new();
    text.bytes().for_each(|byte| sum.word(byte.into()));
    Ok(sum.finish())
}

/// The weights a new run begins with.
fn first_model<B: TrainingBackend>(
    recipe: &Recipe,
    config: &AlbertConfig,
    tokenizer: &Tokenizer,
    device: &B::Device,
) -> Result<AlbertForPreTraining<B>> {
    let Some(folder) = &recipe.start_from else {
        return Ok(match recipe.model.local_start {
            true => AlbertForPreTraining::init_local(config, recipe.seed, device)?,
            false => AlbertForPreTraining::init(config, recipe.seed, device)?,
        });
    };
    let checkpoint = Checkpoint::open(folder)?;
    let mut differences = model_differences(checkpoint.config(), config);
    if let Some(file) = checkpoint.tokenizer_file() {
        differences.extend(tokenizer_difference(&file, &recipe.tokenizer, tokenizer)?);
    }
    if !differences.is_empty() {
        let message = format!(
            "the model in {} is not the recipe's: {}",
            folder.display(),
            differences.join("; ")
        );
        return Err(Error::field("start_from", message));
    }
    let weights = AlbertForPreTraining::<B>::load(&checkpoint, device)?.tensors();
    let weights = weights
        .into_iter()
        .map(|(name, _, values)| (name, values))
        .collect();
    Ok(AlbertForPreTraining::init(config, recipe.seed, device)?.with_tensors(weights)?)
}

/// What keeps the weights of a model `there` from meaning the same in the recipe's, by the fields
/// of `config.json`.
fn model_differences(there: &AlbertConfig, here: &AlbertConfig) -> Vec<String> {
    let sizes = |config: &AlbertConfig| {
        [
            ("vocab_size", config.vocab_size),
            ("embedding_size", config.embedding_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_hidden_groups", config.num_hidden_groups),
            ("inner_group_num", config.inner_group_num),
            ("num_attention_heads", config.num_attention_heads),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ]
    };
    let pairs = sizes(there).into_iter().zip(sizes(here));
    let mut differences: Vec<String> = pairs
        .filter(|(there, here)| there != here)
        .map(|((field, there), (_, here))| format!("`{field}` is {there} there and {here} here"))
        .collect();
    if there.hidden_act != here.hidden_act {
        let (there, here) = (there.hidden_act, here.hidden_act);
        differences.push(format!("`hidden_act` is {there} there and {here} here"));
    }
    if differences.is_empty() && there.parameters() != here.parameters() {
        differences.push("it has other tensors".into());
    }
    differences
}

/// How the tokenizer in `file`, a checkpoint's, differs from the recipe's. Other bytes with the
/// same pieces in the same order are no difference: a run with a `spiece.model` saves a
/// `tokenizer.json`.
fn tokenizer_difference(
    file: &Path,
    recipe: &Path,
    tokenizer: &Tokenizer,
) -> Result<Option<String>> {
    let (was, now) = (tokenizer_checksum(file)?, tokenizer_checksum(recipe)?);
    if was == now {
        return Ok(None);
    }
    let there = open_tokenizer(file)?;
    let most = there.vocab_size().max(tokenizer.vocab_size()) as u32;
    let differs = |id: &u32| there.id_to_piece(*id) != tokenizer.id_to_piece(*id);
    Ok((0..most).find(differs).map(|id| {
        let shown = |piece: Option<&str>| piece.map_or("none".into(), |piece| format!("`{piece}`"));
        format!(
            "the tokenizer (checksum {was:016x}, the recipe's {now:016x}): piece {id} is {} there \
             and {} here",
            shown(there.id_to_piece(id)),
            shown(tokenizer.id_to_piece(id)),
        )
    }))
}

/// A new run takes an empty folder, or one where a run was stopped while it tokenised.
fn refuse_foreign_content(output: &Path) -> Result<()> {
    let exists = || Error::OutputExists {
        path: output.to_owned(),
    };
    let entries = match std::fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(output)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(output))?;
        if entry.file_name() != "training" {
            return Err(exists());
        }
        for inner in std::fs::read_dir(entry.path()).map_err(Error::io(output))? {
            let name = inner.map_err(Error::io(output))?.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with("corpus-") && !name.starts_with(".corpus-") {
                return Err(exists());
            }
        }
    }
    Ok(())
}

/// Removes what a killed run had begun to write under a temporary name.
fn remove_leftovers(output: &Path) {
    for folder in [output.to_owned(), output.join("training")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = (name.starts_with(".albert-") && name.ends_with(".part"))
                || (name.starts_with(".corpus-") && name.ends_with(".tmp"));
            if ours {
                // Only untidy if it stays.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

pub(crate) fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    Ok(if path.is_dir() {
        Tokenizer::from_folder(path)?
    } else {
        Tokenizer::from_file(path)?
    })
}

pub(crate) fn tokenizer_checksum(path: &Path) -> Result<u64> {
    let file = match path.is_dir() {
        true => ["tokenizer.json", "spiece.model"]
            .map(|name| path.join(name))
            .into_iter()
            .find(|file| file.exists())
            .unwrap_or_else(|| path.join("tokenizer.json")),
        false => path.to_owned(),
    };
    let mut sum = Checksum::new();
    sum.file(&file)?;
    Ok(sum.finish())
}

fn same_input(what: &'static str, was: u64, now: u64) -> Result<()> {
    if was == now {
        Ok(())
    } else {
        Err(Error::InputChanged { what, was, now })
    }
}

fn pieces(corpus: &Corpus, documents: &[u32]) -> usize {
    let sentences = documents
        .iter()
        .flat_map(|&document| corpus.document(document as usize));
    sentences
        .map(|sentence| corpus.sentence_len(sentence))
        .sum()
}

/// The corpus in a folder of shards, if that is what was given.
fn shards_of(
    paths: &[PathBuf],
    recipe: &Recipe,
    tokenizer_checksum: u64,
    threads: usize,
) -> Result<Option<Corpus>> {
    let Some(folder) = paths.iter().find(|path| is_shards(path)) else {
        return Ok(None);
    };
    if paths.len() > 1 {
        let message = "a folder of shards is a corpus by itself; give it alone, or only files";
        return Err(Error::shards(folder, message));
    }
    for (field, limit) in [
        ("data.max_documents", recipe.data.max_documents),
        ("data.max_bytes", recipe.data.max_bytes),
    ] {
        if limit.is_some() {
            let message = "is for corpus files; of shards all is taken (`albert corpus build` has \
                           `--max-mb`)";
            return Err(Error::field(field, message));
        }
    }
    let shards = Shards::open(folder, tokenizer_checksum, threads)?;
    let dropped = shards.manifest().setup.drop_markup;
    if dropped != recipe.data.drop_markup {
        let message = format!(
            "is {}, but the shards in {} were built with markup {}",
            recipe.data.drop_markup,
            folder.display(),
            if dropped { "left out" } else { "kept" }
        );
        return Err(Error::field("data.drop_markup", message));
    }
    Ok(Some(shards.into()))
}

/// The text of a run: to train on and held out.
pub(crate) struct Text {
    corpus: Arc<Corpus>,
    documents: Arc<Vec<u32>>,
    dev_corpus: Arc<Corpus>,
    dev_documents: Arc<Vec<u32>>,
    checksum: u64,
    dev_checksum: u64,
}

impl Text {
    fn read(
        options: &PretrainOptions,
        tokenizer: &Tokenizer,
        (tokenizer_checksum, key): (u64, u64),
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Text> {
        let recipe = &options.recipe;
        let folder = options.output.join("training");
        let folder = options.cache.as_ref().unwrap_or(&folder);
        let threads = options.threads.unwrap_or_else(available_threads);
        let mut report = |report| {
            progress.tokenising(&report);
            if stop.load(Ordering::Relaxed) {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        };
        let limits = recipe.data.limits();
        let corpus = match shards_of(&options.corpus, recipe, tokenizer_checksum, threads)? {
            Some(corpus) => corpus,
            None => cache::load_or_tokenise(
                folder,
                key,
                &options.corpus,
                &limits,
                tokenizer,
                threads,
                &mut report,
            )?
            .into(),
        };
        let checksum = corpus.checksum();
        let corpus = Arc::new(corpus);
        let all: Vec<u32> = (0..corpus.documents() as u32).collect();
        if let Some(path) = &recipe.report.dev_corpus {
            let paths = std::slice::from_ref(path);
            let dev = Corpus::tokenise(paths, &limits, tokenizer, threads, &mut report)?;
            return Ok(Text {
                corpus,
                documents: Arc::new(all),
                dev_documents: Arc::new((0..dev.documents() as u32).collect()),
                dev_checksum: dev.checksum(),
                dev_corpus: Arc::new(dev),
                checksum,
            });
        }
        let held_out = |document: &u32| {
            let mut random = stream(recipe.seed, Purpose::HoldOut, 0, u64::from(*document));
            random.unit() < recipe.report.dev_share
        };
        let (mut dev, mut train): (Vec<u32>, Vec<u32>) = all.into_iter().partition(held_out);
        // A small corpus still needs text on both sides.
        if dev.is_empty() && train.len() > 1 {
            dev.extend(train.pop());
        }
        if dev.is_empty() || train.is_empty() {
            let message = "a single document cannot be trained on and held out as well; \
                           give more documents or `report.dev_corpus`";
            return Err(Error::SmallCorpus {
                message: message.into(),
            });
        }
        Ok(Text {
            dev_corpus: corpus.clone(),
            corpus,
            documents: Arc::new(train),
            dev_documents: Arc::new(dev),
            checksum,
            dev_checksum: 0,
        })
    }
}

/// Where the batches of every stage come from.
pub(crate) struct Sources {
    pub recipe: Recipe,
    text: Text,
    vocabulary: Arc<Vocabulary>,
}

impl Sources {
    /// The batches of a stage.
    pub(crate) fn training(&self, stage: usize) -> BatchSource {
        let Stage { length, batch, .. } = self.recipe.stage[stage];
        BatchSource {
            corpus: self.text.corpus.clone(),
            documents: self.text.documents.clone(),
            vocabulary: self.vocabulary.clone(),
            pairs: PairRules {
                length,
                short_share: self.recipe.data.short_share,
            },
            masks: Masks::Training(self.recipe.masking.rules()),
            rows: batch,
            seed: self.recipe.seed,
        }
    }

    /// The held-out batches of a stage.
    pub(crate) fn held_out(&self, stage: usize) -> BatchSource {
        BatchSource {
            corpus: self.text.dev_corpus.clone(),
            documents: self.text.dev_documents.clone(),
            ..self.training(stage)
        }
    }

    /// How long the run lasts: epochs as the steps of the first pass, times their number.
    fn budget(&self) -> Result<Budget> {
        let stages = &self.recipe.stage;
        if let Some(minutes) = stages
            .iter()
            .map(|stage| stage.minutes)
            .collect::<Option<Vec<_>>>()
        {
            return Ok(Budget::Seconds(
                minutes.iter().map(|minutes| minutes * 60.0).collect(),
            ));
        }
        let mut steps = Vec::new();
        for (i, stage) in stages.iter().enumerate() {
            steps.push(match (stage.steps, stage.epochs) {
                (Some(steps), _) => steps,
                (None, epochs) => {
                    let source = self.training(i);
                    let batches = Pass::new(&source, 0).batches() as f64 * epochs.unwrap_or(1.0);
                    ((batches / stage.accumulation as f64).ceil() as u64).max(1)
                }
            });
        }
        Ok(Budget::Steps(steps))
    }
}
