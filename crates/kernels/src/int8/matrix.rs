//! Products with a weight matrix that was quantised and packed once.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps, ToFloat};
use rten_simd::{Isa, SimdOp};

use super::dot::{PANEL, QUAD, TALLEST};
use super::rows::QuantizedRows;
use crate::activation::{self, Activation};
use crate::split::{OutPointer, in_blocks};

/// Rows of a task, of which the bytes stay in the second cache.
const ROWS: usize = 12 * TALLEST;

/// The greatest weight: symmetric, so that no sign is favoured.
const GREATEST: f32 = 127.0;

/// A weight matrix of signed bytes, each output with a scale of its own, in panels of
/// `[inputs / 4, 32, 4]`: what one instruction multiplies lies together.
///
/// An output's scale is its greatest weight over 127. Nothing saturates: an element of a product is
/// an exact integer sum that is scaled once. With a row's scale and zero point ([`QuantizedRows`]) it is
/// `scale * scales[o] * (sum of q[i] * v[o][i] - zero * sum of v[o][i])`.
pub struct QuantizedMatrix {
    inputs: usize,
    outputs: usize,
    /// `[panels, quads, PANEL, QUAD]`, what is missing in the last panel and quad filled with zeros.
    bytes: Vec<i8>,
    /// `[panels * PANEL]`
    scales: Vec<f32>,
    /// Each output's sum of weights, `[panels * PANEL]`.
    sums: Vec<i32>,
}

impl QuantizedMatrix {
    /// Quantises and packs `weight` of shape `[outputs, inputs]`, row-major, as PyTorch's `Linear`
    /// holds it.
    ///
    /// # Panics
    /// If `weight` does not have `outputs * inputs` elements.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "elements of the weight");
        let mut matrix = QuantizedMatrix::empty(outputs, inputs);
        let QuantizedMatrix {
            bytes,
            scales,
            sums,
            ..
        } = &mut matrix;
        if inputs > 0 {
            bytes
                .par_chunks_exact_mut(PANEL * inputs.div_ceil(QUAD) * QUAD)
                .zip(scales.par_chunks_exact_mut(PANEL))
                .zip(sums.par_chunks_exact_mut(PANEL))
                .zip(weight.par_chunks(PANEL * inputs))
                .for_each(|(((panel, scales), sums), weight)| {
                    let mut integers = vec![0; inputs];
                    for (column, weight) in weight.chunks_exact(inputs).enumerate() {
                        scales[column] = quantize(weight, &mut integers);
                        sums[column] = put(&integers, column, panel);
                    }
                });
        }
        matrix
    }

    /// Packs a matrix that was quantised before: integers in -127..=127, `[outputs, inputs]`
    /// row-major, and a scale for each output.
    ///
    /// # Panics
    /// If there are not as many integers as outputs times a number of inputs.
    pub fn from_integers(integers: &[i8], scales: &[f32]) -> Self {
        let outputs = scales.len();
        let inputs = integers.len().checked_div(outputs).unwrap_or(0);
        assert_eq!(integers.len(), outputs * inputs, "elements of the weight");
        let mut matrix = QuantizedMatrix::empty(outputs, inputs);
        let panel = PANEL * inputs.div_ceil(QUAD) * QUAD;
        for (o, integers) in integers.chunks_exact(inputs.max(1)).enumerate() {
            let panel = &mut matrix.bytes[o / PANEL * panel..][..panel];
            matrix.sums[o] = put(integers, o % PANEL, panel);
            matrix.scales[o] = scales[o];
        }
        matrix
    }

    /// A matrix of zeros.
    fn empty(outputs: usize, inputs: usize) -> Self {
        let padded = outputs.next_multiple_of(PANEL);
        QuantizedMatrix {
            inputs,
            outputs,
            bytes: vec![0; padded * inputs.div_ceil(QUAD) * QUAD],
            scales: vec![0.0; padded],
            sums: vec![0; padded],
        }
    }

    /// Number of inputs, the length of a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs, the length of a row of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `out = activation(x weightᵀ + bias)`: `bias` `[outputs]`, `out` `[rows, outputs]`.
    ///
    /// # Panics
    /// If the slices and the rows do not have these shapes.
    pub fn multiply(
        &self,
        x: &QuantizedRows,
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        out: &mut [f32],
    ) {
        let rows = x.count();
        assert_eq!(out.len(), rows * self.outputs, "elements of the product");
        assert!(rows == 0 || x.width() == self.inputs, "inputs of a row");
        assert!(
            bias.is_none_or(|bias| bias.len() == self.outputs),
            "elements of the bias"
        );
        if out.is_empty() {
            return;
        }
        let panels = self.outputs.div_ceil(PANEL);
        let out = OutPointer(out.as_mut_ptr());
        in_blocks(rows, TALLEST, ROWS, panels, |rows, panels| {
            Block {
                matrix: self,
                x,
                bias,
                activation,
                rows,
                panels,
                out,
            }
            .dispatch();
        });
    }
}

