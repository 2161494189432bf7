//! The models that are served: by name, and which answers where none is named.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use albert_tasks::engine::{EarlyExit, Precision};
use albert_tasks::{
    ANSWER_LENGTH, Answerer, Classifier, Embedder, FillMask, LongText, Model, Opener, Tagger,
    ZeroShot,
};
use serde::Serialize;

use crate::Error;
use crate::problem::{Problem, Result};

/// Words of the text that warms a model up.
const WARM_PIECES: usize = 64;

/// Where a model lies and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    /// Its name in requests.
    pub name: String,
    /// Its checkpoint folder.
    pub dir: PathBuf,
    /// How it runs; without it, in the precision of its weights.
    pub precision: Option<Precision>,
}

/// What can be asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    FillMask,
    Classify,
    ZeroShot,
    Answer,
    Tag,
    Similarity,
    Embeddings,
    Rerank,
    Tokenize,
}

impl Route {
    pub(crate) const ALL: [Route; 9] = [
        Route::FillMask,
        Route::Classify,
        Route::ZeroShot,
        Route::Answer,
        Route::Tag,
        Route::Similarity,
        Route::Embeddings,
        Route::Rerank,
        Route::Tokenize,
    ];

    /// As it stands in the address and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::FillMask => "fill-mask",
            Route::Classify => "classify",
            Route::ZeroShot => "zero-shot",
            Route::Answer => "answer",
            Route::Tag => "tag",
            Route::Similarity => "similarity",
            Route::Embeddings => "embeddings",
            Route::Rerank => "rerank",
            Route::Tokenize => "tokenize",
        }
    }

    /// The model that ships for it.
    fn shipped(self) -> &'static str {
        match self {
            Route::FillMask | Route::Tokenize => "mini",
            Route::Classify => "sentiment",
            Route::ZeroShot => "nli",
            Route::Answer => "qa",
            Route::Tag => "slots",
            Route::Similarity | Route::Embeddings | Route::Rerank => "sentences",
        }
    }

    /// How one gets a model for it.
    fn how(self) -> &'static str {
        match self {
            Route::FillMask => "`albert pretrain` makes one",
            Route::Classify => "`albert finetune classify` makes one",
            Route::ZeroShot => {
                "`albert finetune classify` makes one of pairs labelled entailment, neutral and \
                 contradiction"
            }
            Route::Answer => "`albert finetune answer` makes one",
            Route::Tag => "`albert finetune tag` makes one",
            Route::Similarity | Route::Embeddings | Route::Rerank => {
                "`albert finetune embed` makes one"
            }
            Route::Tokenize => "any folder has a tokenizer",
        }
    }
}

/// A model that is loaded.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) model: Model,
    /// Cost a second that it was last seen to do, as the bits of an f64.
    /// All names of an engine have it in common.
    pace: Arc<AtomicU64>,
    /// The most pieces that it reads at once.
    pub(crate) max_length: usize,
}

impl Served {
    /// What it does in a second, by what it did so far; none before it did anything.
    pub(crate) fn pace(&self) -> Option<f64> {
        let pace = f64::from_bits(self.pace.load(Ordering::Relaxed));
        (pace > 0.0).then_some(pace)
    }

    /// How long it takes for `cost`, by what it did so far; 0 before it did anything.
    pub(crate) fn seconds(&self, cost: usize) -> f64 {
        self.pace().map_or(0.0, |pace| cost as f64 / pace)
    }

