//! Recipes: everything that decides what a pretraining run does, as a TOML file.

mod check;

use std::path::{Path, PathBuf};

use albert_checkpoint::{Activation, AlbertConfig, Architecture, DType};
use albert_model::Precision;
use serde::{Deserialize, Serialize};

use crate::corpus::Limits;
use crate::error::{Error, Result};
use crate::examples::SentenceTask;
use crate::guard::GuardRecipe;
use crate::masking::MaskRules;
use crate::tied::Tied;

/// A pretraining run as a TOML file describes it; `configs/` has commented ones.
///
/// ```
/// let recipe = albert_train::Recipe::parse(
///     r#"
///     tokenizer = "tokenizer.json"
///     [model]
///     preset = "tiny"
///     [[stage]]
///     length = 64
///     batch = 16
///     steps = 100
///     [optimizer]
///     kind = "lamb"
///     rate = 1e-3
///     "#,
/// )?;
/// assert_eq!(recipe.stage[0].length, 64);
/// assert_eq!(recipe.masking.share, 0.15);
///
/// // A mistyped field is an error, not a default.
/// let error = albert_train::Recipe::parse("tokeniser = \"tokenizer.json\"").unwrap_err();
/// assert!(error.to_string().contains("tokeniser"));
/// # Ok::<(), albert_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A `tokenizer.json`, a `spiece.model` or a folder with either; relative to the recipe.
    pub tokenizer: PathBuf,
    /// The seed of weights, documents held out, pairs, masks and dropout.
    #[serde(default)]
    pub seed: u64,
    /// How numbers enter matrix products. Weights, norms, softmax, losses and the optimiser are
    /// always 32 bits.
    #[serde(default)]
    pub precision: Arithmetic,
    /// A checkpoint folder whose weights the run starts from; relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<PathBuf>,
    /// The model.
    #[serde(default)]
    pub model: ModelRecipe,
    /// The text.
    #[serde(default)]
    pub data: DataRecipe,
    /// What is masked.
    #[serde(default)]
    pub masking: MaskingRecipe,
    /// Lengths, batches and how long: one table a stage.
    pub stage: Vec<Stage>,
    /// The optimiser.
    pub optimizer: OptimizerRecipe,
    /// How the rate changes.
    #[serde(default)]
    pub schedule: ScheduleRecipe,
    /// Which steps are skipped.
    #[serde(default)]
    pub guard: GuardRecipe,
    /// Held-out text, reports and checkpoints.
    #[serde(default)]
    pub report: ReportRecipe,
}

/// The model: a preset, and fields of `config.json` that differ from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The fields are those of `config.json`, which `AlbertConfig` describes.
pub struct ModelRecipe {
    /// `base`, `large`, `xlarge`, `xxlarge`, `mini` or `tiny`; `base` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_hidden_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_hidden_groups: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_group_num: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_dropout_prob: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_probs_dropout_prob: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initializer_range: Option<f32>,
    /// Whether attention begins near: position embeddings as sinusoids, keys with the queries'
    /// weights ([`AlbertForPreTraining::init_local`](albert_model::AlbertForPreTraining::init_local)).
    /// All of them are learnt either way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local_start: bool,
    /// Which part of the layers is the same in every group: `attention` or `ffn`. Without it only
    /// the layers of a group share anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied: Option<Tied>,
}

/// Which text to take, and how to cut it into pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataRecipe {
    /// At most so many documents of each corpus file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_documents: Option<u64>,
    /// At most so many bytes of text of each corpus file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Leave out documents full of HTML or wiki markup.
    pub drop_markup: bool,
    /// The share of pairs that are made shorter than the stage's length.
    pub short_share: f64,
    /// What the sentence classifier learns: `order` (ALBERT's) or `next` (BERT's).
    #[serde(skip_serializing_if = "is_order")]
    pub sentence_task: SentenceTask,
}

fn is_order(task: &SentenceTask) -> bool {
    *task == SentenceTask::Order
}

impl Default for DataRecipe {
    fn default() -> Self {
        // Google's create_pretraining_data.py makes 10% of its pairs short.
        Self {
            max_documents: None,
            max_bytes: None,
            drop_markup: true,
            short_share: 0.1,
            sentence_task: SentenceTask::Order,
        }
    }
}

impl DataRecipe {
    /// The limits on what is read.
    pub fn limits(&self) -> Limits {
        Limits {
            max_documents: self.max_documents,
            max_bytes: self.max_bytes,
            drop_markup: self.drop_markup,
        }
    }
}

/// What is masked (Lan et al. 2019, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskingRecipe {
    /// The share of pieces to predict.
    pub share: f64,
    /// The longest n-gram, in words.
    pub max_words: usize,
    /// Of the pieces to predict, the share that becomes `[MASK]`.
    pub replaced: f64,
    /// Of the pieces to predict, the share that becomes a random piece; the rest stay.
    pub random: f64,
}

impl Default for MaskingRecipe {
    fn default() -> Self {
        Self {
            share: 0.15,
            max_words: 3,
            replaced: 0.8,
            random: 0.1,
        }
    }
}

