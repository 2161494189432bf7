//! The model in memory: from ids to every output.

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_kernels::Activation;

use crate::batch::Batch;
use crate::dense::Dense;
use crate::embeddings::Embeddings;
use crate::engine::Precision;
use crate::error::Result;
use crate::heads::{Head, MaskedLm};
use crate::layer::{Layer, LayerWorkspace, take};
use crate::outputs::{Outputs, What};

/// An ALBERT (Lan et al. 2019): embeddings, layers that share weights by group, pooler and head.
pub(crate) struct Model {
    pub(crate) config: AlbertConfig,
    embeddings: Embeddings,
    /// By group, then by inner layer: each distinct layer once.
    groups: Vec<Vec<Layer>>,
    pooler: Option<Dense>,
    head: Head,
}

/// Memory of one forward pass, kept for later ones.
#[derive(Default)]
pub(crate) struct Workspace {
    embedded: Vec<f32>,
    states: Vec<f32>,
    layer: LayerWorkspace,
}

impl Model {
    /// Reads the weights, widens f16 and bf16 to f32 and packs them; those of the layers in
    /// `precision`.
    pub(crate) fn load(checkpoint: &Checkpoint, precision: Precision) -> Result<Self> {
        let config = checkpoint.config().clone();
        let embeddings = Embeddings::load(checkpoint)?;
        let groups = (0..config.num_hidden_groups)
            .map(|group| {
                (0..config.inner_group_num)
                    .map(|inner| Layer::load(checkpoint, group, inner, precision))
                    .collect()
            })
            .collect::<Result<_>>()?;
        let pooler = if config.architecture.has_pooler() {
            Some(Dense::load(checkpoint, "albert.pooler")?)
        } else {
            None
        };
        let head = Head::load(checkpoint, embeddings.words())?;
        Ok(Model {
            config,
            embeddings,
            groups,
            pooler,
            head,
        })
    }

    /// Runs a batch that was checked against the configuration.
    pub(crate) fn run(&self, batch: &Batch, what: &What, workspace: &mut Workspace) -> Outputs {
        let hidden = self.config.hidden_size;
        let mut outputs = Outputs {
            rows: batch.ranges().to_vec(),
            ..Outputs::default()
        };

        let states = take(&mut workspace.states, batch.tokens() * hidden);
        self.embeddings
            .forward(batch, &mut workspace.embedded, states); // [tokens, hidden]
        if what.hidden_states {
            outputs.hidden_states.push(states.to_vec());
        }
        for i in 0..self.config.num_hidden_layers {
            for layer in &self.groups[self.config.group_of_layer(i)] {
                layer.forward(states, batch.ranges(), &mut workspace.layer);
            }
            if what.hidden_states {
                outputs.hidden_states.push(states.to_vec());
            }
        }
        if what.last_hidden_state {
            outputs.last_hidden_state = Some(states.to_vec());
        }
        let mut pooled = None;
        if what.pooled || what.head && self.head.needs_pooled() {
            pooled = self.pool_rows(batch, states);
        }
        if what.head {
            self.run_head(states, pooled.as_deref(), what, &mut outputs);
        }
        outputs.pooled = pooled.filter(|_| what.pooled);
        outputs
    }

    /// `[rows, hidden]`, if the model has a pooler.
    fn pool_rows(&self, batch: &Batch, states: &[f32]) -> Option<Vec<f32>> {
        let pooler = self.pooler.as_ref()?;
        let first = batch.ranges().iter().map(|row| row.start);
        let first = gather(states, self.config.hidden_size, first); // [rows, hidden]
        Some(pooler.apply_activate(&first, Activation::Tanh))
    }

    fn run_head(&self, states: &[f32], pooled: Option<&[f32]>, what: &What, out: &mut Outputs) {
        let masked_lm = |head: &MaskedLm| match &what.masked_lm_positions {
            Some(positions) => {
                let positions = positions.iter().copied();
                head.forward(&gather(states, self.config.hidden_size, positions))
            }
            None => head.forward(states),
        };
        match &self.head {
            Head::Base => {}
            Head::PreTraining(predictions, order) => {
                out.masked_lm_logits = Some(masked_lm(predictions));
                out.sentence_order_logits = pooled.map(|pooled| order.apply(pooled));
            }
            Head::MaskedLm(predictions) => out.masked_lm_logits = Some(masked_lm(predictions)),
            Head::Sequence(dense) => out.sequence_logits = pooled.map(|pooled| dense.apply(pooled)),
            Head::Token(dense) => out.token_logits = Some(dense.apply(states)),
            Head::Question(dense) => {
                let both = dense.apply(states); // [tokens, 2]
                out.start_logits = Some(both.iter().step_by(2).copied().collect());
                out.end_logits = Some(both.iter().skip(1).step_by(2).copied().collect());
            }
            Head::Choice(dense) => out.choice_logits = pooled.map(|pooled| dense.apply(pooled)),
        }
    }
}

/// The rows of `x`, `[.., width]`, at `indices`.
fn gather(x: &[f32], width: usize, indices: impl Iterator<Item = usize>) -> Vec<f32> {
    indices
        .flat_map(|i| &x[i * width..][..width])
        .copied()
        .collect()
}
