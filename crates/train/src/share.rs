//! The rows of a batch that one of several processes takes, and what they weigh in its losses.

use std::borrow::Cow;
use std::ops::Range;

use albert_model::{PretrainOutput, TrainingBackend};
use burn::tensor::Tensor;

use crate::batches::HostBatch;
use crate::peers::Peers;

/// A process's share of a batch.
///
/// The masked-LM loss is a mean over the batch's masked pieces, the order loss one over its rows.
/// Each process computes both means over its own rows; weighted by its part of the masked pieces
/// and of the rows, they and their gradients sum to those of the whole batch. An unweighted mean
/// over processes would not: rows differ in their number of masked pieces.
#[derive(Debug)]
pub(crate) struct Share<'b> {
    /// Its rows.
    pub(crate) batch: Cow<'b, HostBatch>,
    /// Its part of the batch's masked pieces.
    pub(crate) of_masked: f64,
    /// Its part of the batch's rows.
    pub(crate) of_rows: f64,
}

impl<'b> Share<'b> {
    /// This process's share; `None` where there are fewer rows than processes and it has none.
    pub(crate) fn new(whole: &'b HostBatch, peers: &dyn Peers) -> Option<Share<'b>> {
        if peers.count() == 1 {
            return Some(Share {
                batch: Cow::Borrowed(whole),
                of_masked: 1.0,
                of_rows: 1.0,
            });
        }
        let (rank, count) = (peers.rank(), peers.count());
        let rows = whole.rows * rank / count..whole.rows * (rank + 1) / count;
        let batch = slice(whole, rows);
        let part = |of: usize, all: usize| of as f64 / all.max(1) as f64;
        (batch.rows > 0).then(|| Share {
            of_masked: part(batch.masked_labels.len(), whole.masked_labels.len()),
            of_rows: part(batch.rows, whole.rows),
            batch: Cow::Owned(batch),
        })
    }

    /// What this process minimises, `[1]`, where the order's loss weighs so much.
    pub(crate) fn loss<B: TrainingBackend>(
        &self,
        output: &PretrainOutput<B>,
        order_weight: f64,
    ) -> Tensor<B, 1> {
        match &self.batch {
            Cow::Borrowed(_) if order_weight == 1.0 => output.loss.clone(),
            _ => {
                let masked_lm = output.masked_lm_loss.clone() * self.of_masked;
                masked_lm + output.order_loss.clone() * (self.of_rows * order_weight)
            }
        }
    }
}

/// Some rows of a batch.
fn slice(whole: &HostBatch, rows: Range<usize>) -> HostBatch {
    let positions = rows.start * whole.len..rows.end * whole.len;
    let masked = whole
        .masked_positions
        .iter()
        .zip(&whole.masked_labels)
        .filter(|(position, _)| positions.contains(&(**position as usize)));
    let (masked_positions, masked_labels) = masked
        .map(|(position, label)| (position - positions.start as i32, *label))
        .unzip();
    HostBatch {
        rows: rows.len(),
        len: whole.len,
        ids: whole.ids[positions.clone()].to_vec(),
        type_ids: whole.type_ids[positions.clone()].to_vec(),
        lengths: whole.lengths[rows.clone()].to_vec(),
        masked_positions,
        masked_labels,
        order_labels: whole.order_labels[rows.clone()].to_vec(),
        examples: whole.examples[rows].to_vec(),
        position: whole.position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::masking::MaskedRow;

    /// One of so many processes that never speak.
    struct Silent(usize, usize);

    impl Peers for Silent {
        fn rank(&self) -> usize {
            self.0
        }
        fn count(&self) -> usize {
            self.1
        }
        fn sum(&self, _values: &mut [f32]) -> Result<()> {
            Ok(())
        }
        fn sum_wide(&self, _values: &mut [f64]) -> Result<()> {
            Ok(())
        }
        fn follow(&self, _values: &mut [u64]) -> Result<()> {
            Ok(())
        }
        fn first_failure(&self, _failed: bool) -> Result<Option<usize>> {
            Ok(None)
        }
    }

    fn batch(rows: usize) -> HostBatch {
        let row = |i: usize| MaskedRow {
            ids: vec![i as u32; 5 + i],
            first_segment: 2,
            positions: (1..2 + i % 3).collect(),
            labels: (1..2 + i as u32 % 3).collect(),
        };
        let masked: Vec<MaskedRow> = (0..rows).map(row).collect();
        HostBatch {
            examples: (0..rows as u32).collect(),
            ..HostBatch::new(&masked, (0..rows as i32).collect(), 0)
        }
    }

    #[test]
    fn shares_make_the_whole_batch() {
        for (rows, count) in [(8, 2), (8, 3), (7, 4), (5, 5), (2, 3)] {
            let whole = batch(rows);
            let (mut seen, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
            let (mut of_masked, mut of_rows) = (0.0, 0.0);
            for rank in 0..count {
                let Some(share) = Share::new(&whole, &Silent(rank, count)) else {
                    assert!(rows < count, "a process without rows");
                    continue;
                };
                let part = &share.batch;
                assert_eq!(part.ids.len(), part.rows * part.len);
                assert!(part.rows.abs_diff(rows / count) <= 1, "even shares");
                let first = seen.len();
                let place = |p: &i32| (first + *p as usize / part.len, *p as usize % part.len);
                places.extend(part.masked_positions.iter().map(place));
                labels.extend(part.masked_labels.iter().copied());
                seen.extend(part.examples.iter().copied());
                of_masked += share.of_masked;
                of_rows += share.of_rows;
            }
            assert_eq!((&seen, &labels), (&whole.examples, &whole.masked_labels));
            let place = |p: &i32| (*p as usize / whole.len, *p as usize % whole.len);
            let expected: Vec<_> = whole.masked_positions.iter().map(place).collect();
            assert_eq!(places, expected);
            // A few additions of doubles near 1.
            assert!((of_masked - 1.0).abs() < 1e-14 && (of_rows - 1.0).abs() < 1e-14);
        }
    }
}
