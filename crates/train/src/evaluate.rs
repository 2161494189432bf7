//! Losses and accuracies on held-out pairs while a run goes on.

use albert_model::{AlbertBackend, AlbertForPreTraining, PretrainBatch};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::batches::{BatchSource, HostBatch, Masks, Pass};
use crate::error::Result;
use crate::metrics::DevScores;

/// Rows are padded to a multiple of this many positions where padding stays: every further width
/// has kernels of its own, which take seconds to compile.
const WIDTHS: usize = 32;

/// A batch's arrays on a device, for a model of `positions` positions.
pub(crate) fn to_device<B: AlbertBackend>(
    batch: &HostBatch,
    positions: usize,
    device: &B::Device,
) -> PretrainBatch<B> {
    let width = batch.len.next_multiple_of(WIDTHS).min(positions);
    let widened = (!B::HOST && width > batch.len).then(|| batch.widened(width));
    let batch = widened.as_ref().unwrap_or(batch);
    let flat = |values: &[i32]| -> Tensor<B, 1, Int> {
        Tensor::from_data(TensorData::from(values), device)
    };
    let shape = [batch.rows, batch.len];
    PretrainBatch {
        ids: flat(&batch.ids).reshape(shape),
        type_ids: flat(&batch.type_ids).reshape(shape),
        lengths: batch.lengths.clone(),
        masked_positions: flat(&batch.masked_positions),
        masked_labels: flat(&batch.masked_labels),
        order_labels: flat(&batch.order_labels),
    }
}

/// How many rows of `logits` (`[items, classes]`) are greatest at their label (`[items]`), `[1]`.
pub(crate) fn right<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1, Int> {
    let guesses = logits.argmax(1).flatten::<1>(0, 1);
    guesses.equal(labels).int().sum()
}

/// The count in a tensor `[1]`.
fn count<B: Backend>(tensor: Tensor<B, 1, Int>) -> u64 {
    tensor.into_data().iter::<i64>().sum::<i64>() as u64
}

/// The number in a tensor `[1]`.
pub(crate) fn scalar<B: Backend>(tensor: Tensor<B, 1>) -> f32 {
    tensor.into_data().iter::<f32>().next().unwrap_or(f32::NAN)
}

/// Held-out pairs, the same at every evaluation of a stage.
#[derive(Debug)]
pub(crate) struct DevSet {
    batches: Vec<HostBatch>,
}

impl DevSet {
    /// At most `examples` pairs from the documents of `source`, in full batches. They are masked
    /// as `score` does, so that the curve foretells the score.
    pub(crate) fn new(source: &BatchSource, examples: usize) -> DevSet {
        let mut source = source.clone();
        source.masks = Masks::Scoring;
        source.pairs.short_share = 0.0;
        source.pairs.both_orders = false;
        source.rows = source.rows.min(examples);
        // Pass numbers of training count from 0 and never come near this one.
        let mut pass = Pass::new(&source, u64::MAX);
        pass.truncate(examples);
        DevSet {
            batches: (0..pass.batches()).map(|batch| pass.batch(batch)).collect(),
        }
    }

    /// How many pairs there are.
    pub(crate) fn pairs(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows).sum()
    }

    /// The scores of a model.
    pub(crate) fn evaluate<B: AlbertBackend>(
        &self,
        model: &AlbertForPreTraining<B>,
        device: &B::Device,
    ) -> Result<DevScores> {
        let (mut masked, mut masked_right, mut masked_loss) = (0, 0, 0.0);
        let (mut pairs, mut pairs_right, mut order_loss) = (0, 0, 0.0);
        for host in &self.batches {
            let batch = to_device::<B>(host, model.config().max_position_embeddings, device);
            let output = model.forward(&batch, None)?;
            masked_right += count(right(output.masked_lm_logits, batch.masked_labels));
            pairs_right += count(right(output.order_logits, batch.order_labels));
            masked_loss +=
                f64::from(scalar(output.masked_lm_loss)) * host.masked_labels.len() as f64;
            order_loss += f64::from(scalar(output.order_loss)) * host.rows as f64;
            masked += host.masked_labels.len();
            pairs += host.rows;
        }
        let masked_lm_loss = masked_loss / masked as f64;
        Ok(DevScores {
            loss: masked_lm_loss + order_loss / pairs as f64,
            masked_lm_loss,
            masked_lm_accuracy: masked_right as f64 / masked as f64,
            order_accuracy: pairs_right as f64 / pairs as f64,
        })
    }
}
