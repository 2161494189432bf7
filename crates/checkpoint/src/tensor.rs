//! One tensor of a checkpoint, and the number formats it can have.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};

use crate::mmap::as_f32;

/// How a weight file stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// The upper 16 bits of 32-bit floats.
    Bf16,
    /// 8-bit integers in -127..=127, each output of a matrix with an f32 scale of its own beside
    /// it ([`save_int8`](crate::save_int8)).
    I8,
}

impl DType {
    /// Every one.
    pub(crate) const ALL: [DType; 4] = [Self::F32, Self::F16, Self::Bf16, Self::I8];

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }

    /// The name in a safetensors header.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I8 => "I8",
        }
    }

    /// PyTorch's name, which `config.json` uses.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I8 => "int8",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "int8",
        })
    }
}

impl std::str::FromStr for DType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("{name:?} is none of f32, f16, bf16")),
        }
    }
}

/// A tensor where it lies in a mapped file, in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Canonical name.
    pub name: &'a str,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// How the file stores the numbers.
    pub dtype: DType,
    /// The numbers, little-endian; `shape` and `dtype` give their length.
    pub(crate) bytes: &'a [u8],
    /// What an output's integers are multiplied by, f32 little-endian; none but for
    /// [`DType::I8`].
    pub(crate) scales: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The numbers in f32, exactly: borrowed from the file where it stores f32
    /// at a fitting address, else converted.
    pub fn to_f32(&self) -> Cow<'a, [f32]> {
        match self.dtype {
            DType::F32 => match as_f32(self.bytes) {
                Some(numbers) => Cow::Borrowed(numbers),
                None => Cow::Owned(convert(self.bytes, f32::from_le_bytes)),
            },
            DType::F16 => Cow::Owned(convert(self.bytes, |b| f16::from_le_bytes(b).to_f32())),
            DType::Bf16 => Cow::Owned(convert(self.bytes, |b| bf16::from_le_bytes(b).to_f32())),
            DType::I8 => {
                let scales = convert(self.scales, f32::from_le_bytes);
                let width = self.bytes.len().checked_div(scales.len()).unwrap_or(0);
                let outputs = self.bytes.chunks_exact(width.max(1)).zip(scales);
                let number = |byte: &u8, scale: f32| f32::from(byte.cast_signed()) * scale;
                let numbers =
                    outputs.flat_map(|(bytes, scale)| bytes.iter().map(move |b| number(b, scale)));
                Cow::Owned(numbers.collect())
            }
        }
    }

    /// The integers of a matrix in int8, and what each output's are multiplied by.
    pub fn to_int8(&self) -> Option<(Vec<i8>, Vec<f32>)> {
        (self.dtype == DType::I8).then(|| {
            let integers = self.bytes.iter().map(|byte| byte.cast_signed());
            (integers.collect(), convert(self.scales, f32::from_le_bytes))
        })
    }

    /// The numbers as the file has them, little-endian.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What an output's integers are multiplied by, as the file has it; none but for [`DType::I8`].
    pub fn scale_bytes(&self) -> &'a [u8] {
        self.scales
    }

    /// The index of the first number that is not finite.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        self.to_f32().iter().position(|x| !x.is_finite())
    }
}

fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| number(*chunk))
        .collect()
}
