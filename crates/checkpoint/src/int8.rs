//! Weights as 8-bit integers, each output with a scale of its own.

/// What an int8 matrix is multiplied by, an output each, stands under the matrix's name and this.
pub(crate) const SCALE: &str = "_scale";

/// The greatest integer; symmetric, so that no sign is favoured.
const GREATEST: f32 = 127.0;

/// Whether a tensor is a matrix that layers multiply by: what an engine runs in int8.
pub(crate) fn is_layer_matrix(canonical: &str, shape: &[usize]) -> bool {
    canonical.starts_with("albert.encoder.albert_layer_groups.") && shape.len() == 2
}

/// A matrix `[outputs, inputs]` as integers and the outputs' scales: the greatest of an output's
/// weights is 127 times its scale, as in the engine's int8.
pub(crate) fn quantize(weight: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let inputs = weight.len().checked_div(outputs).unwrap_or(0);
    let (mut integers, mut scales) = (Vec::with_capacity(weight.len()), Vec::new());
    for output in weight.chunks_exact(inputs.max(1)) {
        let greatest = output.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
        let scale = greatest / GREATEST;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let integer = |w: &f32| (w * inverse).round().clamp(-GREATEST, GREATEST) as i8;
        integers.extend(output.iter().map(integer));
        scales.push(scale);
    }
    (integers, scales)
}
