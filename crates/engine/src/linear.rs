//! The products of a layer, in the engine's precision.

use albert_checkpoint::Checkpoint;
use albert_kernels::{Activation, QuantizedMatrix, QuantizedRows};

use crate::dense::{Dense, read_bias, read_fused};
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
        if precision == Precision::Int8
            && let Some((integers, scales)) = read_int8(checkpoint, names)?
        {
            let bias = read_bias(checkpoint, names)?;
            let weight = QuantizedMatrix::from_integers(&integers, &scales);
            return Ok(Linear::Int8(weight, bias));
        }
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

/// The integers of several weights one after the other, and the scales of their outputs, where the
/// checkpoint stores them so.
fn read_int8<S: AsRef<str>>(
    checkpoint: &Checkpoint,
    names: &[S],
) -> Result<Option<(Vec<i8>, Vec<f32>)>> {
    let (mut integers, mut scales) = (Vec::new(), Vec::new());
    for name in names {
        let part = checkpoint.tensor(&format!("{}.weight", name.as_ref()))?;
        let Some(part) = part.to_int8() else {
            return Ok(None);
        };
        integers.extend(part.0);
        scales.extend(part.1);
        checkpoint.release();
    }
    Ok(Some((integers, scales)))
}
