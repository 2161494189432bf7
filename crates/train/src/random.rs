//! Random numbers that depend on a seed and a position, never on what was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of random numbers, and the few ways in which this crate draws from it.
///
/// The ways are spelled out here, not taken from a library, because a run that is resumed by a
/// later version must draw the same numbers, and because [`score`](mod@crate::score)'s protocol must
/// be repeatable by others.
pub trait Random {
    /// The next 64 random bits.
    fn next(&mut self) -> u64;

    /// A whole number in `0..n`: the upper 64 bits of the 128-bit product of [`Random::next`]
    /// and `n`. 0 where `n` is 0 or 1.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`: the upper 53 bits of [`Random::next`] times 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Heads or tails: the lowest bit of [`Random::below`]`(2)`.
    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Fisher and Yates's shuffle, from the front: for `i` from 0, element `i` changes places with
    /// element `i + below(len - i)`.
    fn shuffle<T>(&mut self, items: &mut [T])
    where
        Self: Sized,
    {
        for i in 0..items.len() {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
    }
}

/// Steele, Lea and Flood's SplitMix64: 64 bits of state, four lines in any language.
///
/// ```
/// use albert_train::random::{Random, SplitMix64};
/// let mut random = SplitMix64::new(0);
/// assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
/// ```
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }
}

impl Random for SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What a [`stream`] is for, so that no two uses of one seed draw the same numbers.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Which documents are held out.
    HoldOut = 1,
    /// Where documents are cut into examples.
    Plan = 2,
    /// The order of examples in a pass.
    Order = 3,
    /// One example: its split, its order, its masks.
    Example = 4,
    /// The order of examples in a pass of fine-tuning.
    FineTuning = 5,
    /// Which examples a fold or a part of a training set has.
    Parts = 6,
}

/// An independent stream of random numbers for one `(seed, purpose, pass, index)`.
///
/// ChaCha8 keyed with the four of them: the numbers of an example do not depend on which examples
/// came before it, so that a run can go on from any batch and draw what it would have drawn.
pub fn stream(seed: u64, purpose: Purpose, pass: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key
        .chunks_exact_mut(8)
        .zip([seed, purpose as u64, pass, index])
    {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

impl Random for ChaCha8Rng {
    fn next(&mut self) -> u64 {
        self.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_uniform() {
        let mut random = stream(7, Purpose::Example, 0, 0);
        let mut counts = [0usize; 6];
        for _ in 0..60_000 {
            counts[random.below(6)] += 1;
        }
        // Five standard deviations of a count with p = 1/6 in 60,000 draws are 456.
        assert!(
            counts.iter().all(|&n| n.abs_diff(10_000) < 456),
            "{counts:?}"
        );
    }

    #[test]
    fn streams_differ_in_every_part_of_the_key() {
        let first = |s, p, e, i| stream(s, p, e, i).next();
        let base = first(1, Purpose::Plan, 2, 3);
        assert_eq!(base, first(1, Purpose::Plan, 2, 3));
        assert_ne!(base, first(2, Purpose::Plan, 2, 3));
        assert_ne!(base, first(1, Purpose::Order, 2, 3));
        assert_ne!(base, first(1, Purpose::Plan, 3, 3));
        assert_ne!(base, first(1, Purpose::Plan, 2, 4));
    }

    #[test]
    fn shuffle_keeps_every_element() {
        let mut items: Vec<usize> = (0..100).collect();
        SplitMix64::new(5).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
