//! A model with its threads and its working memory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use albert_checkpoint::{AlbertConfig, Checkpoint};
use albert_kernels::{ThreadPool, f32_peak, int8_peak};

use crate::batch::{Batch, check_row};
use crate::error::{Error, Result, RowError};
use crate::model::{Model, Workspace};
use crate::outputs::{Outputs, What};
use crate::shared::Shared;

/// How an [`Engine`] runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Number of threads; `None` for what the process may use
    /// ([`available_threads`](albert_kernels::available_threads)).
    pub threads: Option<usize>,
    /// Arithmetic of the layers' products.
    pub precision: Precision,
}

/// Arithmetic of the layers' products with their weights: nearly all there is to compute.
///
/// Embeddings, attention, norms, activations and heads are in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 8-bit integers: weights with a scale for each output, quantised as they are loaded;
    /// activations with a scale and a zero point for each token, as they come
    /// ([`QuantizedMatrix`](albert_kernels::QuantizedMatrix)). What the configuration names in
    /// `int8_skip_modules` stays in f32.
    Int8,
}

impl Precision {
    /// That of a checkpoint's weights: int8 where the layers are stored so, else f32.
    pub fn stored(checkpoint: &Checkpoint) -> Self {
        match checkpoint.is_int8() {
            true => Precision::Int8,
            false => Precision::F32,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }
}

/// An ALBERT, ready to run: weights in one precision, packed once for all the layers that share them.
///
/// An engine can be shared between threads; each forward pass that runs at the same time as
/// another takes working memory of its own, which is kept for later passes.
pub struct Engine {
    dir: PathBuf,
    model: Model,
    pool: ThreadPool,
    precision: Precision,
    workspaces: Mutex<Vec<Workspace>>,
}

impl Engine {
    /// Reads the weights, widens f16 and bf16 to f32 and packs each distinct layer once, in
    /// the precision asked for.
    ///
    /// # Errors
    /// If a tensor is missing or has a number that is not finite (every answer would be one), or
    /// the threads cannot be started.
    pub fn load(checkpoint: &Checkpoint, options: EngineOptions) -> Result<Self> {
        Self::load_from(checkpoint, options, None)
    }

    /// The same as one of several: what it has in common with those that were loaded with `shared`
    /// before is in memory once.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_with(
        checkpoint: &Checkpoint,
        options: EngineOptions,
        shared: &mut Shared,
    ) -> Result<Self> {
        Self::load_from(checkpoint, options, Some(shared))
    }

    fn load_from(
        checkpoint: &Checkpoint,
        options: EngineOptions,
        shared: Option<&mut Shared>,
    ) -> Result<Self> {
        checkpoint.check_finite()?;
        let pool = ThreadPool::new(options.threads)?;
        let model = pool.install(|| Model::load(checkpoint, options.precision, shared))?;
        Ok(Engine {
            dir: checkpoint.dir().to_owned(),
            model,
            pool,
            precision: options.precision,
            workspaces: Mutex::default(),
        })
    }

    #[cfg(test)]
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The folder that the weights are from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model's configuration.
    pub fn config(&self) -> &AlbertConfig {
        &self.model.config
    }

    /// Number of threads that a forward pass runs on.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Arithmetic of the layers' products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Operations, two a multiply-add, of the matrix products of one forward pass: what is not
    /// asked for is not counted, nor are embeddings, norms and activations.
    pub fn operations(&self, batch: &Batch, what: &What) -> f64 {
        self.model.operations(batch, what)
    }

    /// The most operations a second that this engine's threads reach in its precision, two a
    /// multiply-add; takes a fifth of a second ([`f32_peak`], [`int8_peak`]).
    pub fn peak_operations_per_second(&self) -> f64 {
        self.pool.install(|| match self.precision {
            Precision::F32 => f32_peak(),
            Precision::Int8 => int8_peak(),
        })
    }

    /// Whether the model can run a row; [`Engine::forward`] asks the same of every row.
    ///
    /// # Errors
    /// What is wrong with the row, by position.
    pub fn check_row(&self, ids: &[u32], type_ids: Option<&[u32]>) -> Result<(), RowError> {
        check_row(&self.model.config, ids, type_ids)
    }

    /// Runs the model on a batch and returns what was asked for.
    ///
    /// A row's results are the same to the bit in every batch and with every number of threads.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a type id outside the model's types, a row longer than
    /// its positions, or a masked-LM position outside the batch; each named by row and position.
    pub fn forward(&self, batch: &Batch, what: &What) -> Result<Outputs> {
        batch.check(&self.model.config)?;
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
        let outputs = self
            .pool
            .install(|| self.model.run(batch, what, &mut workspace));
        self.workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(workspace);
        Ok(outputs)
    }
}
