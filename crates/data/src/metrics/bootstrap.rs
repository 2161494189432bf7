//! How far a score could have been another by chance (Efron 1979).

/// Resamples, as many as percentiles of 2.5 and 97.5 need to be steady.
const RESAMPLES: usize = 1000;

/// A score over a thousand resamples of `count` examples: `score` is given indices of examples,
/// drawn with replacement. The same indices in every run and for every score, so that
/// two scores on the same examples can be compared resample by resample. Nothing of no examples.
pub fn resamples(count: usize, mut score: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    if count == 0 {
        return Vec::new();
    }
    // SplitMix64.
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut drawn = vec![0; count];
    (0..RESAMPLES)
        .map(|_| {
            for index in &mut drawn {
                *index = ((u128::from(next()) * count as u128) >> 64) as usize;
            }
            score(&drawn)
        })
        .collect()
}

/// The 95% interval of a score by percentiles of its [`resamples`]; `None` of none.
pub fn interval(mut resamples: Vec<f64>) -> Option<[f64; 2]> {
    let last = resamples.len().checked_sub(1)?;
    resamples.sort_by(f64::total_cmp);
    let at = |share: f64| resamples[(share * last as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial() {
        // 80 of 100: the standard error is 0.04, and the interval 1.96 of them each way.
        let right = |drawn: &[usize]| drawn.iter().filter(|&&i| i < 80).count() as f64 / 100.0;
        let [low, high] = interval(resamples(100, right)).unwrap();
        assert!(
            (low - 0.72).abs() <= 0.02 && (high - 0.88).abs() <= 0.02,
            "{low} {high}"
        );
        assert_eq!(interval(resamples(0, right)), None);
    }
}
