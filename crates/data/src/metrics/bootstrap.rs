//! How far a score could have been another by chance (Efron 1979).

/// Resamples, as many as percentiles of 2.5 and 97.5 need to be steady.
const RESAMPLES: usize = 1000;

/// The 95% interval of a score over `count` examples by percentiles of its bootstrap: `score` is
/// given indices of examples, drawn with replacement, a thousand times. The same in every run.
/// `None` of no examples.
pub fn interval(count: usize, mut score: impl FnMut(&[usize]) -> f64) -> Option<[f64; 2]> {
    if count == 0 {
        return None;
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
    let mut scores: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for index in &mut drawn {
                *index = ((u128::from(next()) * count as u128) >> 64) as usize;
            }
            score(&drawn)
        })
        .collect();
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| scores[(share * (RESAMPLES - 1) as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial() {
        // 80 of 100: the standard error is 0.04, and the interval 1.96 of them each way.
        let right = |drawn: &[usize]| drawn.iter().filter(|&&i| i < 80).count() as f64 / 100.0;
        let [low, high] = interval(100, right).unwrap();
        assert!(
            (low - 0.72).abs() <= 0.02 && (high - 0.88).abs() <= 0.02,
            "{low} {high}"
        );
        assert_eq!(interval(0, right), None);
    }
}