/// The integers of a matrix `[outputs, inputs]`, row-major, and each output's scale: what
/// [`QuantizedMatrix::new`] packs, for [`QuantizedMatrix::from_integers`].
///
/// # Panics
/// If there are not as many weights as outputs times a number of inputs.
pub fn quantize_matrix(weight: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let inputs = weight.len().checked_div(outputs).unwrap_or(0);
    assert_eq!(weight.len(), outputs * inputs, "elements of the weight");
    let (mut integers, mut scales) = (vec![0; weight.len()], vec![0.0; outputs]);
    let rows = weight.chunks_exact(inputs.max(1));
    let of_rows = integers.chunks_exact_mut(inputs.max(1));
    for ((weight, integers), scale) in rows.zip(of_rows).zip(&mut scales) {
        *scale = quantize(weight, integers);
    }
    (integers, scales)
}

/// An output's integers; its scale.
fn quantize(weight: &[f32], integers: &mut [i8]) -> f32 {
    Quantize { weight, integers }.dispatch()
}

struct Quantize<'a> {
    weight: &'a [f32],
    integers: &'a mut [i8],
}

impl SimdOp for Quantize<'_> {
    type Output = f32;

    // Plain loops, which are compiled for the instruction set that runs them.
    #[inline(always)]
    fn eval<I: Isa>(self, _: I) -> f32 {
        // Eight at a time, which do not wait for each other.
        let mut most = [0.0_f32; 8];
        let chunks = self.weight.chunks_exact(most.len());
        for w in chunks.remainder() {
            most[0] = most[0].max(w.abs());
        }
        for chunk in chunks {
            for (most, w) in most.iter_mut().zip(chunk) {
                *most = most.max(w.abs());
            }
        }
        let scale = most.into_iter().fold(0.0, f32::max) / GREATEST;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        for (integer, w) in self.integers.iter_mut().zip(self.weight) {
            let rounded = (w * inverse).round_ties_even();
            *integer = rounded.clamp(-GREATEST, GREATEST) as i8;
        }
        scale
    }
}

/// Puts an output's integers into its column of a panel, `[quads, PANEL, QUAD]`; their sum.
fn put(integers: &[i8], column: usize, panel: &mut [i8]) -> i32 {
    let mut quads = panel.chunks_exact_mut(PANEL * QUAD);
    let whole = integers.chunks_exact(QUAD);
    let rest = whole.remainder();
    for (values, quad) in whole.zip(quads.by_ref()) {
        quad[column * QUAD..][..QUAD].copy_from_slice(values);
    }
    if let Some(quad) = quads.next() {
        quad[column * QUAD..][..rest.len()].copy_from_slice(rest);
    }
    integers.iter().map(|value| i32::from(*value)).sum()
}

