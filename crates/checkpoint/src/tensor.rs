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
        // All bits of the exponent are set in what is not finite.
        let half = |exponent: u16| {
            first(self.bytes, move |b| {
                u16::from_le_bytes(b) & exponent == exponent
            })
        };
        let single = |bytes| {
            let exponent = 0x7f80_0000;
            first(bytes, move |b| u32::from_le_bytes(b) & exponent == exponent)
        };
        match self.dtype {
            DType::F32 => single(self.bytes),
            DType::F16 => half(0x7c00),
            DType::Bf16 => half(0x7f80),
            // Of an output whose scale is not finite, no number is.
            DType::I8 => {
                let outputs = self.scales.len() / 4;
                let width = self.bytes.len().checked_div(outputs).unwrap_or(0);
                single(self.scales).map(|output| output * width)
            }
        }
    }
}

/// The index of the first number of which something is so.
fn first<const N: usize>(bytes: &[u8], is_so: impl Fn([u8; N]) -> bool) -> Option<usize> {
    // Blocks without an exit are checked by vector instructions.
    const BLOCK: usize = 1024;
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.chunks(BLOCK).enumerate().find_map(|(at, block)| {
        let any = block.iter().fold(false, |any, number| any | is_so(*number));
        let within = || block.iter().position(|number| is_so(*number));
        any.then(within).flatten().map(|within| at * BLOCK + within)
    })
}

fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| number(*chunk))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_is_not_finite_is_found_in_every_format() {
        let numbers = |bad: &[(usize, f32)]| {
            let mut numbers = vec![-0.5_f32; 5000];
            // The largest of a format are finite all the same.
            numbers[7] = 65_504.0;
            bad.iter().for_each(|&(at, x)| numbers[at] = x);
            numbers
        };
        for (bad, found) in [
            (&[][..], None),
            (&[(4321, f32::NAN), (4999, f32::INFINITY)][..], Some(4321)),
            (&[(4999, f32::NEG_INFINITY)][..], Some(4999)),
            (&[(0, f32::INFINITY), (1, f32::NAN)][..], Some(0)),
        ] {
            let numbers = numbers(bad);
            let half = |x: &f32| f16::from_f32(*x).to_le_bytes();
            let brain = |x: &f32| bf16::from_f32(*x).to_le_bytes();
            for (dtype, bytes) in [
                (
                    DType::F32,
                    numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ),
                (DType::F16, numbers.iter().flat_map(half).collect()),
                (DType::Bf16, numbers.iter().flat_map(brain).collect()),
            ] {
                let bytes: Vec<u8> = bytes;
                let view = TensorView {
                    name: "x",
                    shape: &[5000],
                    dtype,
                    bytes: &bytes,
                    scales: &[],
                };
                assert_eq!(view.first_not_finite(), found, "{dtype}");
            }
        }
        let scales: Vec<u8> = [1.0, 2.0, f32::NAN]
            .iter()
            .flat_map(|x: &f32| x.to_le_bytes())
            .collect();
        let view = TensorView {
            name: "x",
            shape: &[3, 4],
            dtype: DType::I8,
            bytes: &[1; 12],
            scales: &scales,
        };
        assert_eq!(view.first_not_finite(), Some(8));
    }
}
