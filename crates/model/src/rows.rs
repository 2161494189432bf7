//! How rows of different length lie end to end.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{Error, Result};

/// The lengths of a batch's rows, which lie end to end: as a rule without padding, so that it costs
/// nothing, and padded to one width where a device is faster with equal rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    lengths: Vec<usize>,
    starts: Vec<usize>,
    /// What every row takes up, if they are padded.
    width: Option<usize>,
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
            width: None,
        })
    }

    /// Rows of these lengths, each followed by padding up to `width` tokens, which no other token
    /// sees.
    ///
    /// # Errors
    /// There is no row, or one is empty or longer.
    pub fn padded(lengths: &[usize], width: usize) -> Result<Self> {
        let rows = Self::new(lengths)?;
        if let Some(row) = lengths.iter().position(|&length| length > width) {
            let message = format!("row {row} is longer than {width} tokens");
            return Err(Error::Batch(message));
        }
        Ok(Self {
            starts: (0..lengths.len()).map(|row| row * width).collect(),
            width: Some(width),
            ..rows
        })
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Number of tokens in all rows, padding included where there is any.
    pub fn tokens(&self) -> usize {
        match self.width {
            Some(width) => self.count() * width,
            None => self.lengths.iter().sum(),
        }
    }

    /// How many tokens the longest row takes up.
    pub fn longest(&self) -> usize {
        let longest = self.lengths.iter().copied().max();
        self.width.or(longest).unwrap_or(0)
    }

    /// Length of each row, without padding.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Index of each row's first token among all tokens.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Whether all rows are equally long, and nothing is padding.
    pub fn are_full(&self) -> bool {
        let longest = self.longest();
        self.lengths.iter().all(|&length| length == longest)
    }

    /// Whether no row is followed by room for padding.
    pub(crate) fn are_loose(&self) -> bool {
        self.width.is_none()
    }

    /// Whether all rows take up equally many tokens, padding included.
    pub(crate) fn are_level(&self) -> bool {
        self.width.is_some() || self.are_full()
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
        rows.flat_map(|&length| 0..self.width.unwrap_or(length) as i32)
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
    fn padded_rows_take_up_their_width() {
        let rows = Rows::padded(&[3, 1], 4).expect("rows");
        assert_eq!((rows.tokens(), rows.longest()), (8, 4));
        assert_eq!((rows.starts(), rows.lengths()), (&[0, 4][..], &[3, 1][..]));
        assert_eq!(rows.positions(), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert!(rows.are_level() && !rows.are_full());
        assert!(Rows::padded(&[4, 4], 4).is_ok_and(|rows| rows.are_full()));
        let loose = Rows::new(&[3, 1]).expect("rows");
        assert!(!loose.are_level() && loose.positions() == [0, 1, 2, 0]);
        let error = Rows::padded(&[3, 5], 4).expect_err("too narrow");
        assert!(error.to_string().contains("row 1"), "{error}");
    }

    #[test]
    fn a_selection_is_in_order_and_counted_by_row() {
        let rows = Rows::new(&[3, 1, 4]).expect("rows");
        let selection = Selection::with_starts(&rows, &[7, 2, 7, 0]).expect("a selection");
        assert_eq!(selection.tokens(), [0, 2, 3, 4, 7]);
        assert_eq!(selection.counts(), [2, 1, 2]);
        assert!(Selection::with_starts(&rows, &[8]).is_err());
    }
}
