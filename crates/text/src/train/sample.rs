//! An even sample of a corpus that is too large to learn from whole.

use std::collections::BinaryHeap;

use super::TrainProgress;

/// A text with its place in the corpus and a random rank.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    rank: u64,
    index: u64,
    text: String,
}

/// Keeps an even sample of at most `max_bytes`: every text gets a random rank, and the highest ranks
/// leave when the sample is full, so one pass in bounded memory does. In corpus order.
pub(super) fn sample(
    texts: impl Iterator<Item = String>,
    max_bytes: usize,
    seed: u64,
    progress: &mut dyn FnMut(TrainProgress),
) -> Vec<String> {
    let mut heap = BinaryHeap::new();
    let mut held = 0;
    let mut read = 0;
    let mut bar = u64::MAX;
    let mut count = 0;
    for (index, mut text) in (0..).zip(texts) {
        count = index + 1;
        read += text.len() as u64;
        let rank = mix(seed ^ mix(index));
        if count % 1024 == 0 {
            progress(TrainProgress::Reading {
                texts: count,
                bytes: read,
            });
        }
        if rank > bar || text.trim().is_empty() {
            continue;
        }
        if text.len() > max_bytes {
            text.truncate(text.floor_char_boundary(max_bytes));
        }
        held += text.len();
        heap.push(Drawn { rank, index, text });
        while held > max_bytes {
            // Whoever ranks above the one that left would leave too: keep the sample even.
            let Some(left) = heap.pop() else { break };
            held -= left.text.len();
            bar = left.rank;
        }
    }
    progress(TrainProgress::Reading {
        texts: count,
        bytes: read,
    });
    let mut kept = heap.into_vec();
    kept.sort_unstable_by_key(|drawn| drawn.index);
    kept.into_iter().map(|drawn| drawn.text).collect()
}

/// A bijective scrambling of 64 bits (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = String> {
        (0..1000).map(|i| format!("text number {i:04}"))
    }

    #[test]
    fn keeps_everything_that_fits_in_order() {
        let all: Vec<_> = texts().collect();
        assert_eq!(sample(texts(), usize::MAX, 1, &mut |_| ()), all);
    }

    #[test]
    fn keeps_an_even_sample_of_the_size_asked_for() {
        let kept = sample(texts(), 16 * 200, 1, &mut |_| ());
        assert_eq!(kept.len(), 200);
        assert!(kept.is_sorted());
        // 100 of 200 are expected from the first half, with a standard deviation of 6.3.
        let early = kept
            .iter()
            .filter(|text| text.as_str() < "text number 0500")
            .count();
        assert!((70..130).contains(&early), "{early}");
        assert_ne!(kept, sample(texts(), 16 * 200, 2, &mut |_| ()));
    }
}
