//! Rows of numbers as bytes, each row with a scale and a zero point of its own.

use rayon::prelude::*;
use rten_simd::ops::{BitOps, FloatOps, NarrowSaturate, NumOps};
use rten_simd::{Isa, SimdOp};

use super::centred::Centred;
use super::dot::{Dot, Present, Rows};
use crate::tile::MAX_LANES;

/// Elements that one thread quantises faster than several start to.
const ONE_THREAD: usize = 1 << 15;

/// Distances between rows are multiples of a cache line.
const LINE: usize = 64;

/// Rows quantised as they come: a row's scale maps its range, 0 included, onto 0..=255, and its
/// zero point is the byte that stands for 0.
///
/// Each row is quantised by itself, so that its bytes do not depend on those beside it. The memory
/// is kept for later rows. Values must be finite.
#[derive(Clone, Debug)]
pub struct QuantizedRows {
    dot: Present,
    width: usize,
    stride: usize,
    count: usize,
    /// `[count, stride]`; what is behind a row's width has no meaning.
    bytes: Vec<u8>,
    /// The same as `dot` reads them, if not as they are.
    centred: Centred,
    scales: Vec<f32>,
    zeros: Vec<i32>,
}

impl Default for QuantizedRows {
    fn default() -> Self {
        Self::for_dot(Dot::used())
    }
}

impl QuantizedRows {
    /// No rows yet; they will be multiplied with another inner loop than the best, one of
    /// [`Dot::every`]'s.
    ///
    /// # Panics
    /// If this processor lacks it.
    pub fn for_dot(dot: Dot) -> Self {
        QuantizedRows {
            dot: dot.present(),
            width: 0,
            stride: 0,
            count: 0,
            bytes: Vec::new(),
            centred: Centred::default(),
            scales: Vec::new(),
            zeros: Vec::new(),
        }
    }

    /// Takes the rows of `x`, `[rows, width]`, instead of those it had.
    ///
    /// # Panics
    /// If `x` is not a number of whole rows.
    pub fn quantize(&mut self, x: &[f32], width: usize) {
        self.width = width;
        self.count = x.len().checked_div(width).unwrap_or(0);
        assert_eq!(x.len(), self.count * width, "elements of the rows");
        // Never a multiple of 4 KB, at which rows would push each other out of the first cache.
        self.stride = width.next_multiple_of(LINE) + LINE;
        let len = self.count * self.stride;
        self.bytes.resize(self.bytes.len().max(len), 0);
        self.scales.resize(self.scales.len().max(self.count), 0.0);
        self.zeros.resize(self.zeros.len().max(self.count), 0);
        let rows_a_task = ONE_THREAD.div_ceil(width.max(1));
        self.bytes[..len]
            .par_chunks_exact_mut(self.stride)
            .zip(x.par_chunks_exact(width.max(1)))
            .zip(&mut self.scales[..self.count])
            .zip(&mut self.zeros[..self.count])
            .with_min_len(rows_a_task)
            .for_each(|(((bytes, x), scale), zero)| {
                let bytes = &mut bytes[..width];
                (*scale, *zero) = Row { x, bytes }.dispatch();
            });
        if self.dot.is_centred() {
            self.centred
                .fill(&self.bytes, width, self.stride, self.count, rows_a_task);
        }
    }

    /// What they are multiplied with.
    pub(crate) fn dot(&self) -> Present {
        self.dot
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes of a row, its scale and its zero point.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> (&[u8], f32, i32) {
        assert!(row < self.count, "row {row} of {}", self.count);
        let bytes = &self.bytes[row * self.stride..][..self.width];
        (bytes, self.scales[row], self.zeros[row])
    }

    /// The rows from one on.
    pub(crate) fn rows_from(&self, row: usize) -> Rows<'_> {
        Rows {
            bytes: &self.bytes,
            stride: self.stride,
            centred: &self.centred,
            first: row,
        }
    }

    /// What [`Dot::sums`] of a row are to be lessened by: so many times the sum of the weights, and
    /// a number.
    #[inline]
    pub(crate) fn offsets(&self, row: usize) -> (i32, i32) {
        let zero = self.zeros[row];
        if self.dot.is_centred() {
            // The sums are of (q - centre) * (v + 128).
            let (centre, sum) = self.centred.centre_and_sum(row);
            (zero - centre, 128 * sum)
        } else {
            (zero, 0)
        }
    }
}

/// Quantises a row; its scale and zero point.
struct Row<'a> {
    x: &'a [f32],
    bytes: &'a mut [u8],
}

