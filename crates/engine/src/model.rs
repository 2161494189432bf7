//! The model in memory: from ids to every output.

use std::sync::Arc;

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_kernels::Activation;

use crate::batch::Batch;
use crate::dense::Dense;
use crate::embeddings::Embeddings;
use crate::engine::Precision;
use crate::error::Result;
use crate::exits::Exiting;
use crate::heads::{Head, MaskedLm};
use crate::layer::{Layer, LayerWorkspace, take};
use crate::outputs::{Outputs, What};
use crate::shared::Shared;

/// An ALBERT (Lan et al. 2019): embeddings, layers that share weights by group, pooler and head.
pub(crate) struct Model {
    pub(crate) config: AlbertConfig,
    pub(crate) embeddings: Embeddings,
    /// By group, then by inner layer: each distinct layer once.
    pub(crate) groups: Vec<Vec<Arc<Layer>>>,
    pub(crate) pooler: Option<Dense>,
    pub(crate) head: Head,
}

/// Memory of one forward pass, kept for later ones.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) embedded: Vec<f32>,
    pub(crate) states: Vec<f32>,
    pub(crate) layer: LayerWorkspace,
}

impl Model {
    /// Reads the weights, widens f16 and bf16 to f32 and packs them; those of the layers in
    /// `precision`. What `shared` has of them already is not loaded again; the rest it has then.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        precision: Precision,
        mut shared: Option<&mut Shared>,
    ) -> Result<Self> {
        let config = checkpoint.config().clone();
        let embeddings = Embeddings::load(checkpoint, shared.as_deref_mut())?;
        let mut layer = |group, inner| match &mut shared {
            Some(shared) => shared.layer(checkpoint, group, inner, precision),
            None => Ok(Arc::new(Layer::load(checkpoint, group, inner, precision)?)),
        };
        let groups = (0..config.num_hidden_groups)
            .map(|group| {
                (0..config.inner_group_num)
                    .map(|inner| layer(group, inner))
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
        if let Some(exiting) = Exiting::new(self, what) {
            return exiting.run(batch, workspace);
        }
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
        let kept = Kept::new(self, batch, what);
        let layers = (0..self.config.num_hidden_layers)
            .flat_map(|i| &self.groups[self.config.group_of_layer(i)]);
        let last = self.config.num_hidden_layers * self.config.inner_group_num - 1;
        for (i, layer) in layers.enumerate() {
            let kept = kept.tokens.as_deref().filter(|_| i == last);
            layer.forward(states, batch.ranges(), kept, &mut workspace.layer);
            if what.hidden_states && (i + 1) % self.config.inner_group_num == 0 {
                outputs.hidden_states.push(states.to_vec());
            }
        }
        let states = &states[..kept.count(batch) * hidden];
        if what.last_hidden_state {
            outputs.last_hidden_state = Some(states.to_vec());
        }
        let mut pooled = None;
        if self.pools(what)
            && let Some(pooler) = &self.pooler
        {
            let first = gather(states, hidden, &kept.first); // [rows, hidden]
            pooled = Some(pooler.apply_activate(&first, Activation::Tanh));
        }
        if what.head {
            self.run_head(states, pooled.as_deref(), &kept, &mut outputs);
        }
        outputs.pooled = pooled.filter(|_| what.pooled);
        outputs
    }

    /// Operations of the products of one pass, two a multiply-add.
    pub(crate) fn operations(&self, batch: &Batch, what: &What) -> f64 {
        let config = &self.config;
        let (e, h) = (config.embedding_size as f64, config.hidden_size as f64);
        let (f, vocab) = (config.intermediate_size as f64, config.vocab_size as f64);
        let kept = Kept::new(self, batch, what);
        let (tokens, last) = (batch.tokens() as f64, kept.count(batch) as f64);
        let scores: usize = batch.ranges().iter().map(|row| row.len() * row.len()).sum();
        let layers = (config.num_hidden_layers * config.inner_group_num) as f64;
        // Query, key and value; scores and sums of values; then what only kept tokens need.
        let attention = 3.0 * h * h * tokens + 2.0 * h * scores as f64;
        let rest = h * h + 2.0 * h * f;
        let encoder = layers * attention + rest * ((layers - 1.0) * tokens + last);
        let pooler = match self.pools(what) {
            true => h * h * batch.ranges().len() as f64,
            false => 0.0,
        };
        let masked = match (&self.head, &what.masked_lm_positions) {
            _ if !what.head => 0.0,
            (Head::PreTraining(..) | Head::MaskedLm(_), Some(positions)) => positions.len() as f64,
            (Head::PreTraining(..) | Head::MaskedLm(_), None) => tokens,
            _ => 0.0,
        };
        2.0 * (e * h * tokens + encoder + pooler + masked * (h * e + e * vocab))
    }

    fn pools(&self, what: &What) -> bool {
        self.pooler.is_some() && (what.pooled || what.head && self.head.needs_pooled())
    }

    fn run_head(&self, states: &[f32], pooled: Option<&[f32]>, kept: &Kept, out: &mut Outputs) {
        let masked_lm = |head: &MaskedLm| match &kept.masked {
            Some(positions) => head.forward(&gather(states, self.config.hidden_size, positions)),
            None => head.forward(states),
        };
        match &self.head {
            Head::Base => {}
            Head::PreTraining(predictions, order) => {
                out.masked_lm_logits = Some(masked_lm(predictions));
                out.sentence_order_logits = pooled.map(|pooled| order.apply(pooled));
            }
            Head::MaskedLm(predictions) => out.masked_lm_logits = Some(masked_lm(predictions)),
            Head::Sequence(dense, _) => {
                out.sequence_logits = pooled.map(|pooled| dense.apply(pooled))
            }
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

/// Which tokens of the last layer anything is made from, and where those stand in its result.
struct Kept {
    /// The tokens; `None` for every one.
    tokens: Option<Vec<usize>>,
    /// Where each row's first token stands.
    first: Vec<usize>,
    /// Where the masked tokens stand; `None` if every token counts as one.
    masked: Option<Vec<usize>>,
}

impl Kept {
    fn new(model: &Model, batch: &Batch, what: &What) -> Kept {
        let first: Vec<usize> = batch.ranges().iter().map(|row| row.start).collect();
        let masked = &what.masked_lm_positions;
        let all = Kept {
            tokens: None,
            first: first.clone(),
            masked: masked.clone(),
        };
        let of_masked = match &model.head {
            Head::PreTraining(..) | Head::MaskedLm(_) if what.head => masked.as_deref(),
            Head::Token(_) | Head::Question(_) if what.head => None,
            _ => Some(&[][..]),
        };
        let (Some(of_masked), false) = (of_masked, what.hidden_states || what.last_hidden_state)
        else {
            return all;
        };
        let mut tokens = if model.pools(what) { first } else { Vec::new() };
        let pooled = tokens.len();
        tokens.extend(of_masked);
        if tokens.is_empty() || tokens.len() >= batch.tokens() {
            return all;
        }
        Kept {
            first: (0..pooled).collect(),
            masked: Some((pooled..tokens.len()).collect()),
            tokens: Some(tokens),
        }
    }

    /// How many tokens the last layer gives.
    fn count(&self, batch: &Batch) -> usize {
        self.tokens.as_ref().map_or(batch.tokens(), Vec::len)
    }
}

/// The rows of `x`, `[.., width]`, at `indices`.
fn gather(x: &[f32], width: usize, indices: &[usize]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(indices.len() * width);
    for i in indices {
        rows.extend_from_slice(&x[i * width..][..width]);
    }
    rows
}
