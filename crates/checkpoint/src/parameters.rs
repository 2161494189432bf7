//! Which tensors a configuration asks for, by name and shape.

use crate::config::{AlbertConfig, Architecture};

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterSpec {
    /// Canonical name: as transformers saves a model with a head, with the
    /// prefix `albert.` before the encoder's tensors.
    pub name: String,
    /// Dimensions, outermost first. A dense layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Collects specs; each method adds what one kind of layer has.
#[derive(Default)]
struct Specs(Vec<ParameterSpec>);

impl Specs {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push(ParameterSpec {
            name,
            shape: shape.to_vec(),
        });
    }

    fn dense(&mut self, name: &str, input: usize, output: usize) {
        self.add(format!("{name}.weight"), &[output, input]);
        self.add(format!("{name}.bias"), &[output]);
    }

    fn layer_norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }
}

/// What a parameter belongs to, for the sums that people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterCounts {
    /// All parameters of the architecture; the tied decoder counts once.
    pub total: usize,
    /// Word, position and type embeddings, their layer norm and the mapping
    /// from E to H.
    pub embeddings: usize,
    /// One block: attention, feed-forward part and their layer norms.
    pub block: usize,
    /// All stored blocks: groups times inner groups.
    pub shared_layers: usize,
    /// Pooler and heads.
    pub heads: usize,
    /// What the same model would have if every layer had its own weights.
    pub unshared_total: usize,
}

impl AlbertConfig {
    /// The tensors that `architecture` needs, in transformers' order. The
    /// masked-LM decoder's weight is the word embedding and not listed again.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let (e, h) = (self.embedding_size, self.hidden_size);
        let mut specs = Specs::default();

        let embeddings = "albert.embeddings";
        specs.add(
            format!("{embeddings}.word_embeddings.weight"),
            &[self.vocab_size, e],
        );
        specs.add(
            format!("{embeddings}.position_embeddings.weight"),
            &[self.max_position_embeddings, e],
        );
        specs.add(
            format!("{embeddings}.token_type_embeddings.weight"),
            &[self.type_vocab_size, e],
        );
        specs.layer_norm(&format!("{embeddings}.LayerNorm"), e);
        specs.dense("albert.encoder.embedding_hidden_mapping_in", e, h);

        for group in 0..self.num_hidden_groups {
            for inner in 0..self.inner_group_num {
                let block =
                    format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}");
                specs.layer_norm(&format!("{block}.full_layer_layer_norm"), h);
                for part in ["query", "key", "value", "dense"] {
                    specs.dense(&format!("{block}.attention.{part}"), h, h);
                }
                specs.layer_norm(&format!("{block}.attention.LayerNorm"), h);
                specs.dense(&format!("{block}.ffn"), h, self.intermediate_size);
                specs.dense(&format!("{block}.ffn_output"), self.intermediate_size, h);
            }
        }

        if self.architecture.has_pooler() {
            specs.dense("albert.pooler", h, h);
        }
        if self.architecture.has_masked_lm() {
            specs.add("predictions.bias".to_owned(), &[self.vocab_size]);
            specs.layer_norm("predictions.LayerNorm", e);
            specs.dense("predictions.dense", h, e);
        }
        match self.architecture {
            Architecture::Base | Architecture::MaskedLm => {}
            Architecture::PreTraining => specs.dense("sop_classifier.classifier", h, 2),
            Architecture::SequenceClassification | Architecture::TokenClassification => {
                specs.dense("classifier", h, self.num_labels());
            }
            Architecture::MultipleChoice => specs.dense("classifier", h, 1),
            Architecture::QuestionAnswering => specs.dense("qa_outputs", h, 2),
        }
        for exit in 0..self.exits() {
            specs.dense(&format!("exits.{exit}"), h, self.num_labels());
        }
        specs.0
    }

    /// How many layers have a classifier besides the last: `exits.0` stands after the first.
    pub fn exits(&self) -> usize {
        match (self.architecture, self.early_exits) {
            (Architecture::SequenceClassification, true) => {
                self.num_hidden_layers.saturating_sub(1)
            }
            _ => 0,
        }
    }

    /// Number of parameters that `architecture` has, the tied decoder once.
    pub fn parameter_count(&self) -> usize {
        self.parameter_counts().total
    }

    /// The parameters by what they belong to.
    pub fn parameter_counts(&self) -> ParameterCounts {
        let (mut embeddings, mut shared_layers, mut heads) = (0, 0, 0);
        for spec in self.parameters() {
            let part = if spec.name.starts_with("albert.encoder.albert_layer_groups.") {
                &mut shared_layers
            } else if spec.name.starts_with("albert.pooler.") || !spec.name.starts_with("albert.") {
                &mut heads
            } else {
                &mut embeddings
            };
            *part += spec.elements();
        }
        let blocks = (self.num_hidden_groups * self.inner_group_num).max(1);
        let block = shared_layers / blocks;
        ParameterCounts {
            total: embeddings + shared_layers + heads,
            embeddings,
            block,
            shared_layers,
            heads,
            unshared_total: embeddings
                + heads
                + block * self.inner_group_num * self.num_hidden_layers,
        }
    }

    /// The number of parameters if every layer had its own, which bounds all
    /// counts above, or `None` where it overflows.
    pub(crate) fn checked_parameter_count(&self) -> Option<usize> {
        let product = |a: usize, b: usize| a.checked_mul(b);
        let (e, h, f) = (
            self.embedding_size,
            self.hidden_size,
            self.intermediate_size,
        );
        let rows = self
            .vocab_size
            .checked_add(self.max_position_embeddings)?
            .checked_add(self.type_vocab_size)?
            .checked_add(2)?;
        let block = [
            product(product(h, h)?, 4)?,
            product(product(h, f)?, 2)?,
            product(h, 9)?,
            f,
        ]
        .into_iter()
        .try_fold(0usize, usize::checked_add)?;
        // A classifier and those of early exits.
        let heads = product(self.num_labels(), self.exits().checked_add(1)?)?;
        let blocks = product(
            product(block, self.num_hidden_layers)?,
            self.inner_group_num,
        )?;
        [
            product(rows, e)?,
            product(product(e, h)?, 2)?,
            product(h, h)?,
            product(h.checked_add(1)?, heads.checked_add(8)?)?,
            product(e, 4)?,
            self.vocab_size,
            blocks,
        ]
        .into_iter()
        .try_fold(0usize, usize::checked_add)
    }
}