impl SimdOp for Row<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> (f32, i32) {
        let ops = isa.f32();
        let lanes = ops.len();
        // Four at a time, which do not wait for each other.
        let (mut low, mut high) = ([ops.zero(); 4], [ops.zero(); 4]);
        let whole = self.x.chunks_exact(4 * lanes);
        let rest = whole.remainder();
        for x in whole {
            for (v, x) in x.chunks_exact(lanes).enumerate() {
                let x = ops.load(x);
                low[v] = ops.min(low[v], x);
                high[v] = ops.max(high[v], x);
            }
        }
        let (mut lows, mut highs) = ([0.0; 4 * MAX_LANES], [0.0; 4 * MAX_LANES]);
        for v in 0..4 {
            ops.store(low[v], &mut lows[v * lanes..][..lanes]);
            ops.store(high[v], &mut highs[v * lanes..][..lanes]);
        }
        let low = lows.iter().chain(rest).copied().fold(0.0, f32::min);
        let high = highs.iter().chain(rest).copied().fold(0.0, f32::max);
        let scale = (high - low) / 255.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let zero = (-low * inverse).round_ties_even();

        let four = 4 * lanes;
        let (factor, shift) = (ops.splat(inverse), ops.splat(zero));
        let (ints, shorts) = (isa.i32(), isa.i16());
        let mut bytes = self.bytes.chunks_exact_mut(four);
        let mut x = self.x.chunks_exact(four);
        for (bytes, x) in bytes.by_ref().zip(x.by_ref()) {
            // Loops and no closures, which would not be compiled for the instruction set.
            let mut quantized = [ints.zero(); 4];
            for (q, x) in quantized.iter_mut().zip(x.chunks_exact(lanes)) {
                // A product and a sum: rounded the same with and without fused ones.
                let rounded = ops.round_ties_even(ops.mul(ops.load(x), factor));
                *q = ops.to_int_round(ops.add(rounded, shift));
            }
            let [a, b, c, d] = quantized;
            let low = ints.narrow_saturate(a, b);
            let high = ints.narrow_saturate(c, d);
            isa.u8().store(shorts.narrow_saturate(low, high), bytes);
        }
        for (byte, x) in bytes.into_remainder().iter_mut().zip(x.remainder()) {
            let q = (x * inverse).round_ties_even() + zero;
            *byte = q.clamp(0.0, 255.0) as u8;
        }
        (scale, zero as i32)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn bytes_are_within_half_a_step_of_the_numbers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rows = QuantizedRows::default();
        for width in [1, 5, 64, 100, 333] {
            for (low, high) in [(-1.0, 1.0), (-0.2, 9.0), (0.5, 3.0), (-4.0, -1.0)] {
                let x: Vec<f32> = (0..7 * width)
                    .map(|_| rng.random_range(low..high))
                    .collect();
                rows.quantize(&x, width);
                assert_eq!((rows.count(), rows.width()), (7, width));
                for (r, x) in x.chunks(width).enumerate() {
                    let (bytes, scale, zero) = rows.row(r);
                    assert!((0..=255).contains(&zero));
                    for (&byte, &x) in bytes.iter().zip(x) {
                        let back = scale * (i32::from(byte) - zero) as f32;
                        // The zero point is rounded as well: a step at the ends of the range.
                        assert!((back - x).abs() <= scale * 1.001, "{x} became {back}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_others_and_zeros_stay() {
        let x = [0.0, 0.0, 0.0, 1.0, -2.0, 0.5];
        let (mut both, mut alone) = (QuantizedRows::default(), QuantizedRows::default());
        both.quantize(&x, 3);
        assert_eq!(both.row(0), (&[0, 0, 0][..], 0.0, 0));
        alone.quantize(&x[3..], 3);
        assert_eq!(both.row(1), alone.row(0));
        let (bytes, _, zero) = alone.row(0);
        assert_eq!((bytes[0], bytes[1], zero), (255, 0, 170));
        alone.quantize(&[], 3);
        assert_eq!(alone.count(), 0);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let x: Vec<f32> = (0..777).map(|_| rng.random_range(-3.0..5.0)).collect();
        let run = |row: &dyn Fn(Row<'_>) -> (f32, i32)| {
            let mut bytes = vec![0; x.len()];
            let said = row(Row {
                x: &x,
                bytes: &mut bytes,
            });
            (bytes, said)
        };
        let expected = run(&|row| row.eval(rten_simd::isa::GenericIsa::new()));
        assert_eq!(run(&|row| row.dispatch()), expected);
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = rten_simd::isa::Avx2Isa::new() {
            assert_eq!(run(&|row| row.eval(isa)), expected);
        }
    }
}