impl MaskingRecipe {
    /// As the rules that [`mask_pair`](crate::masking::mask_pair) takes.
    pub fn rules(&self) -> MaskRules {
        let Self {
            share,
            max_words,
            replaced,
            random,
        } = *self;
        MaskRules {
            share,
            max_words,
            replaced,
            random,
        }
    }
}

/// A stretch of the run with one length and batch; one of `steps`, `minutes` and `epochs` says
/// how long, and all stages say it in the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Positions of a row.
    pub length: usize,
    /// Rows of a forward pass, of all processes together where several train.
    pub batch: usize,
    /// Forward passes whose gradients make one step.
    #[serde(default = "one")]
    pub accumulation: usize,
    /// Apply the shared layer only so often in this stage, where steps are then cheaper; every
    /// layer by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Show every pair in both orders, in two rows of the same batch with masks of their own: most of
    /// what is said is then the same on both sides of the order's loss, and what differs is which comes
    /// first. The batch must be even.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub both_orders: bool,
    /// What the order's loss is multiplied by before it is added to that of the masked words. Reports and
    /// the guard keep to the sum without weights, which stages have in common.
    #[serde(default = "unweighted", skip_serializing_if = "is_unweighted")]
    pub order_weight: f64,
    /// Optimiser steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Minutes of training, evaluation and saving included. What is learned then depends on the
    /// machine; only runs in steps or epochs resume to the bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Passes over the corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
}

impl Stage {
    /// Rows of a step.
    pub fn rows(&self) -> u64 {
        self.batch as u64 * self.accumulation as u64
    }
}

fn unweighted() -> f64 {
    1.0
}

fn is_unweighted(weight: &f64) -> bool {
    *weight == 1.0
}

fn one() -> usize {
    1
}

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// LAMB as in Google's code.
    Lamb,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// The optimiser and its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// `lamb` or `adamw`.
    pub kind: OptimizerKind,
    /// The highest learning rate, at the end of the warm-up.
    pub rate: f64,
    /// The rows of a step that `rate` is meant for; a stage with another number of them has the
    /// rate times the square root of their ratio (You et al. 2019, section 4.3). Without it `rate`
    /// is the rate of every stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_for_batch: Option<u64>,
    /// Weight decay; norms and biases have none.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// The decay of the two running means.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second mean.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// The greatest norm of a step's gradient.
    #[serde(default = "clip")]
    pub clip: f64,
}

/// What ALBERT was published with (Lan et al. 2019, section 4.1): LAMB's rate and the rows of a
/// step that it belongs to.
pub const PUBLISHED_RATE: (f64, u64) = (0.00176, 4096);

/// A rate that is right for steps of `batch` rows, for steps of `rows` rows: by the square root of
/// their ratio.
///
/// ```
/// use albert_train::recipe::{PUBLISHED_RATE, scaled_rate};
/// let (rate, batch) = PUBLISHED_RATE;
/// assert_eq!(scaled_rate(rate, batch, 256), 0.00044);
/// ```
pub fn scaled_rate(rate: f64, batch: u64, rows: u64) -> f64 {
    rate * (rows as f64 / batch as f64).sqrt()
}

impl OptimizerRecipe {
    /// The highest rate for steps of `rows` rows.
    pub fn rate_for(&self, rows: u64) -> f64 {
        match self.rate_for_batch {
            Some(batch) => scaled_rate(self.rate, batch, rows),
            None => self.rate,
        }
    }
}

fn weight_decay() -> f64 {
    0.01
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn epsilon() -> f64 {
    1e-6
}

fn clip() -> f64 {
    1.0
}

/// The form of the rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Falls in a straight line to zero at the end of the run.
    #[default]
    Linear,
    /// Stays.
    None,
}

/// How the rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleRecipe {
    /// Steps in which the rate climbs in a straight line from zero.
    pub warmup_steps: u64,
    /// What comes after.
    pub decay: Decay,
}

/// How numbers enter matrix products; within a product sums are 32 bits in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16 where the device is faster so; on Intel's processors and those without
    /// instructions for it as they are. On a graphics card products come out as bfloat16, too.
    Bf16,
}

impl Arithmetic {
    /// As the model takes it.
    pub fn precision(self) -> Precision {
        match self {
            Arithmetic::F32 => Precision::F32,
            Arithmetic::Bf16 => Precision::Bf16,
        }
    }
}

/// The number format of the saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 32 bits.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Storage {
    /// As the checkpoint's type.
    pub fn dtype(self) -> DType {
        match self {
            Storage::F32 => DType::F32,
            Storage::F16 => DType::F16,
            Storage::Bf16 => DType::Bf16,
        }
    }
}

