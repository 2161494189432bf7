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
    /// A depth that the model cannot be trained at.
    #[error(
        "{depth} layers of a model with {layers} in {groups} groups: a depth is from 1 to all of \
         them, and fewer only where one group shares its weights"
    )]
    Depth {
        /// The depth that was asked for.
        depth: usize,
        /// The layers of the configuration.
        layers: usize,
        /// Its groups.
        groups: usize,
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
    /// A device is not there, or cannot compute.
    #[error("the device {device} cannot be used: {message}")]
    Device {
        /// The device, as the backend names it.
        device: String,
        /// What is wrong with it.
        message: String,
    },
}
