//! How rows of different length lie end to end.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{Error, Result};

/// The lengths of a batch's rows, which lie end to end without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    lengths: Vec<usize>,
    starts: Vec<usize>,
}

impl Rows {
    /// Rows of these lengths.
    ///
    /// # Errors
    /// There is no row, or one is empty.
    pub fn new(lengths: &[usize]) -> Result<Self> {
        if lengths.is_empty() {
            return Err(Error::Batch("there are no rows".into()));
        }
        if let Some(row) = lengths.iter().position(|&length| length == 0) {
            return Err(Error::Batch(format!("row {row} is empty")));
        }
        let mut starts = Vec::with_capacity(lengths.len());
        let mut start = 0;
        for &length in lengths {
            starts.push(start);
            start += length;
        }
        Ok(Self {
            lengths: lengths.to_vec(),
            starts,
        })
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Number of tokens in all rows.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// The longest row's length.
    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Length of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Index of each row's first token among all tokens.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Whether all rows are equally long.
    pub fn are_full(&self) -> bool {
        self.lengths.iter().all(|&length| length == self.lengths[0])
    }

    /// The tokens of these rows among those of rows padded to `width`: `row * width + column`.
    pub(crate) fn padded_indices(&self, width: usize) -> Vec<i32> {
        let rows = self.lengths.iter().enumerate();
        rows.flat_map(|(row, &length)| (0..length).map(move |column| (row * width + column) as i32))
            .collect()
    }

    /// The position of each token in its row.
    pub(crate) fn positions(&self) -> Vec<i32> {
        let rows = self.lengths.iter();
        rows.flat_map(|&length| (0..length).map(|column| column as i32))
            .collect()
    }
}

/// Some of the tokens of a batch, in order: those whose outputs anyone asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    tokens: Vec<usize>,
    counts: Vec<usize>,
}

impl Selection {
    /// The first token of each row, and `others` among all tokens, in any order and as often as
    /// they like.
    ///
    /// # Errors
    /// There is no such token.
    pub(crate) fn with_starts(rows: &Rows, others: &[usize]) -> Result<Self> {
        let mut tokens: Vec<usize> = rows.starts().iter().chain(others).copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        if let Some(&last) = tokens.last()
            && last >= rows.tokens()
        {
            let message = format!("token {last} of {} does not exist", rows.tokens());
            return Err(Error::Batch(message));
        }
        let ends = rows.starts().iter().zip(rows.lengths());
        let before: Vec<usize> = ends
            .map(|(start, length)| tokens.partition_point(|&token| token < start + length))
            .collect();
        let counts = before.iter().scan(0, |last, &before| {
            let count = before - *last;
            *last = before;
            Some(count)
        });
        Ok(Self {
            counts: counts.collect(),
            tokens,
        })
    }

    /// How many tokens of each row are selected.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The selected tokens among all, ascending.
    pub fn tokens(&self) -> &[usize] {
        &self.tokens
    }

    /// The same as a tensor `[selected]`.
    pub(crate) fn indices<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        let tokens: Vec<i32> = self.tokens.iter().map(|&token| token as i32).collect();
        Tensor::from_data(TensorData::from(tokens.as_slice()), device)
    }

    /// Where each of `tokens` stands among the selected, `[tokens]`; they must be selected.
    pub(crate) fn places<B: Backend>(
        &self,
        tokens: &[usize],
        device: &B::Device,
    ) -> Tensor<B, 1, Int> {
        let place = |token: &usize| self.tokens.partition_point(|other| other < token) as i32;
        let places: Vec<i32> = tokens.iter().map(place).collect();
        Tensor::from_data(TensorData::from(places.as_slice()), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_in_order_and_counted_by_row() {
        let rows = Rows::new(&[3, 1, 4]).expect("rows");
        let selection = Selection::with_starts(&rows, &[7, 2, 7, 0]).expect("a selection");
        assert_eq!(selection.tokens(), [0, 2, 3, 4, 7]);
        assert_eq!(selection.counts(), [2, 1, 2]);
        assert!(Selection::with_starts(&rows, &[8]).is_err());
    }
}