/// A block of rows times a group of panels.
struct Block<'a> {
    matrix: &'a QuantizedMatrix,
    x: &'a QuantizedRows,
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    rows: Range<usize>,
    panels: Range<usize>,
    out: OutPointer,
}

impl SimdOp for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let matrix = self.matrix;
        let outputs = matrix.outputs;
        let panel_len = matrix.inputs.div_ceil(QUAD) * QUAD * PANEL;
        let mut sums = [[0; PANEL]; TALLEST];
        for index in self.panels.clone() {
            let panel = &matrix.bytes[index * panel_len..][..panel_len];
            let columns = index * PANEL..outputs.min((index + 1) * PANEL);
            let mut bias = [0.0; PANEL];
            if let Some(values) = self.bias {
                bias[..columns.len()].copy_from_slice(&values[columns.clone()]);
            }
            let of_panel = index * PANEL..(index + 1) * PANEL;
            let finish = Finish {
                scales: &matrix.scales[of_panel.clone()],
                sums: &matrix.sums[of_panel],
                bias: &bias,
                activation: self.activation,
            };
            // Each tile fetches its share of the panel that comes next.
            let share = panel_len.div_ceil(self.rows.len().div_ceil(TALLEST)).max(1);
            let mut ahead = matrix.bytes[(index + 1) * panel_len..].chunks(share);
            let mut first = self.rows.start;
            while first < self.rows.end {
                // Two tiles of eight take less than one of twelve and one of four.
                let height = match self.rows.end - first {
                    16 => 8,
                    left => TALLEST.min(left),
                };
                let rows = self.x.rows_from(first);
                let ahead = ahead.next().unwrap_or_default();
                self.x.dot().sums(rows, height, panel, ahead, &mut sums);
                for (row, sums) in (first..first + height).zip(&sums) {
                    let (_, scale, _) = self.x.row(row);
                    let offsets = self.x.offsets(row);
                    // SAFETY: row and columns are inside the `[rows, outputs]` elements of the
                    // result, which `multiply` checked, and of this block alone.
                    let out = unsafe {
                        let first = self.out.0.add(row * outputs + columns.start);
                        std::slice::from_raw_parts_mut(first, columns.len())
                    };
                    if columns.len() == PANEL {
                        finish.row(isa, sums, scale, offsets, out);
                    } else {
                        let mut whole = [0.0; PANEL];
                        finish.row(isa, sums, scale, offsets, &mut whole);
                        out.copy_from_slice(&whole[..columns.len()]);
                    }
                }
                first += height;
            }
        }
    }
}

/// From a panel's integer sums to numbers.
struct Finish<'a> {
    scales: &'a [f32],
    sums: &'a [i32],
    bias: &'a [f32],
    activation: Option<Activation>,
}

