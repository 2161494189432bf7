//! What an ALBERT is made of: the fields of `config.json`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The nonlinearity in the feed-forward part and in the masked-LM head, by the
/// names that transformers gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `gelu_new`: the tanh form of GELU. The published v2 models.
    GeluNew,
    /// `gelu`: the exact form, with the error function.
    Gelu,
    /// `relu`: the Chinese models.
    Relu,
    /// `tanh`.
    Tanh,
    /// `silu`: x times its logistic function.
    Silu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::GeluNew,
        Self::Gelu,
        Self::Relu,
        Self::Tanh,
        Self::Silu,
    ];

    /// The name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::GeluNew => "gelu_new",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            // The same two functions by transformers' other names.
            "swish" => return Ok(Self::Silu),
            "gelu_pytorch_tanh" => return Ok(Self::GeluNew),
            _ => {}
        }
        Self::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("is {name:?}, which is none of the activations known here: {known}")
            })
    }
}

/// Which heads stand on the encoder: the class that transformers names in
/// `architectures`. It decides which tensors a checkpoint must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// `AlbertModel`: encoder and pooler.
    Base,
    /// `AlbertForPreTraining`: pooler, masked-LM head and sentence-order head.
    PreTraining,
    /// `AlbertForMaskedLM`: masked-LM head, no pooler.
    MaskedLm,
    /// `AlbertForSequenceClassification`: pooler and classifier.
    SequenceClassification,
    /// `AlbertForTokenClassification`: classifier on each token, no pooler.
    TokenClassification,
    /// `AlbertForQuestionAnswering`: start and end of the answer, no pooler.
    QuestionAnswering,
    /// `AlbertForMultipleChoice`: pooler and one score a choice.
    MultipleChoice,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Base,
        Self::PreTraining,
        Self::MaskedLm,
        Self::SequenceClassification,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::MultipleChoice,
    ];

    /// The name of transformers' class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "AlbertModel",
            Self::PreTraining => "AlbertForPreTraining",
            Self::MaskedLm => "AlbertForMaskedLM",
            Self::SequenceClassification => "AlbertForSequenceClassification",
            Self::TokenClassification => "AlbertForTokenClassification",
            Self::QuestionAnswering => "AlbertForQuestionAnswering",
            Self::MultipleChoice => "AlbertForMultipleChoice",
        }
    }

    /// The parts on top of the encoder, as people call them.
    pub fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Base => &["pooler"],
            Self::PreTraining => &["pooler", "masked-LM", "sentence order"],
            Self::MaskedLm => &["masked-LM"],
            Self::SequenceClassification => &["pooler", "sequence classifier"],
            Self::TokenClassification => &["token classifier"],
            Self::QuestionAnswering => &["answer start and end"],
            Self::MultipleChoice => &["pooler", "choice score"],
        }
    }

    /// Whether there is a pooler: a dense layer and tanh on the first token.
    pub fn has_pooler(self) -> bool {
        !matches!(
            self,
            Self::MaskedLm | Self::TokenClassification | Self::QuestionAnswering
        )
    }

    /// Whether there is a masked-LM head.
    pub fn has_masked_lm(self) -> bool {
        matches!(self, Self::PreTraining | Self::MaskedLm)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("names {name:?}, which is none of the architectures known here: {known}")
            })
    }
}

/// What a sequence classifier's outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// `regression`: the outputs are the answer.
    Regression,
    /// `single_label_classification`: one label; softmax over the outputs.
    SingleLabel,
    /// `multi_label_classification`: any labels; a logistic function on each output.
    MultiLabel,
}

impl ProblemType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Regression, Self::SingleLabel, Self::MultiLabel];

    /// The name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::SingleLabel => "single_label_classification",
            Self::MultiLabel => "multi_label_classification",
        }
    }
}

impl fmt::Display for ProblemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProblemType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("is {name:?}, which is none of {known}")
            })
    }
}