/// Held-out text, reports and checkpoints. In runs of steps or epochs nothing here changes what is
/// learned, except which documents are held out; in runs of minutes evaluating and saving takes
/// its share of the time. All but the documents held out may differ when a run is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportRecipe {
    /// The share of documents held out; not used with `dev_corpus`.
    pub dev_share: f64,
    /// A corpus file of its own to evaluate on; relative to the recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_corpus: Option<PathBuf>,
    /// How many held-out pairs to evaluate on.
    pub dev_examples: usize,
    /// Evaluate every so many steps, and at the end.
    pub evaluate_steps: u64,
    /// A row in `metrics.csv` every so many steps.
    pub report_steps: u64,
    /// A checkpoint every so many minutes, and at the end.
    pub checkpoint_minutes: f64,
    /// A checkpoint every so many steps, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<u64>,
    /// The number format of `model.safetensors`; resuming always goes on in 32 bits.
    pub dtype: Storage,
}

impl Default for ReportRecipe {
    fn default() -> Self {
        Self {
            dev_share: 0.005,
            dev_corpus: None,
            dev_examples: 512,
            evaluate_steps: 500,
            report_steps: 20,
            checkpoint_minutes: 10.0,
            checkpoint_steps: None,
            dtype: Storage::F32,
        }
    }
}

/// The bits of a dropout key that count the forward passes of a step.
pub(crate) const PASS_BITS: u32 = 20;

impl Recipe {
    /// Reads and checks a recipe file. Paths in it are relative to its folder, and are resolved
    /// here.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown field, or a value that makes no sense.
    pub fn from_file(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let mut recipe = Recipe::parse(&text).map_err(|error| match error {
            Error::RecipeSyntax { message, .. } => Error::RecipeSyntax {
                path: path.to_owned(),
                message,
            },
            other => other,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        recipe.tokenizer = folder.join(&recipe.tokenizer);
        recipe.start_from = recipe.start_from.map(|start| folder.join(start));
        recipe.report.dev_corpus = recipe.report.dev_corpus.map(|corpus| folder.join(corpus));
        Ok(recipe)
    }

    /// Reads and checks a recipe; paths stay as they are written.
    ///
    /// # Errors
    /// As [`Recipe::from_file`].
    pub fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe = toml::from_str(text).map_err(|error| Error::RecipeSyntax {
            path: PathBuf::from("recipe"),
            message: error.to_string(),
        })?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The model's configuration, for a vocabulary of `vocab_size` pieces.
    ///
    /// # Errors
    /// The preset is unknown, the shape is impossible, or a stage is longer than the positions.
    pub fn config(&self, vocab_size: usize) -> Result<AlbertConfig> {
        let preset = self.model.preset.as_deref().unwrap_or("base");
        let mut config = AlbertConfig::preset(preset).ok_or_else(|| {
            let known = "base, large, xlarge, xxlarge, mini, tiny";
            Error::field("model.preset", format!("`{preset}` is none of {known}"))
        })?;
        let model = &self.model;
        config.architecture = Architecture::PreTraining;
        config.vocab_size = vocab_size;
        for (field, value) in [
            (&mut config.embedding_size, model.embedding_size),
            (&mut config.num_hidden_layers, model.num_hidden_layers),
            (&mut config.num_hidden_groups, model.num_hidden_groups),
            (&mut config.inner_group_num, model.inner_group_num),
            (&mut config.num_attention_heads, model.num_attention_heads),
            (
                &mut config.max_position_embeddings,
                model.max_position_embeddings,
            ),
        ] {
            *field = value.unwrap_or(*field);
        }
        if let Some(hidden_size) = model.hidden_size {
            config.hidden_size = hidden_size;
            config.intermediate_size = 4 * hidden_size;
        }
        if let Some(intermediate_size) = model.intermediate_size {
            config.intermediate_size = intermediate_size;
        }
        for (field, value) in [
            (&mut config.hidden_dropout_prob, model.hidden_dropout_prob),
            (
                &mut config.attention_probs_dropout_prob,
                model.attention_probs_dropout_prob,
            ),
            (&mut config.initializer_range, model.initializer_range),
        ] {
            *field = value.unwrap_or(*field);
        }
        if let Some(name) = &model.hidden_act {
            let unknown = |error: String| Error::field("model.hidden_act", error);
            config.hidden_act = name.parse::<Activation>().map_err(unknown)?;
        }
        config.validate()?;
        if let (Some(tied), 1) = (model.tied, config.num_hidden_groups) {
            let message = format!(
                "is `{tied:?}`, but the layers are one group and share everything; give \
                 `num_hidden_groups`"
            );
            return Err(Error::field("model.tied", message.to_lowercase()));
        }
        for (i, stage) in self.stage.iter().enumerate() {
            let (all, groups) = (config.num_hidden_layers, config.num_hidden_groups);
            if let Some(layers) = stage.layers
                && (layers == 0 || layers > all || (layers < all && groups > 1))
            {
                let message = format!(
                    "must be from 1 to the model's {all}, and all of them if it has several \
                     groups (it has {groups}), not {layers}"
                );
                return Err(Error::field(format!("stage[{i}].layers"), message));
            }
            if stage.length > config.max_position_embeddings {
                let message = format!(
                    "is {}, but the model has {} positions",
                    stage.length, config.max_position_embeddings
                );
                return Err(Error::field(format!("stage[{i}].length"), message));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
