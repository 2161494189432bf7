//! How rows of different length lie end to end.

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
