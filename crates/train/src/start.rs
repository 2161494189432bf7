//! What a run needs before its text: files that agree, a tokenizer, memory, first weights.

use std::path::{Path, PathBuf};

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_model::{AlbertForPreTraining, NamedParameters, TrainingBackend};
use albert_text::Tokenizer;

use crate::checksum::Checksum;
use crate::documents::Documents;
use crate::error::{Error, Result};
use crate::files::{Claim, remove_unfinished, unfinished};
use crate::guard::SpikeFile;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pretrain::PretrainOptions;
use crate::recipe::Recipe;
use crate::shards::{self, is_shards};
use crate::state::{self, RunInfo, Saved};
use crate::{cache, memory};

/// The corpus files as they lie on disk, each with all else that tokenising them depends on.
pub(crate) struct FileChecksums {
    pub(crate) corpus: u64,
    /// 0 where documents are held out of the corpus itself.
    pub(crate) dev_corpus: u64,
}

impl FileChecksums {
    pub(crate) fn new(options: &PretrainOptions, tokenizer: u64) -> Result<FileChecksums> {
        let limits = options.recipe.data.limits();
        let of = |paths: &[PathBuf]| match paths.iter().find(|path| is_shards(path)) {
            // Names all the rest; that is checked as the shards are opened.
            Some(folder) => shards::checksum(folder),
            None => cache::key(paths, &limits, tokenizer),
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

/// Whether the machine has the memory for its processes' shares of every stage's batch.
pub(crate) fn check_memory(
    recipe: &Recipe,
    config: &AlbertConfig,
    peers: &dyn Peers,
) -> Result<()> {
    for (i, stage) in recipe.stage.iter().enumerate() {
        let shape = memory::Shape {
            layers: stage.layers.unwrap_or(config.num_hidden_layers),
            rows: stage.batch.div_ceil(peers.count()),
            length: stage.length,
            masked: recipe.masking.share,
        };
        let field = format!("stage[{i}].batch");
        memory::check(&field, config, shape, peers.on_this_machine())?;
    }
    Ok(())
}

/// What a run reads before the corpus.
pub(crate) struct Opened {
    /// In process 0 alone, which writes.
    pub(crate) claim: Option<Claim>,
    pub(crate) saved: Option<Saved>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) tokenizer_checksum: u64,
    pub(crate) config: AlbertConfig,
    pub(crate) files: FileChecksums,
}

impl Opened {
    pub(crate) fn open<B: TrainingBackend>(
        options: &PretrainOptions,
        peers: &dyn Peers,
    ) -> Result<Opened> {
        let recipe = &options.recipe;
        recipe.validate()?;
        enough_rows(recipe, peers.count())?;
        let leads = peers.rank() == 0;
        // First of all: a run that still writes there would go on behind what is read here.
        let held = match leads && options.resume && options.output.exists() {
            true => Some(Claim::new(&options.output)?),
            false => None,
        };
        let saved = match options.resume {
            true => Some(state::load(&options.output)?),
            false => None,
        };
        match options.resume {
            // Both are written anew where the run begins, long from now.
            true if leads && saved.as_ref().is_some_and(|saved| saved.info.step > 0) => {
                Metrics::read(&options.output)?;
                SpikeFile::read(&options.output)?;
            }
            false if leads => refuse_foreign_content(&options.output)?,
            _ => {}
        }
        let tokenizer_checksum = tokenizer_checksum(&recipe.tokenizer)?;
        if let Some(saved) = &saved {
            recipe.agrees_with(&saved.info.recipe)?;
            same_input("tokenizer", saved.info.tokenizer, tokenizer_checksum)?;
        }
        let tokenizer = open_tokenizer(&recipe.tokenizer)?;
        let config = recipe.config(tokenizer.vocab_size())?;
        match &saved {
            Some(saved) => {
                saved.fits(&options.output, &config.parameters())?;
                saved.has_stage(&options.output, recipe)?;
            }
            // Before any text is read.
            None => drop(start_of(recipe, &config, &tokenizer)?),
        }
        if B::HOST {
            check_memory(recipe, &config, peers)?;
        }
        check_text(options)?;
        let claim = match (leads, held) {
            (false, _) => None,
            (true, Some(held)) => Some(held),
            (true, None) => {
                let claim = Claim::new(&options.output)?;
                // Another run may have come and gone meanwhile.
                refuse_foreign_content(&options.output)?;
                Some(claim)
            }
        };
        if leads {
            settle(options)?;
        }
        let files = FileChecksums::new(options, tokenizer_checksum)?;
        if let Some(saved) = &saved {
            // Before anything is tokenised anew, which may take long.
            files.agree_with(&saved.info)?;
        }
        Ok(Opened {
            claim,
            saved,
            tokenizer,
            tokenizer_checksum,
            config,
            files,
        })
    }
}

/// Whether the text to train on and that held out are of kinds that can be read.
fn check_text(options: &PretrainOptions) -> Result<()> {
    for path in options.corpus.iter().filter(|path| !is_shards(path)) {
        Documents::open(path)?;
    }
    match &options.recipe.report.dev_corpus {
        Some(path) if is_shards(path) => {
            let message = format!(
                "{} is a folder of shards: what is held out must be corpus files",
                path.display()
            );
            Err(Error::field("report.dev_corpus", message))
        }
        Some(path) => Documents::open(path).map(drop),
        None => Ok(()),
    }
}

/// Sees whether the tokenised corpus can be kept where it shall be, and clears what a killed run left
/// in the output folder.
fn settle(options: &PretrainOptions) -> Result<()> {
    if let Some(cache) = &options.cache {
        std::fs::create_dir_all(cache).map_err(Error::io(cache))?;
        unfinished(cache).map_err(Error::io(cache))?;
    }
    remove_leftovers(&options.output);
    Ok(())
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
pub(crate) fn recipe_checksum(recipe: &Recipe) -> Result<u64> {
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
pub(crate) fn first_model<B: TrainingBackend>(
    recipe: &Recipe,
    config: &AlbertConfig,
    tokenizer: &Tokenizer,
    device: &B::Device,
) -> Result<AlbertForPreTraining<B>> {
    let Some(checkpoint) = start_of(recipe, config, tokenizer)? else {
        let model = match recipe.model.local_start {
            true => AlbertForPreTraining::init_local(config, recipe.seed, device)?,
            false => AlbertForPreTraining::init(config, recipe.seed, device)?,
        };
        return match recipe.model.tied {
            Some(tied) => tied.begin(model),
            None => Ok(model),
        };
    };
    let weights = AlbertForPreTraining::<B>::load(&checkpoint, device)?;
    if let Some(tied) = recipe.model.tied {
        tied.check(&weights)?;
    }
    let weights = weights.tensors();
    let weights = weights
        .into_iter()
        .map(|(name, _, values)| (name, values))
        .collect();
    Ok(AlbertForPreTraining::init(config, recipe.seed, device)?.with_tensors(weights)?)
}

/// The folder whose weights a run begins with, if it begins with any.
///
/// # Errors
/// It cannot be read; its model or its tokenizer is not the recipe's.
pub(crate) fn start_of(
    recipe: &Recipe,
    config: &AlbertConfig,
    tokenizer: &Tokenizer,
) -> Result<Option<Checkpoint>> {
    let Some(folder) = &recipe.start_from else {
        return Ok(None);
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
    Ok(Some(checkpoint))
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

/// A new run takes an empty folder, or one where a run was stopped while it tokenised or before
/// its first state was whole.
pub(crate) fn refuse_foreign_content(output: &Path) -> Result<()> {
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
            if !name.starts_with("corpus-") && !name.starts_with(".albert-") {
                return Err(exists());
            }
        }
    }
    Ok(())
}

/// Removes what a killed run had begun to write.
fn remove_leftovers(output: &Path) {
    for folder in [output.to_owned(), output.join("training")] {
        remove_unfinished(&folder);
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

pub(crate) fn same_input(what: &'static str, was: u64, now: u64) -> Result<()> {
    if was == now {
        Ok(())
    } else {
        Err(Error::InputChanged { what, was, now })
    }
}