impl Finish<'_> {
    #[inline(always)]
    fn row<I: Isa>(
        &self,
        isa: I,
        sums: &[i32; PANEL],
        scale: f32,
        (zero, offset): (i32, i32),
        out: &mut [f32],
    ) {
        let (ops, ints) = (isa.f32(), isa.i32());
        let lanes = ops.len();
        let scale = ops.splat(scale);
        let (zero, offset) = (ints.splat(zero), ints.splat(offset));
        let columns = sums
            .chunks_exact(lanes)
            .zip(self.sums.chunks_exact(lanes))
            .zip(self.scales.chunks_exact(lanes))
            .zip(self.bias.chunks_exact(lanes))
            .zip(out.chunks_exact_mut(lanes));
        for ((((sum, of_weights), of_column), bias), out) in columns {
            let shifted = ints.add(ints.mul(zero, ints.load(of_weights)), offset);
            let sum = ints.to_float(ints.sub(ints.load(sum), shifted));
            let factor = ops.mul(scale, ops.load(of_column));
            let value = ops.add(ops.mul(sum, factor), ops.load(bias));
            let value = match self.activation {
                None => value,
                Some(function) => activation::evaluate(isa, function, value),
            };
            ops.store(value, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Dot;

    fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
        (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn product(
        dot: Dot,
        matrix: &QuantizedMatrix,
        x: &[f32],
        bias: &[f32],
        activation: Option<Activation>,
    ) -> Vec<f32> {
        let mut rows = QuantizedRows::for_dot(dot);
        rows.quantize(x, matrix.inputs());
        let mut out = vec![f32::NAN; rows.count() * matrix.outputs()];
        matrix.multiply(&rows, Some(bias), activation, &mut out);
        out
    }

    #[test]
    fn integers_that_were_made_before_pack_into_the_same_matrix() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (outputs, inputs) in [(0, 0), (1, 1), (33, 7), (64, 100)] {
            let weight = random(&mut rng, outputs * inputs);
            let (integers, scales) = quantize_matrix(&weight, outputs);
            let a = QuantizedMatrix::from_integers(&integers, &scales);
            let b = QuantizedMatrix::new(&weight, outputs, inputs);
            assert_eq!((a.inputs, a.outputs), (b.inputs, b.outputs));
            assert_eq!((a.bytes, a.sums, a.scales), (b.bytes, b.sums, b.scales));
        }
    }

    #[test]
    fn products_are_those_of_the_numbers_that_the_bytes_stand_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (count, inputs, outputs) in [(1, 1, 1), (3, 7, 33), (13, 64, 32), (150, 130, 100)] {
            let weight = random(&mut rng, outputs * inputs);
            let (x, bias) = (random(&mut rng, count * inputs), random(&mut rng, outputs));
            let matrix = QuantizedMatrix::new(&weight, outputs, inputs);
            let found = product(Dot::used(), &matrix, &x, &bias, None);
            let mut rows = QuantizedRows::default();
            rows.quantize(&x, inputs);
            for r in 0..count {
                let (bytes, scale, zero) = rows.row(r);
                for o in 0..outputs {
                    let weight = &weight[o * inputs..][..inputs];
                    let greatest = weight.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
                    let step = f64::from(greatest / GREATEST);
                    let sum: f64 = bytes
                        .iter()
                        .zip(weight)
                        .map(|(&q, &w)| {
                            let value = (f64::from(w) / step).round();
                            f64::from(i32::from(q) - zero) * value
                        })
                        .sum();
                    let expected = sum * f64::from(scale) * step + f64::from(bias[o]);
                    let error = (f64::from(found[r * outputs + o]) - expected).abs();
                    // A weight at the edge between two bytes may fall either way in f32.
                    let edge = f64::from(scale) * 255.0 * step;
                    assert!(error < 1e-5 + edge, "{error} at {r}, {o}");
                }
            }
        }
    }

    /// The integers are, and so are the numbers, but for the one rounding that a fused
    /// multiply-add of an activation saves.
    #[test]
    fn every_instruction_set_and_number_of_threads_gives_the_same() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (count, inputs, outputs) = (31, 100, 90);
        let weight = random(&mut rng, outputs * inputs);
        let (x, bias) = (random(&mut rng, count * inputs), random(&mut rng, outputs));
        let matrix = QuantizedMatrix::new(&weight, outputs, inputs);
        let expected = product(Dot::Portable, &matrix, &x, &bias, Some(Activation::Relu));
        for threads in [1, 2, 5] {
            let pool = crate::ThreadPool::new(Some(threads)).unwrap();
            for dot in Dot::every() {
                let found =
                    pool.install(|| product(dot, &matrix, &x, &bias, Some(Activation::Relu)));
                assert_eq!(found, expected, "{dot:?}, {threads} threads");
            }
        }
        // A row alone.
        for r in [0, 12, 30] {
            let row = &x[r * inputs..][..inputs];
            let found = product(Dot::used(), &matrix, row, &bias, Some(Activation::Relu));
            assert_eq!(found, expected[r * outputs..][..outputs]);
        }
    }
}
