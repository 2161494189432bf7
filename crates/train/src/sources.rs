//! The text of a run, to train on and held out, and the batches that come of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert_kernels::available_threads;
use albert_text::Tokenizer;

use crate::batches::{BatchSource, Masks, Pass};
use crate::cache;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::evaluate::DevSet;
use crate::examples::{PairRules, plan};
use crate::pretrain::{PretrainOptions, Progress};
use crate::random::{Purpose, Random, stream};
use crate::recipe::{Recipe, Stage};
use crate::schedule::Budget;
use crate::shards::{Shards, is_shards};
use crate::vocabulary::Vocabulary;

pub(crate) fn pieces(corpus: &Corpus, documents: &[u32]) -> usize {
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
    tokenizer: (u64, usize),
    threads: usize,
) -> Result<Option<Corpus>> {
    let Some(folder) = paths.iter().find(|path| is_shards(path)) else {
        return Ok(None);
    };
    if paths.len() > 1 {
        let message = "a folder of shards is a corpus by itself; give it alone, or only files";
        return Err(Error::shards(folder, message));
    }
    let shards = Shards::open(folder, tokenizer, threads)?;
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

/// A note where a recipe bounds what is read of files, and shards were given.
pub(crate) fn unbounded(paths: &[PathBuf], recipe: &Recipe) -> Option<String> {
    let bounded = recipe.data.max_documents.is_some() || recipe.data.max_bytes.is_some();
    (bounded && paths.iter().any(|path| is_shards(path))).then(|| {
        "`data.max_documents` and `data.max_bytes` are for corpus files: of shards all is taken \
         (`albert corpus build` has `--max-mb`)"
            .to_owned()
    })
}

/// The text of a run: to train on and held out.
pub(crate) struct Text {
    pub(crate) corpus: Arc<Corpus>,
    pub(crate) documents: Arc<Vec<u32>>,
    pub(crate) dev_corpus: Arc<Corpus>,
    pub(crate) dev_documents: Arc<Vec<u32>>,
    pub(crate) checksum: u64,
    pub(crate) dev_checksum: u64,
}

impl Text {
    pub(crate) fn read(
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
        let of = (tokenizer_checksum, tokenizer.vocab_size());
        let corpus = match shards_of(&options.corpus, recipe, of, threads)? {
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

/// There is nothing to train on.
pub(crate) fn no_pairs() -> Error {
    let message = "no document has two sentences, or one of four words or more";
    Error::SmallCorpus {
        message: message.into(),
    }
}

/// Where the batches of every stage come from.
pub(crate) struct Sources {
    pub recipe: Recipe,
    pub(crate) text: Text,
    pub(crate) vocabulary: Arc<Vocabulary>,
}

impl Sources {
    /// The batches of a stage.
    pub(crate) fn training(&self, stage: usize) -> BatchSource {
        let Stage {
            length,
            batch,
            both_orders,
            ..
        } = self.recipe.stage[stage];
        BatchSource {
            corpus: self.text.corpus.clone(),
            documents: self.text.documents.clone(),
            vocabulary: self.vocabulary.clone(),
            pairs: PairRules {
                length,
                short_share: self.recipe.data.short_share,
                both_orders,
                task: self.recipe.data.sentence_task,
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

    /// Whether there is something to train on and to evaluate with, in a stage and a pass.
    ///
    /// # Errors
    /// [`Error::SmallCorpus`].
    pub(crate) fn check(&self, stage: usize, pass: u64) -> Result<()> {
        let BatchSource {
            corpus,
            documents,
            vocabulary,
            pairs,
            seed,
            ..
        } = self.training(stage);
        let usable = |&document: &u32| {
            !plan(&corpus, &[document], &vocabulary, &pairs, seed, pass).is_empty()
        };
        match documents.iter().any(usable) {
            true => self.dev_set(stage).map(drop),
            false => Err(no_pairs()),
        }
    }

    /// The held-out pairs of a stage.
    ///
    /// # Errors
    /// [`Error::SmallCorpus`]: there are none.
    pub(crate) fn dev_set(&self, stage: usize) -> Result<DevSet> {
        let set = DevSet::new(&self.held_out(stage), self.recipe.report.dev_examples);
        match set.pairs() {
            0 => {
                let message = "the held-out documents have no pair of sentences; \
                               raise `report.dev_share` or give `report.dev_corpus`";
                Err(Error::SmallCorpus {
                    message: message.into(),
                })
            }
            _ => Ok(set),
        }
    }

    /// How long the run lasts: epochs as the steps of the first pass, times their number.
    pub(crate) fn budget(&self) -> Result<Budget> {
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