/// A part of a layer that multiplies by matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerModule {
    /// `attention`: query, key, value and the output.
    Attention,
    /// `ffn`: from the hidden states to the width inside the feed-forward part.
    Ffn,
    /// `ffn_output`: back.
    FfnOutput,
}

impl LayerModule {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Attention, Self::Ffn, Self::FfnOutput];

    /// The name in `config.json`, under which its tensors are stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Ffn => "ffn",
            Self::FfnOutput => "ffn_output",
        }
    }
}

impl fmt::Display for LayerModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LayerModule {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|module| module.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("names {name:?}, which is none of {known}")
            })
    }
}

/// An ALBERT's configuration, by the names of `config.json` (Lan et al. 2019,
/// section 3; the defaults are transformers').
///
/// A value read from a file is valid. One changed in memory is checked by
/// [`validate`](Self::validate), which [`save`](crate::save()) calls too.
#[derive(Clone, Debug, PartialEq)]
pub struct AlbertConfig {
    /// The heads on the encoder.
    pub architecture: Architecture,
    /// Pieces in the vocabulary, V.
    pub vocab_size: usize,
    /// Width of the embeddings, E.
    pub embedding_size: usize,
    /// Width of the hidden states, H.
    pub hidden_size: usize,
    /// Layers that the input runs through.
    pub num_hidden_layers: usize,
    /// Sets of weights that the layers share among them.
    pub num_hidden_groups: usize,
    /// Attention heads; they divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part, F.
    pub intermediate_size: usize,
    /// Blocks that run one after another in each layer.
    pub inner_group_num: usize,
    /// Nonlinearity of the feed-forward part and of the masked-LM head.
    pub hidden_act: Activation,
    /// Dropout on embeddings and block outputs, in training.
    pub hidden_dropout_prob: f32,
    /// Dropout on attention weights, in training.
    pub attention_probs_dropout_prob: f32,
    /// Dropout before a classifier and before the order head, in training.
    pub classifier_dropout_prob: f32,
    /// Longest row, in tokens.
    pub max_position_embeddings: usize,
    /// Token types, usually 2.
    pub type_vocab_size: usize,
    /// Standard deviation of fresh weights.
    pub initializer_range: f32,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f32,
    /// Id of `<pad>`. Its word embedding receives no gradient.
    pub pad_token_id: usize,
    /// Id of `[CLS]`.
    pub bos_token_id: usize,
    /// Id of `[SEP]`.
    pub eos_token_id: usize,
    /// Names of a classifier's outputs, in order.
    pub id2label: Vec<String>,
    /// What a sequence classifier's outputs mean; `None` leaves it to the
    /// number of labels, see [`problem`](Self::problem).
    pub problem_type: Option<ProblemType>,
    /// Whether a sequence classifier has another one after each layer but the last, on the same
    /// pooler, so that a clear row need not go through all layers (PABEE, Zhou et al. 2020).
    /// transformers knows nothing of it and uses the last.
    pub early_exits: bool,
    /// What stays in floating point where the layers run in int8, because its precision would cost
    /// too much. transformers knows nothing of it.
    pub int8_skip_modules: Vec<LayerModule>,
}

/// No dimension may pass this: ids and positions are 32-bit numbers everywhere.
const MAX_SIZE: usize = i32::MAX as usize;
/// More layers than anyone trains; it bounds the work one token can cause.
const MAX_LAYERS: usize = 1024;
/// Bounds the list of parameters; the paper uses 1.
const MAX_INNER_GROUPS: usize = 64;
/// 4 TiB in f32. Beyond it products of sizes begin to overflow.
const MAX_PARAMETERS: usize = 1 << 40;

impl AlbertConfig {
    /// transformers' names for `labels` unnamed outputs: `LABEL_0`, `LABEL_1`, ...
    pub fn default_labels(labels: usize) -> Vec<String> {
        (0..labels).map(|i| format!("LABEL_{i}")).collect()
    }

