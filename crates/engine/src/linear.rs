//! The products of a layer, in the engine's precision.

use albert_checkpoint::Checkpoint;
use albert_kernels::{Activation, QuantizedMatrix, QuantizedRows};

use crate::dense::{Dense, read_fused};
use crate::engine::Precision;
use crate::error::Result;

/// `y = x Wᵀ + b` with a weight that every use of the layer shares.
pub(crate) enum Linear {
    F32(Dense),
    Int8(QuantizedMatrix, Vec<f32>),
}

impl Linear {
    /// One product whose outputs are those of several tensors on the same input, one after the
    /// other: `{name}.weight`, `[outputs, inputs]`, and `{name}.bias` of each name.
    pub(crate) fn load<S: AsRef<str>>(
        checkpoint: &Checkpoint,
        names: &[S],
        precision: Precision,
    ) -> Result<Self> {
        let (weight, inputs, bias) = read_fused(checkpoint, names)?;
        Ok(match precision {
            Precision::F32 => Linear::F32(Dense::new(&weight, inputs, bias)),
            Precision::Int8 => {
                Linear::Int8(QuantizedMatrix::new(&weight, bias.len(), inputs), bias)
            }
        })
    }

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Linear::F32(dense) => dense.outputs(),
            Linear::Int8(weight, _) => weight.outputs(),
        }
    }

    /// `x`: `[tokens, inputs]`, `out`: `[tokens, outputs]`; `rows` is room for `x` quantised.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        activation: Option<Activation>,
        rows: &mut QuantizedRows,
        out: &mut [f32],
    ) {
        match self {
            Linear::F32(dense) => match activation {
                None => dense.forward(x, out),
                Some(activation) => dense.forward_activate(x, activation, out),
            },
            Linear::Int8(weight, bias) => {
                rows.quantize(x, weight.inputs());
                weight.multiply(rows, Some(bias), activation, out);
            }
        }
    }
}
