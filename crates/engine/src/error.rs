//! What can go wrong in the engine.

/// An error of the engine; it names the row and position, or the tensor, at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] albert_checkpoint::Error),
    /// The threads could not be started.
    #[error(transparent)]
    Threads(#[from] albert_kernels::ThreadPoolError),
    /// A row that the model cannot run.
    #[error("row {row}: {source}")]
    Row {
        /// Index of the row in the batch.
        row: usize,
        /// What is wrong with it.
        source: RowError,
    },
    /// Masked-LM logits were asked for at a token that the batch does not have.
    #[error("masked-LM position {position} is outside the batch of {tokens} tokens")]
    PositionOutsideBatch {
        /// The token index that was asked for.
        position: usize,
        /// Tokens in the batch.
        tokens: usize,
    },
}

/// Why a model cannot run a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// No tokens.
    #[error("the row is empty: a row needs at least one token")]
    Empty,
    /// Another number of type ids than of ids.
    #[error("the row has {ids} ids but {type_ids} type ids")]
    TypeIdsLength {
        /// Number of ids.
        ids: usize,
        /// Number of type ids.
        type_ids: usize,
    },
    /// More tokens than position embeddings.
    #[error("the row has {length} tokens, the model has positions for {limit}")]
    TooLong {
        /// Tokens in the row.
        length: usize,
        /// `max_position_embeddings`.
        limit: usize,
    },
    /// An id that the vocabulary does not have.
    #[error("position {position}: id {id} is outside the vocabulary of {vocab_size} pieces")]
    IdOutsideVocabulary {
        /// Position in the row, from 0.
        position: usize,
        /// The id.
        id: u32,
        /// `vocab_size`.
        vocab_size: usize,
    },
    /// A type id that the model does not have.
    #[error("position {position}: type id {id} is outside the model's {type_vocab_size} types")]
    TypeIdOutsideRange {
        /// Position in the row, from 0.
        position: usize,
        /// The type id.
        id: u32,
        /// `type_vocab_size`.
        type_vocab_size: usize,
    },
}

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;
