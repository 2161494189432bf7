//! Dropout masks drawn by a counter: value i of a stream is a function of the stream and of i.

use rayon::prelude::*;

/// Values drawn by one task; any size gives the same mask.
const BLOCK: usize = 1 << 14;

/// Fills `values` with a mask: 0 with probability `rate`, else `1 / (1 - rate)`.
///
/// `rate` is in `[0, 1)`.
pub fn mask(stream: u64, rate: f32, values: &mut [f32]) {
    let (threshold, scale) = (threshold(rate), 1.0 / (1.0 - rate));
    let blocks = values.par_chunks_mut(BLOCK).enumerate();
    blocks.for_each(|(block, values)| {
        for (i, value) in values.iter_mut().enumerate() {
            let draw = draw(stream, (block * BLOCK + i) as u32);
            *value = if draw < threshold { 0.0 } else { scale };
        }
    });
}

/// The stream of one head of one row (`index` = row * heads + head) within attention's stream.
pub fn head_stream(stream: u64, index: usize) -> u64 {
    (stream ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29)
        ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Draws below this are dropped.
pub(super) fn threshold(rate: f32) -> u32 {
    (f64::from(rate) * (f64::from(u32::MAX) + 1.0)) as u32
}

/// A uniform 32-bit number for position `index` of a stream: two rounds of a multiply-and-shift
/// bijection (the finaliser of MurmurHash3), keyed before each. 32-bit operations alone, so that
/// a loop over positions vectorises.
#[inline(always)]
pub(super) fn draw(stream: u64, index: u32) -> u32 {
    let finalise = |mut x: u32| {
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    };
    finalise(finalise(index ^ stream as u32).wrapping_add((stream >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_drops_its_share_and_keeps_the_mean() {
        let mut values = vec![0.0; 1 << 20];
        for (stream, rate) in [(1, 0.1_f32), (2, 0.5), (3, 0.0)] {
            mask(stream, rate, &mut values);
            let dropped = values.iter().filter(|&&v| v == 0.0).count() as f32;
            let share = dropped / values.len() as f32;
            // Five standard errors of a share of 2^20 draws are below 0.0025.
            assert!((share - rate).abs() < 0.0025, "{share} of {rate}");
            let kept = 1.0 / (1.0 - rate);
            assert!(values.iter().all(|&v| v == 0.0 || v == kept));
        }
    }

    #[test]
    fn neighbouring_positions_and_streams_are_unrelated() {
        let count = 1 << 16;
        for (a, b) in [((5, 0), (5, 1)), ((5, 0), (6, 0)), ((5, 0), (5 << 32, 0))] {
            let agree = (0..count)
                .filter(|&i| {
                    let left = draw(a.0, i + a.1) < u32::MAX / 2;
                    left == (draw(b.0, i + b.1) < u32::MAX / 2)
                })
                .count() as f64;
            let share = agree / f64::from(count);
            // Five standard errors of a share of 2^16 draws are below 0.01.
            assert!((share - 0.5).abs() < 0.01, "{share}");
        }
    }
}
