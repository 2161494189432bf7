//! Rows whose products with unsigned bytes may be added in pairs to 16 bits.
#![allow(unsafe_code)]
// AVX2's inner loop alone reads them.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

use rayon::prelude::*;

use super::dot::QUAD;

/// What the bytes of a pair that are positive may come to: 255 times as much is within 16 bits, and
/// each is within 8.
const MOST: i32 = 127;

/// The same for negative ones.
const LEAST: i32 = -128;

/// The least and the greatest centre: a pair of the least bytes, or of the greatest, is whole then.
const CENTRES: (i32, i32) = (64, 192);

/// Elements that are looked at together.
const RUN: usize = 32;

/// Rows of bytes, each less a centre of its own.
///
/// AVX2's `vpmaddubsw` adds products of unsigned and signed bytes in pairs to 16 bits, and saturates.
/// With the weights on the unsigned side, the row alone decides whether a pair can come to so much. Of a
/// pair that can, a part that cannot is in the row, and the rest in pieces, quads that are
/// multiplied besides. Most numbers are near the centre, so that pieces are few.
#[derive(Clone, Debug, Default)]
pub(crate) struct Centred {
    /// `[count, stride]`; behind a row's width it is zero up to the quad's end.
    bytes: Vec<i8>,
    rest: Vec<Rest>,
}

/// What a row has besides its bytes.
#[derive(Clone, Debug, Default)]
struct Rest {
    pieces: Vec<Piece>,
    centre: i32,
    /// The sum of the whole row less its centre.
    sum: i32,
}

/// What the bytes of one quad of a row lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) quad: usize,
    pub(crate) bytes: [i8; QUAD],
}

impl Centred {
    /// Takes `count` rows of `width` bytes, `stride` apart, instead of those it had. A thread takes at
    /// least `rows_a_task`.
    pub(crate) fn fill(
        &mut self,
        bytes: &[u8],
        width: usize,
        stride: usize,
        count: usize,
        rows_a_task: usize,
    ) {
        let len = count * stride;
        self.bytes.resize(self.bytes.len().max(len), 0);
        let kept = self.rest.len().max(count);
        self.rest.resize_with(kept, Rest::default);
        self.bytes[..len]
            .par_chunks_exact_mut(stride.max(1))
            .zip(bytes[..len].par_chunks_exact(stride.max(1)))
            .zip(&mut self.rest[..count])
            .with_min_len(rows_a_task)
            .for_each(|((out, bytes), rest)| rest.fill(&bytes[..width], out));
    }

    /// The bytes from a row on.
    pub(crate) fn bytes_from(&self, start: usize) -> &[i8] {
        &self.bytes[start..]
    }

    /// What a row's bytes lack.
    pub(crate) fn pieces(&self, row: usize) -> &[Piece] {
        &self.rest[row].pieces
    }

    /// What a row's bytes are less than they were, and their sum.
    pub(crate) fn centre_and_sum(&self, row: usize) -> (i32, i32) {
        (self.rest[row].centre, self.rest[row].sum)
    }
}

impl Rest {
    /// Takes a row apart: what goes into its bytes, and what is left.
    fn fill(&mut self, bytes: &[u8], out: &mut [i8]) {
        let sum: i32 = bytes.iter().map(|byte| i32::from(*byte)).sum();
        let len = bytes.len() as i32;
        let mean = (sum + len / 2) / len.max(1);
        self.centre = mean.clamp(CENTRES.0, CENTRES.1);
        self.sum = sum - self.centre * len;
        self.pieces.clear();
        let (runs, end) = bytes.as_chunks::<RUN>();
        let (outs, _) = out.as_chunks_mut::<RUN>();
        for (index, (run, out)) in runs.iter().zip(outs).enumerate() {
            let mut beyond = subtract(run, self.centre, out);
            while beyond != 0 {
                let at = beyond.trailing_zeros() as usize;
                beyond &= beyond - 1;
                let quad = at * QUAD..(at + 1) * QUAD;
                self.split(&run[quad.clone()], index * RUN + quad.start, &mut out[quad]);
            }
        }
        let first = runs.len() * RUN;
        let quads = end.chunks(QUAD).zip(out[first..].chunks_exact_mut(QUAD));
        for (index, (quad, out)) in quads.enumerate() {
            self.split(quad, first + index * QUAD, out);
        }
    }

    /// Takes a quad apart that starts at `first`; the last of a row need not be full.
    fn split(&mut self, bytes: &[u8], first: usize, out: &mut [i8]) {
        let mut left = [0; QUAD];
        for (left, byte) in left.iter_mut().zip(bytes) {
            *left = i32::from(*byte) - self.centre;
        }
        out.copy_from_slice(&take(&mut left));
        while left != [0; QUAD] {
            self.pieces.push(Piece {
                quad: first / QUAD,
                bytes: take(&mut left),
            });
        }
    }
}

