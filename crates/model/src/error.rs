//! What can go wrong between a configuration, a checkpoint and a batch.

/// The result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate; each names the field, tensor or batch entry at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or the checkpoint folder is unusable.
    #[error(transparent)]
    Checkpoint(#[from] albert_checkpoint::Error),
    /// The module needs another architecture than the configuration names.
    #[error("{module} needs architecture {needed}, but the configuration says {found}")]
    Architecture {
        /// The module that was asked for.
        module: &'static str,
        /// The architectures it accepts.
        needed: String,
        /// What the configuration says.
        found: String,
    },
    /// A batch that no forward pass can take.
    #[error("batch: {0}")]
    Batch(String),
    /// A parameter of the module without a name in the configuration, or the other way round.
    #[error("parameter `{0}` is not one of the configuration's")]
    UnknownParameter(String),
    /// Values for a parameter do not fit its shape.
    #[error("parameter `{name}` has shape {expected:?}, but {found} values were given")]
    ParameterShape {
        /// The parameter.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// How many values were given.
        found: usize,
    },
}
