//! Batches as the model takes them.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{Error, Result, Rows};

/// Rows of ids, laid end to end.
#[derive(Clone, Debug)]
pub struct InputBatch<B: Backend> {
    ids: Tensor<B, 1, Int>,
    type_ids: Tensor<B, 1, Int>,
    rows: Rows,
}

impl<B: Backend> InputBatch<B> {
    /// From rows of ids and of type ids, as long as each other.
    ///
    /// # Errors
    /// There is no row, one is empty, or the two differ in shape.
    pub fn from_rows(ids: &[Vec<u32>], type_ids: &[Vec<u32>], device: &B::Device) -> Result<Self> {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let type_lengths: Vec<usize> = type_ids.iter().map(Vec::len).collect();
        if lengths != type_lengths {
            let message = "type ids are not as long as the ids in every row";
            return Err(Error::Batch(message.into()));
        }
        Ok(Self {
            ids: flat(ids.concat(), device),
            type_ids: flat(type_ids.concat(), device),
            rows: Rows::new(&lengths)?,
        })
    }

    /// Ids of all tokens, `[tokens]`.
    pub fn ids(&self) -> Tensor<B, 1, Int> {
        self.ids.clone()
    }

    /// Type ids of all tokens, `[tokens]`.
    pub fn type_ids(&self) -> Tensor<B, 1, Int> {
        self.type_ids.clone()
    }

    /// How the rows lie.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }
}

/// A batch for pretraining: whole rows padded to the longest. Padding is dropped before the
/// first layer, so that it costs nothing and no row sees it.
#[derive(Clone, Debug)]
pub struct PretrainBatch<B: Backend> {
    /// `[rows, len]`; what stands beyond a row's length is never read.
    pub ids: Tensor<B, 2, Int>,
    /// `[rows, len]`.
    pub type_ids: Tensor<B, 2, Int>,
    /// Each row's length, at most `len`.
    pub lengths: Vec<usize>,
    /// Where words are predicted, `[masked]`: the flat index `row * len + column`.
    pub masked_positions: Tensor<B, 1, Int>,
    /// The words there, `[masked]`.
    pub masked_labels: Tensor<B, 1, Int>,
    /// Order of each row's segments, `[rows]`: 0 in order, 1 swapped.
    pub order_labels: Tensor<B, 1, Int>,
}

impl<B: Backend> PretrainBatch<B> {
    /// From rows of ids and type ids, the masked places `(row, column, label)` and one order
    /// label a row.
    ///
    /// # Errors
    /// There is no row, one is empty, shapes differ, or a masked place lies outside its row.
    pub fn from_rows(
        ids: &[Vec<u32>],
        type_ids: &[Vec<u32>],
        masked: &[(usize, usize, u32)],
        order_labels: &[u32],
        device: &B::Device,
    ) -> Result<Self> {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let longest = Rows::new(&lengths)?.longest();
        let type_lengths: Vec<usize> = type_ids.iter().map(Vec::len).collect();
        if lengths != type_lengths {
            let message = "type ids are not as long as the ids in every row";
            return Err(Error::Batch(message.into()));
        }
        if order_labels.len() != lengths.len() {
            let (labels, rows) = (order_labels.len(), lengths.len());
            let message = format!("{labels} order labels for {rows} rows");
            return Err(Error::Batch(message));
        }
        for &(row, column, _) in masked {
            if lengths.get(row).is_none_or(|&length| column >= length) {
                let message = format!("masked place {column} of row {row} does not exist");
                return Err(Error::Batch(message));
            }
        }
        let padded = |rows: &[Vec<u32>]| {
            let mut flat_rows = vec![0; rows.len() * longest];
            for (to, from) in flat_rows.chunks_mut(longest).zip(rows) {
                to[..from.len()].copy_from_slice(from);
            }
            flat(flat_rows, device).reshape([rows.len(), longest])
        };
        let places = masked
            .iter()
            .map(|&(row, column, _)| (row * longest + column) as u32);
        Ok(Self {
            ids: padded(ids),
            type_ids: padded(type_ids),
            masked_positions: flat(places.collect(), device),
            masked_labels: flat(masked.iter().map(|&(.., label)| label).collect(), device),
            order_labels: flat(order_labels.to_vec(), device),
            lengths,
        })
    }

    /// The rows as they are, with their padding, and the masked positions among their tokens.
    ///
    /// # Errors
    /// The shapes contradict each other.
    pub(crate) fn padded(&self) -> Result<(InputBatch<B>, Tensor<B, 1, Int>)> {
        self.checked_rows()?;
        let [count, width] = self.ids.dims();
        let batch = InputBatch {
            ids: self.ids.clone().reshape([count * width]),
            type_ids: self.type_ids.clone().reshape([count * width]),
            rows: Rows::padded(&self.lengths, width)?,
        };
        Ok((batch, self.masked_positions.clone()))
    }

    /// The rows without padding, if they fit the tensors.
    fn checked_rows(&self) -> Result<Rows> {
        let [count, width] = self.ids.dims();
        let rows = Rows::new(&self.lengths)?;
        let shapes = [
            ("type_ids", self.type_ids.dims() == [count, width]),
            ("lengths", rows.count() == count && rows.longest() <= width),
            ("order_labels", self.order_labels.dims() == [count]),
            (
                "masked_labels",
                self.masked_labels.dims() == self.masked_positions.dims(),
            ),
            ("masked_positions", self.masked_positions.dims() != [0]),
        ];
        if let Some((field, _)) = shapes.iter().find(|(_, fits)| !fits) {
            let message = format!("`{field}` does not fit {count} rows of up to {width} tokens");
            return Err(Error::Batch(message));
        }
        Ok(rows)
    }

    /// The rows without padding, and the masked positions among their tokens.
    ///
    /// # Errors
    /// The shapes contradict each other.
    pub(crate) fn unpadded(&self) -> Result<(InputBatch<B>, Tensor<B, 1, Int>)> {
        let rows = self.checked_rows()?;
        let [count, width] = self.ids.dims();
        let ids = self.ids.clone().reshape([count * width]);
        let type_ids = self.type_ids.clone().reshape([count * width]);
        let positions = self.masked_positions.clone();
        if rows.are_full() && rows.longest() == width {
            let batch = InputBatch {
                ids,
                type_ids,
                rows,
            };
            return Ok((batch, positions));
        }
        let device = ids.device();
        let kept = rows.padded_indices(width);
        let mut places = vec![0_i32; count * width];
        for (place, &index) in kept.iter().enumerate() {
            places[index as usize] = place as i32;
        }
        let integers = |values: Vec<i32>| -> Tensor<B, 1, Int> {
            Tensor::from_data(TensorData::from(values.as_slice()), &device)
        };
        let kept = integers(kept);
        let batch = InputBatch {
            ids: ids.select(0, kept.clone()),
            type_ids: type_ids.select(0, kept),
            rows,
        };
        Ok((batch, integers(places).select(0, positions)))
    }
}

fn flat<B: Backend>(values: Vec<u32>, device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
    Tensor::from_data(TensorData::from(values.as_slice()), device)
}