    /// The same model under other heads.
    pub fn with_architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = architecture;
        self
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }

    /// Number of labels: the classifier's outputs, except in
    /// [`Architecture::MultipleChoice`], which has one output whatever the labels.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// What a sequence classifier's outputs mean: `problem_type` where it is
    /// given, else regression for one label and one of the labels for more.
    pub fn problem(&self) -> ProblemType {
        match (self.problem_type, self.num_labels()) {
            (Some(problem), _) => problem,
            (None, 1) => ProblemType::Regression,
            (None, _) => ProblemType::SingleLabel,
        }
    }

    /// The group whose weights layer `layer` (from 0) uses.
    pub fn group_of_layer(&self, layer: usize) -> usize {
        // Google's and transformers' formula, in the same floating-point steps,
        // so that an uneven split falls the same way.
        let layers_in_group = self.num_hidden_layers as f64 / self.num_hidden_groups as f64;
        ((layer as f64 / layers_in_group) as usize).min(self.num_hidden_groups.saturating_sub(1))
    }

    /// Whether the fields fit together and within what this program can run.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that does not.
    pub fn validate(&self) -> Result<()> {
        self.check(Path::new("AlbertConfig"))
    }

    /// [`validate`](Self::validate), with the file to blame.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let fail = |field: &str, problem: String| Err(Error::field(path, field, problem));
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_hidden_groups", self.num_hidden_groups),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("inner_group_num", self.inner_group_num),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            let limit = match field {
                "num_hidden_layers" => MAX_LAYERS,
                "inner_group_num" => MAX_INNER_GROUPS,
                _ => MAX_SIZE,
            };
            if size == 0 {
                return fail(field, "is 0; it must be at least 1".to_owned());
            }
            if size > limit {
                return fail(field, format!("is {size}; at most {limit} is supported"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fail(
                "num_attention_heads",
                format!(
                    "is {}, which does not divide `hidden_size` {}",
                    self.num_attention_heads, self.hidden_size
                ),
            );
        }
        if self.num_hidden_groups > self.num_hidden_layers {
            return fail(
                "num_hidden_groups",
                format!(
                    "is {}, more than `num_hidden_layers` {}",
                    self.num_hidden_groups, self.num_hidden_layers
                ),
            );
        }
        for (field, p) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
            ("classifier_dropout_prob", self.classifier_dropout_prob),
        ] {
            if !(0.0..1.0).contains(&p) {
                return fail(
                    field,
                    format!("is {p}; a dropout is at least 0 and below 1"),
                );
            }
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            return fail(
                "initializer_range",
                format!(
                    "is {}; a standard deviation is a finite number of 0 or more",
                    self.initializer_range
                ),
            );
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            return fail(
                "layer_norm_eps",
                format!(
                    "is {}; it must be a finite number above 0 in 32-bit floats",
                    self.layer_norm_eps
                ),
            );
        }
        if self.pad_token_id >= self.vocab_size {
            return fail(
                "pad_token_id",
                format!(
                    "is {}, outside the vocabulary of {}",
                    self.pad_token_id, self.vocab_size
                ),
            );
        }
        if self.id2label.is_empty() {
            return fail(
                "id2label",
                "is empty; a model has at least one label".to_owned(),
            );
        }
        // transformers sizes these two heads by the label map; only two outputs
        // mean anything: start and end, in order and swapped.
        if matches!(
            self.architecture,
            Architecture::QuestionAnswering | Architecture::PreTraining
        ) && self.num_labels() != 2
        {
            return fail(
                "id2label",
                format!(
                    "has {} labels; {} has 2",
                    self.num_labels(),
                    self.architecture
                ),
            );
        }
        match self.checked_parameter_count() {
            Some(count) if count <= MAX_PARAMETERS => Ok(()),
            _ => fail(
                self.widest_field(),
                format!(
                    "is too large: together the sizes make more than {MAX_PARAMETERS} parameters"
                ),
            ),
        }
    }

    /// The largest dimension, to blame for too many parameters.
    fn widest_field(&self) -> &'static str {
        [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ]
        .into_iter()
        .max_by_key(|(_, size)| *size)
        .map_or("vocab_size", |(field, _)| field)
    }
}
