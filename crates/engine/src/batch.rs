//! Rows of ids, end to end.

use std::ops::Range;

use albert_checkpoint::AlbertConfig;

use crate::error::{Error, Result};

/// Rows of token ids of different lengths, laid end to end without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    rows: Vec<Range<usize>>,
}

impl Batch {
    /// A batch without rows.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Appends a row; without `type_ids` all its tokens are of type 0.
    ///
    /// # Errors
    /// If the row is empty or `type_ids` has another length than `ids`. Ids are checked against a
    /// model's vocabulary when the batch is run.
    pub fn push(&mut self, ids: &[u32], type_ids: Option<&[u32]>) -> Result<()> {
        let row = self.rows.len();
        if ids.is_empty() {
            return Err(Error::EmptyRow { row });
        }
        match type_ids {
            Some(types) if types.len() != ids.len() => {
                return Err(Error::TypeIdsLength {
                    row,
                    ids: ids.len(),
                    type_ids: types.len(),
                });
            }
            Some(types) => self.type_ids.extend_from_slice(types),
            None => self.type_ids.resize(self.ids.len() + ids.len(), 0),
        }
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.rows.push(start..self.ids.len());
        Ok(())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Where row `i`'s tokens lie among all tokens of the batch.
    ///
    /// # Panics
    /// If there is no row `i`.
    pub fn row(&self, i: usize) -> Range<usize> {
        self.rows[i].clone()
    }

    /// The token ranges of all rows, in order.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.rows
    }

    /// The ids of all rows, end to end.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The type ids of all rows, end to end.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }

    /// Whether a model of this configuration can run the batch.
    pub(crate) fn check(&self, config: &AlbertConfig) -> Result<()> {
        for (row, range) in self.rows.iter().enumerate() {
            if range.len() > config.max_position_embeddings {
                return Err(Error::RowTooLong {
                    row,
                    length: range.len(),
                    limit: config.max_position_embeddings,
                });
            }
            for (position, token) in range.clone().enumerate() {
                if self.ids[token] as usize >= config.vocab_size {
                    return Err(Error::IdOutsideVocabulary {
                        row,
                        position,
                        id: self.ids[token],
                        vocab_size: config.vocab_size,
                    });
                }
                if self.type_ids[token] as usize >= config.type_vocab_size {
                    return Err(Error::TypeIdOutsideRange {
                        row,
                        position,
                        id: self.type_ids[token],
                        type_vocab_size: config.type_vocab_size,
                    });
                }
            }
        }
        Ok(())
    }
}
