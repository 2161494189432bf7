//! Dense layers and layer norms as a checkpoint names them.

use albert_checkpoint::{Activation, Checkpoint};
use albert_kernels::{self as kernels, PackedMatrix};

use crate::error::Result;

/// `y = x Wᵀ + b`.
pub(crate) struct Dense {
    weight: PackedMatrix,
    bias: Vec<f32>,
}

impl Dense {
    /// Packs `{name}.weight`, `[outputs, inputs]`, and reads `{name}.bias`.
    pub(crate) fn load(checkpoint: &Checkpoint, name: &str) -> Result<Self> {
        let (weight, inputs, bias) = read_fused(checkpoint, &[name])?;
        Ok(Self::new(&weight, inputs, bias))
    }

    /// A layer of a weight `[outputs, inputs]` and a bias `[outputs]`.
    pub(crate) fn new(weight: &[f32], inputs: usize, bias: Vec<f32>) -> Self {
        Dense {
            weight: PackedMatrix::new(weight, bias.len(), inputs),
            bias,
        }
    }

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// `x`: `[tokens, inputs]`, `out`: `[tokens, outputs]`.
    pub(crate) fn forward(&self, x: &[f32], out: &mut [f32]) {
        self.weight.multiply(x, Some(&self.bias), out);
    }

    /// [`forward`](Self::forward), then an activation of each element.
    pub(crate) fn forward_activate(
        &self,
        x: &[f32],
        activation: kernels::Activation,
        out: &mut [f32],
    ) {
        self.weight
            .multiply_activate(x, Some(&self.bias), activation, out);
    }

    /// [`forward`](Self::forward) into a new vector.
    pub(crate) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = self.room_for(x);
        self.forward(x, &mut out);
        out
    }

    /// [`forward_activate`](Self::forward_activate) into a new vector.
    pub(crate) fn apply_activate(&self, x: &[f32], activation: kernels::Activation) -> Vec<f32> {
        let mut out = self.room_for(x);
        self.forward_activate(x, activation, &mut out);
        out
    }

    fn room_for(&self, x: &[f32]) -> Vec<f32> {
        vec![0.0; x.len() / self.weight.inputs().max(1) * self.outputs()]
    }
}

/// The weights of several dense layers on the same input, `[outputs, inputs]` one after the other,
/// their number of inputs, and their biases.
pub(crate) fn read_fused<S: AsRef<str>>(
    checkpoint: &Checkpoint,
    names: &[S],
) -> Result<(Vec<f32>, usize, Vec<f32>)> {
    let (mut weight, mut inputs) = (Vec::new(), 0);
    for name in names {
        let part = checkpoint.tensor(&format!("{}.weight", name.as_ref()))?;
        inputs = part.shape.get(1).copied().unwrap_or(0);
        weight.extend_from_slice(&part.to_f32());
        checkpoint.release();
    }
    Ok((weight, inputs, read_bias(checkpoint, names)?))
}

/// The biases of several dense layers one after the other.
pub(crate) fn read_bias<S: AsRef<str>>(checkpoint: &Checkpoint, names: &[S]) -> Result<Vec<f32>> {
    let mut bias = Vec::new();
    for name in names {
        let part = checkpoint.tensor(&format!("{}.bias", name.as_ref()))?;
        bias.extend_from_slice(&part.to_f32());
    }
    Ok(bias)
}

/// Layer normalisation.
pub(crate) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// Reads `{name}.weight` and `{name}.bias`.
    pub(crate) fn load(checkpoint: &Checkpoint, name: &str) -> Result<Self> {
        let read = |part: &str| -> Result<Vec<f32>> {
            Ok(checkpoint
                .tensor(&format!("{name}.{part}"))?
                .to_f32()
                .into_owned())
        };
        Ok(LayerNorm {
            weight: read("weight")?,
            bias: read("bias")?,
            epsilon: checkpoint.config().layer_norm_eps,
        })
    }

    /// `x = LayerNorm(x)`, `[tokens, width]`.
    pub(crate) fn forward(&self, x: &mut [f32]) {
        kernels::layer_norm(x, &self.weight, &self.bias, self.epsilon);
    }

    /// `x = LayerNorm(x + residual)`, both `[tokens, width]`.
    pub(crate) fn forward_add(&self, x: &mut [f32], residual: &[f32]) {
        kernels::add_layer_norm(x, residual, &self.weight, &self.bias, self.epsilon);
    }
}

/// The kernel of a configuration's `hidden_act`.
pub(crate) fn kernel(activation: Activation) -> kernels::Activation {
    match activation {
        Activation::GeluNew => kernels::Activation::GeluTanh,
        Activation::Gelu => kernels::Activation::GeluErf,
        Activation::Relu => kernels::Activation::Relu,
        Activation::Tanh => kernels::Activation::Tanh,
        Activation::Silu => kernels::Activation::Silu,
    }
}
