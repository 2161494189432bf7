//! Rows of ids, end to end.

use std::ops::Range;

use albert_checkpoint::AlbertConfig;

use crate::error::{Error, Result, RowError};

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
        check_lengths(ids, type_ids).map_err(|source| Error::Row {
            row: self.rows.len(),
            source,
        })?;
        match type_ids {
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
            check_row(
                config,
                &self.ids[range.clone()],
                Some(&self.type_ids[range.clone()]),
            )
            .map_err(|source| Error::Row { row, source })?;
        }
        Ok(())
    }
}

fn check_lengths(ids: &[u32], type_ids: Option<&[u32]>) -> Result<(), RowError> {
    match type_ids {
        _ if ids.is_empty() => Err(RowError::Empty),
        Some(types) if types.len() != ids.len() => Err(RowError::TypeIdsLength {
            ids: ids.len(),
            type_ids: types.len(),
        }),
        _ => Ok(()),
    }
}

/// Whether a model of this configuration can run a row.
pub(crate) fn check_row(
    config: &AlbertConfig,
    ids: &[u32],
    type_ids: Option<&[u32]>,
) -> Result<(), RowError> {
    check_lengths(ids, type_ids)?;
    let limit = config.max_position_embeddings;
    if ids.len() > limit {
        return Err(RowError::TooLong {
            length: ids.len(),
            limit,
        });
    }
    let vocab_size = config.vocab_size;
    if let Some(position) = ids.iter().position(|&id| id as usize >= vocab_size) {
        return Err(RowError::IdOutsideVocabulary {
            position,
            id: ids[position],
            vocab_size,
        });
    }
    let types = type_ids.unwrap_or_default();
    let type_vocab_size = config.type_vocab_size;
    if let Some(position) = types.iter().position(|&id| id as usize >= type_vocab_size) {
        let id = types[position];
        return Err(RowError::TypeIdOutsideRange {
            position,
            id,
            type_vocab_size,
        });
    }
    Ok(())
}