/// Takes away as much of either pair as may be multiplied; it is something unless nothing is left.
fn take(left: &mut [i32; QUAD]) -> [i8; QUAD] {
    let mut taken = [0; QUAD];
    for (left, taken) in left.chunks_exact_mut(2).zip(taken.chunks_exact_mut(2)) {
        let first = left[0].clamp(LEAST, MOST);
        let second = left[1].clamp(LEAST - first.min(0), MOST - first.max(0));
        left[0] -= first;
        left[1] -= second;
        taken.copy_from_slice(&[first as i8, second as i8]);
    }
    taken
}

/// Writes the bytes less the centre. Of quads that may not be multiplied like that, a bit each is
/// set, and what is written has no meaning.
fn subtract(bytes: &[u8; RUN], centre: i32, out: &mut [i8; RUN]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions are there.
        return unsafe { subtract_avx2(bytes, centre, out) };
    }
    let _ = (bytes, centre, out);
    (1 << (RUN / QUAD)) - 1
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn subtract_avx2(bytes: &[u8; RUN], centre: i32, out: &mut [i8; RUN]) -> u32 {
    use std::arch::x86_64::*;

    let (none, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
    let centre = _mm256_set1_epi16(centre as i16);
    let mut beyond = 0;
    let mut halves = [none; 2];
    for (index, half) in halves.iter_mut().enumerate() {
        // SAFETY: a half is 16 bytes.
        let bytes = unsafe { _mm_loadu_si128(bytes[index * 16..].as_ptr().cast()) };
        *half = _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), centre);
        // Sums of pairs.
        let positive = _mm256_madd_epi16(_mm256_max_epi16(*half, none), ones);
        let negative = _mm256_madd_epi16(_mm256_min_epi16(*half, none), ones);
        let above = _mm256_cmpgt_epi32(positive, _mm256_set1_epi32(MOST));
        let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(LEAST), negative);
        let either = _mm256_or_si256(above, below);
        // Both pairs of a quad.
        let either = _mm256_cmpeq_epi64(either, none);
        let fit = _mm256_movemask_pd(_mm256_castsi256_pd(either)) as u32;
        beyond |= (fit ^ 0b1111) << (4 * index);
    }
    let packed = _mm256_packs_epi16(halves[0], halves[1]);
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    // SAFETY: there are 32 bytes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
    beyond
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_row_and_its_pieces_are_the_whole_and_no_pair_is_too_much() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut centred = Centred::default();
        for width in [1, 4, 32, 37, 100] {
            let stride = width + 4;
            for (spread, middles) in [(10, 74..=182), (80, 0..=255), (255, 0..=255)] {
                let middles: Vec<i32> = (0..9).map(|_| rng.random_range(middles.clone())).collect();
                let mut bytes = vec![0_u8; middles.len() * stride];
                for (row, middle) in bytes.chunks_exact_mut(stride).zip(&middles) {
                    let range = (middle - spread).max(0)..=(middle + spread).min(255);
                    row.fill_with(|| rng.random_range(range.clone()) as u8);
                }
                centred.fill(&bytes, width, stride, middles.len(), 1);
                let mut pieces = 0;
                for (r, row) in bytes.chunks_exact(stride).enumerate() {
                    let quads = width.div_ceil(QUAD);
                    let mut found = vec![0; quads * QUAD];
                    let own = centred.bytes_from(r * stride)[..quads * QUAD].chunks_exact(QUAD);
                    let own = own
                        .enumerate()
                        .map(|(k, quad)| (k, quad.try_into().unwrap()));
                    let more = centred.pieces(r).iter().map(|more| (more.quad, more.bytes));
                    for (quad, bytes) in own.chain(more) {
                        let bytes: [i8; QUAD] = bytes;
                        for (found, byte) in found[quad * QUAD..].iter_mut().zip(bytes) {
                            *found += i32::from(byte);
                        }
                        for pair in bytes.chunks_exact(2) {
                            let sum = |sign: i32| {
                                pair.iter()
                                    .map(|b| (i32::from(*b) * sign).max(0))
                                    .sum::<i32>()
                            };
                            assert!(255 * sum(1) <= i32::from(i16::MAX));
                            assert!(-255 * sum(-1) >= i32::from(i16::MIN));
                        }
                    }
                    let (centre, sum) = centred.centre_and_sum(r);
                    let expected = row[..width].iter().map(|byte| i32::from(*byte) - centre);
                    assert!(expected.clone().eq(found[..width].iter().copied()));
                    assert!(found[width..].iter().all(|byte| *byte == 0));
                    assert_eq!(sum, expected.sum::<i32>());
                    pieces += centred.pieces(r).len();
                }
                assert!(spread > 10 || pieces == 0, "{pieces} pieces, none needed");
            }
        }
    }
}
