//! The model in memory, and its forward pass.

use std::sync::{Mutex, PoisonError};

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_kernels::{ThreadPool, tanh};

use crate::batch::{Batch, check_row};
use crate::dense::Dense;
use crate::embeddings::Embeddings;
use crate::error::{Error, Result, RowError};
use crate::heads::Head;
use crate::layer::{Layer, LayerWorkspace, take};
use crate::outputs::{Outputs, What};

/// How an [`Engine`] runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Number of threads; `None` for what the process may use
    /// ([`available_threads`](albert_kernels::available_threads)).
    pub threads: Option<usize>,
}

/// An ALBERT, ready to run: weights in f32, packed once for all the layers that share them.
///
/// An engine can be shared between threads; each forward pass that runs at the same time as
/// another takes working memory of its own, which is kept for later passes.
pub struct Engine {
    config: AlbertConfig,
    embeddings: Embeddings,
    /// By group, then by inner layer.
    groups: Vec<Vec<Layer>>,
    pooler: Option<Dense>,
    head: Head,
    pool: ThreadPool,
    workspaces: Mutex<Vec<Workspace>>,
}

/// Memory of one forward pass.
#[derive(Default)]
struct Workspace {
    embedded: Vec<f32>,
    states: Vec<f32>,
    layer: LayerWorkspace,
}

impl Engine {
    /// Reads the weights, widens f16 and bf16 to f32 and packs each distinct layer once.
    ///
    /// # Errors
    /// If a tensor is missing or the threads cannot be started.
    pub fn load(checkpoint: &Checkpoint, options: EngineOptions) -> Result<Self> {
        let config = checkpoint.config().clone();
        let embeddings = Embeddings::load(checkpoint)?;
        let groups = (0..config.num_hidden_groups)
            .map(|group| {
                (0..config.inner_group_num)
                    .map(|inner| Layer::load(checkpoint, group, inner))
                    .collect()
            })
            .collect::<Result<_>>()?;
        let pooler = if config.architecture.has_pooler() {
            Some(Dense::load(checkpoint, "albert.pooler")?)
        } else {
            None
        };
        Ok(Engine {
            head: Head::load(checkpoint, embeddings.words())?,
            config,
            embeddings,
            groups,
            pooler,
            pool: ThreadPool::new(options.threads)?,
            workspaces: Mutex::default(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &AlbertConfig {
        &self.config
    }

    /// Number of threads that a forward pass runs on.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Whether the model can run a row; [`Engine::forward`] asks the same of every row.
    ///
    /// # Errors
    /// What is wrong with the row, by position.
    pub fn check_row(&self, ids: &[u32], type_ids: Option<&[u32]>) -> Result<(), RowError> {
        check_row(&self.config, ids, type_ids)
    }

    /// Runs the model on a batch and returns what was asked for.
    ///
    /// A row's results are the same to the bit in every batch and with every number of threads.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a type id outside the model's types, a row longer than
    /// its positions, or a masked-LM position outside the batch; each named by row and position.
    pub fn forward(&self, batch: &Batch, what: &What) -> Result<Outputs> {
        batch.check(&self.config)?;
        let positions = what.masked_lm_positions.as_deref();
        if let Some(position) = positions
            .iter()
            .copied()
            .flatten()
            .find(|p| **p >= batch.tokens())
        {
            return Err(Error::PositionOutsideBatch {
                position: *position,
                tokens: batch.tokens(),
            });
        }
        let spare = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut workspace = spare.unwrap_or_default();
        let outputs = self.pool.install(|| self.run(batch, what, &mut workspace));
        self.workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(workspace);
        Ok(outputs)
    }

    fn run(&self, batch: &Batch, what: &What, workspace: &mut Workspace) -> Outputs {
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
        let mut pooled = pooler.apply(&gather(states, self.config.hidden_size, first));
        tanh(&mut pooled);
        Some(pooled)
    }

    fn run_head(&self, states: &[f32], pooled: Option<&[f32]>, what: &What, out: &mut Outputs) {
        let masked_lm = |head: &crate::heads::MaskedLm| match &what.masked_lm_positions {
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
