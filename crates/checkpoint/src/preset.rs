//! The published sizes, and the small ones that this project trains.

use crate::config::{Activation, AlbertConfig, Architecture};

/// Names that [`AlbertConfig::preset`] knows.
pub const PRESETS: [&str; 14] = [
    "base",
    "large",
    "xlarge",
    "xxlarge",
    "base-v1",
    "large-v1",
    "xlarge-v1",
    "xxlarge-v1",
    "base-v2",
    "large-v2",
    "xlarge-v2",
    "xxlarge-v2",
    "mini",
    "tiny",
];

impl AlbertConfig {
    /// A configuration by name, with the pretraining heads.
    ///
    /// `base`, `large`, `xlarge` and `xxlarge` are the published sizes (Lan et
    /// al. 2019, table 1) in version 2: no dropout, `gelu_new`. With `-v1` they
    /// have version 1's dropout and the `gelu` of its files, which transformers
    /// reads as the exact form. `mini` is the size of the model that ships,
    /// `tiny` is for tests.
    pub fn preset(name: &str) -> Option<Self> {
        let (size, version) = match name.rsplit_once('-') {
            Some((size, "v1")) => (size, 1),
            Some((size, "v2")) => (size, 2),
            Some(_) => return None,
            None => (name, 2),
        };
        let published = matches!(size, "base" | "large" | "xlarge" | "xxlarge");
        if !published && size != name {
            return None;
        }
        let (layers, hidden_size, heads) = match size {
            "base" => (12, 768, 12),
            "large" => (24, 1024, 16),
            "xlarge" => (24, 2048, 16),
            "xxlarge" => (12, 4096, 64),
            "mini" => (4, 384, 6),
            "tiny" => (3, 32, 4),
            _ => return None,
        };
        let (vocab_size, embedding_size, positions) = match size {
            "mini" => (16_000, 128, 512),
            "tiny" => (128, 16, 64),
            _ => (30_000, 128, 512),
        };
        let dropout = if version == 1 && size != "xxlarge" {
            0.1
        } else {
            0.0
        };
        Some(Self {
            architecture: Architecture::PreTraining,
            vocab_size,
            embedding_size,
            hidden_size,
            num_hidden_layers: layers,
            num_hidden_groups: 1,
            num_attention_heads: heads,
            intermediate_size: 4 * hidden_size,
            inner_group_num: 1,
            hidden_act: if version == 1 {
                Activation::Gelu
            } else {
                Activation::GeluNew
            },
            hidden_dropout_prob: dropout,
            attention_probs_dropout_prob: dropout,
            classifier_dropout_prob: 0.1,
            max_position_embeddings: positions,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            bos_token_id: 2,
            eos_token_id: 3,
            id2label: Self::default_labels(2),
            problem_type: None,
            early_exits: false,
            int8_skip_modules: Vec::new(),
        })
    }
}
