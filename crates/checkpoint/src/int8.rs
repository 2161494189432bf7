//! Weights as 8-bit integers, each output with a scale of its own.

/// What an int8 matrix is multiplied by, an output each, stands under the matrix's name and this.
pub(crate) const SCALE: &str = "_scale";

/// Whether a tensor is a matrix that layers multiply by: what an engine runs in int8.
pub(crate) fn is_layer_matrix(canonical: &str, shape: &[usize]) -> bool {
    canonical.starts_with("albert.encoder.albert_layer_groups.") && shape.len() == 2
}
