//! Weights as 8-bit integers, each output with a scale of its own.

use crate::config::AlbertConfig;

/// What an int8 matrix is multiplied by, an output each, stands under the matrix's name and this.
pub(crate) const SCALE: &str = "_scale";

/// What the names of the layers' tensors begin with; `{group}.albert_layers.{inner}.{module}.`
/// comes next.
const LAYERS: &str = "albert.encoder.albert_layer_groups.";

/// Whether a tensor is a matrix that layers multiply by: what may be in int8.
pub(crate) fn is_layer_matrix(canonical: &str, shape: &[usize]) -> bool {
    canonical.starts_with(LAYERS) && shape.len() == 2
}

/// Whether a tensor is of a module that stays in floating point.
pub(crate) fn is_skipped(config: &AlbertConfig, canonical: &str) -> bool {
    let rest = canonical.strip_prefix(LAYERS).unwrap_or_default();
    let module = rest.split('.').nth(3);
    let mut skipped = config.int8_skip_modules.iter();
    skipped.any(|skipped| Some(skipped.name()) == module)
}