    /// Notes that it did `cost` in some seconds.
    pub(crate) fn did(&self, cost: usize, seconds: f64) {
        let now = cost as f64 / seconds.max(1e-6);
        // New batches count for a fifth: neighbours on the machine come and go.
        let pace = self.pace().map_or(now, |before| 0.8 * before + 0.2 * now);
        self.pace.store(pace.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn classifier(&self) -> Result<Classifier> {
        let Model {
            engine,
            tokenizer,
            settings,
        } = self.model.clone();
        let task = Classifier::new(engine, tokenizer).map_err(|error| self.no_head(error))?;
        Ok(task.with_settings(settings))
    }

    pub(crate) fn zero_shot(&self, hypothesis: Option<&str>) -> Result<ZeroShot> {
        let task = ZeroShot::new(self.classifier()?).map_err(|error| self.no_head(error))?;
        match hypothesis {
            None => Ok(task),
            Some(hypothesis) => task
                .with_hypothesis(hypothesis)
                .map_err(|error| Problem::field("hypothesis", error.to_string())),
        }
    }

    pub(crate) fn fill_mask(&self) -> Result<FillMask> {
        let Model {
            engine, tokenizer, ..
        } = self.model.clone();
        FillMask::new(engine, tokenizer).map_err(|error| self.no_head(error))
    }

    pub(crate) fn answerer(&self) -> Result<Answerer> {
        let Model {
            engine,
            tokenizer,
            settings,
        } = self.model.clone();
        let task = Answerer::new(engine, tokenizer).map_err(|error| self.no_head(error))?;
        Ok(task.with_settings(settings))
    }

    pub(crate) fn tagger(&self) -> Result<Tagger> {
        let Model {
            engine,
            tokenizer,
            settings,
        } = self.model.clone();
        let task = Tagger::new(engine, tokenizer).map_err(|error| self.no_head(error))?;
        Ok(task.with_settings(settings))
    }

    pub(crate) fn embedder(&self) -> Embedder {
        let Model {
            engine,
            tokenizer,
            settings,
        } = self.model.clone();
        Embedder::new(engine, tokenizer).with_settings(settings)
    }

    /// A model without the head that a route needs: it goes by its name here, since where it lies is
    /// nobody's business.
    fn no_head(&self, mut error: albert_tasks::Error) -> Problem {
        if let albert_tasks::Error::NoHead { model, .. } = &mut error {
            model.clone_from(&self.name);
        }
        Problem::field("model", error.to_string())
    }

    fn serves(&self, route: Route) -> bool {
        match route {
            Route::FillMask => self.fill_mask().is_ok(),
            Route::Classify => self.classifier().is_ok(),
            Route::ZeroShot => self.zero_shot(None).is_ok(),
            Route::Answer => self.answerer().is_ok(),
            Route::Tag => self.tagger().is_ok(),
            Route::Similarity | Route::Embeddings | Route::Rerank | Route::Tokenize => true,
        }
    }

    /// The most pieces that it reads at once, by its heads and settings.
    fn find_max_length(&self) -> usize {
        let positions = self.model.engine.config().max_position_embeddings;
        // Vectors are made of as much as there are positions, however short the texts that the
        // model learnt from.
        let heads = [Route::Classify, Route::Answer, Route::Tag];
        let head = heads.iter().any(|route| self.serves(*route));
        let learnt = self.model.settings.max_length.filter(|_| head);
        let usual = self.serves(Route::Answer).then_some(ANSWER_LENGTH);
        learnt.or(usual).unwrap_or(positions).min(positions)
    }

    /// Runs a short row, so that what fails always fails before anyone asks, and what is prepared
    /// once is prepared. A long one would double the time to start, for memory that comes fast.
    pub(crate) fn warm_up(&self) -> albert_tasks::Result<()> {
        // A text that has none of what special pieces start with would leave a tokenizer unbuilt.
        let text = "warm ".repeat(WARM_PIECES) + "<";
        let task = self.embedder();
        let mut asked = task.ask(&text, Some(LongText::Cut))?;
        let rows = asked.take_rows();
        let rows: Vec<_> = rows.iter().collect();
        albert_tasks::run_rows(&self.model.engine, &rows, asked.wanted()).map(drop)
    }
}

/// All models, and what they are for.
pub(crate) struct Models {
    by_name: BTreeMap<String, Arc<Served>>,
    defaults: BTreeMap<Route, Arc<Served>>,
}

impl Models {
    /// Loads models; one folder in one precision is loaded once, whatever names it has, and so is
    /// what folders have in common.
    ///
    /// With `early_exit`, rows leave the classifiers that have exits early.
    ///
    /// # Errors
    /// [`Error::Model`] with the name of the model that cannot be loaded, [`Error::TwoModels`],
    /// [`Error::NoExits`].
    pub(crate) fn load(
        sources: &[ModelSource],
        threads: Option<usize>,
        early_exit: Option<EarlyExit>,
    ) -> std::result::Result<Self, Error> {
        let mut loaded: Vec<(&ModelSource, Model, Arc<AtomicU64>)> = Vec::new();
        let mut by_name = BTreeMap::new();
        let mut opener = Opener::new();
        for source in sources {
            let mut before = loaded.iter();
            let same = before
                .find(|(other, ..)| other.dir == source.dir && other.precision == source.precision);
            let (model, pace) = match same {
                Some((_, model, pace)) => (model.clone(), Arc::clone(pace)),
                None => {
                    let model = opener.open(&source.dir, source.precision, threads);
                    let mut model = model.map_err(|error| Error::Model {
                        name: source.name.clone(),
                        error,
                    })?;
                    if model.engine.config().exits() > 0 {
                        model.settings.early_exit = early_exit;
                    }
                    (model, Arc::default())
                }
            };
            loaded.push((source, model.clone(), Arc::clone(&pace)));
            let mut served = Served {
                name: source.name.clone(),
                model,
                pace,
                max_length: 0,
            };
            served.max_length = served.find_max_length();
            if by_name
                .insert(source.name.clone(), Arc::new(served))
                .is_some()
            {
                return Err(Error::TwoModels(source.name.clone()));
            }
        }
        let exits = |(_, model, _): &(_, Model, _)| model.settings.early_exit.is_some();
        if early_exit.is_some() && !loaded.iter().any(exits) {
            return Err(Error::NoExits);
        }
        let default = |route: Route| {
            let fits = |model: &&Arc<Served>| model.serves(route);
            let shipped = by_name.get(route.shipped()).filter(fits);
            // Another answers only where there is no doubt which.
            let mut others = by_name.values().filter(fits);
            let only = others.next().filter(|_| others.next().is_none());
            Some((route, Arc::clone(shipped.or(only)?)))
        };
        let defaults = Route::ALL.into_iter().filter_map(default).collect();
        Ok(Self { by_name, defaults })
    }

    /// The model of a name, or the one that answers on a route where none is named.
    pub(crate) fn get(&self, name: Option<&str>, route: Route) -> Result<&Arc<Served>> {
        if let Some(name) = name {
            let names = || self.by_name.keys().cloned().collect::<Vec<_>>().join(", ");
            return self.by_name.get(name).ok_or_else(|| {
                let detail = format!("there is no model `{name}` here; there are: {}", names());
                Problem::field("model", detail)
            });
        }
        self.defaults.get(&route).ok_or_else(|| {
            let detail = format!("no model answers here by itself: {}", self.missing(route));
            Problem::field("model", detail)
        })
    }

    /// The model that answers on a route whose requests cannot name one.
    pub(crate) fn only(&self, route: Route) -> Result<&Arc<Served>> {
        self.defaults.get(&route).ok_or_else(|| {
            let fitting = self.fitting(route);
            let detail = match fitting.as_slice() {
                [] => format!("no model answers here: {}", self.missing(route)),
                several => format!(
                    "requests here name no model, and {} could answer; serve one of them alone, or \
                     one under the name `{}`",
                    several.join(", "),
                    route.shipped()
                ),
            };
            Problem::unable(detail)
        })
    }

    fn fitting(&self, route: Route) -> Vec<&str> {
        let fitting = self.by_name.values().filter(|model| model.serves(route));
        fitting.map(|model| model.name.as_str()).collect()
    }

    fn missing(&self, route: Route) -> String {
        let fitting = self.fitting(route);
        match fitting.is_empty() {
            false => format!("name one of {} as `model`", fitting.join(", ")),
            true => format!(
                "none can; {}, and `albert serve --model NAME=DIR` serves it",
                route.how()
            ),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values()
    }

    /// What `/v1/models` says.
    pub(crate) fn list(&self) -> ModelList {
        let about = |served: &Arc<Served>| {
            let config = served.model.engine.config();
            let default_for = self.defaults.iter();
            let default_for = default_for.filter(|(_, model)| Arc::ptr_eq(model, served));
            ModelInfo {
                name: served.name.clone(),
                object: "model",
                task: task_of(served),
                architecture: config.architecture.to_string(),
                default_for: default_for.map(|(route, _)| route.name()).collect(),
                parameters: config.parameters().iter().map(|p| p.elements()).sum(),
                max_length: served.max_length,
                precision: served.model.engine.precision().name(),
                patience: served.model.settings.early_exit.map(|exit| exit.patience),
                labels: match served.serves(Route::Classify) || served.serves(Route::Tag) {
                    true => config.id2label.clone(),
                    false => Vec::new(),
                },
            }
        };
        let missing = Route::ALL.into_iter();
        let missing = missing.filter(|route| !self.defaults.contains_key(route));
        let models: Vec<ModelInfo> = self.by_name.values().map(about).collect();
        ModelList {
            object: "list",
            missing: missing
                .map(|route| MissingTask {
                    task: route.name(),
                    how: self.missing(route),
                })
                .collect(),
            data: models
                .iter()
                .map(|model| model.name.clone())
                .map(OpenAiModel::new)
                .collect(),
            models,
        }
    }
}

fn task_of(served: &Served) -> &'static str {
    let tasks = [
        (Route::ZeroShot, "natural-language inference"),
        (Route::Classify, "classification"),
        (Route::Answer, "question answering"),
        (Route::Tag, "tagging"),
        (Route::FillMask, "filling masks"),
    ];
    let found = tasks.into_iter().find(|(route, _)| served.serves(*route));
    found.map_or("sentence vectors", |(_, task)| task)
}

/// The models that are served.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ModelList {
    /// `list`, as OpenAI's clients expect.
    object: &'static str,
    /// The names, as OpenAI's clients expect them.
    data: Vec<OpenAiModel>,
    /// Every model, by name.
    models: Vec<ModelInfo>,
    /// What no model answers by itself, and how to change that.
    missing: Vec<MissingTask>,
}

/// A name, as OpenAI's clients expect it.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct OpenAiModel {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl OpenAiModel {
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            object: "model",
            created: 0,
            owned_by: "albert",
        }
    }
}

/// A model that is served.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ModelInfo {
    /// What requests call it.
    name: String,
    object: &'static str,
    /// What it does.
    task: &'static str,
    /// As in its `config.json`.
    architecture: String,
    /// The routes where it answers unless another is named.
    default_for: Vec<&'static str>,
    /// How many numbers it learnt.
    parameters: usize,
    /// The most pieces that it reads at once.
    max_length: usize,
    /// The arithmetic of its layers.
    precision: &'static str,
    /// How many of its classifiers in a row must agree with the one before them for a text to need
    /// no further layer; without it, all layers read every text.
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<usize>,
    /// The classes of its head, if it has such a head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

/// Something that no model answers by itself.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct MissingTask {
    /// The route.
    task: &'static str,
    /// How to get a model for it.
    how: String,
}
