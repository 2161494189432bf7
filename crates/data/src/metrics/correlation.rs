//! Numbers against numbers, as scipy correlates.

/// Pearson's correlation: `scipy.stats.pearsonr`; `None` where one side is constant or there are
/// fewer than two.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let count = a.len() as f64;
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / count;
        values.iter().map(|value| value - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b) = (centred(a), centred(b));
    let (square_a, square_b) = (dot(&a, &a), dot(&b, &b));
    // Roots first: the product of both squares could overflow.
    (square_a > 0.0 && square_b > 0.0).then(|| dot(&a, &b) / square_a.sqrt() / square_b.sqrt())
}

/// Spearman's: Pearson's of the ranks, equal values sharing the mean of theirs.
/// `scipy.stats.spearmanr`.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut less = 0;
    for equal in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let mean = less as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&i| ranks[i] = mean);
        less += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 2.5, 4.0]);
        let rho = spearman(&[1.0, 2.0, 3.0], &[1.0, 4.0, 9.0]);
        assert!((rho.unwrap() - 1.0).abs() < 1e-15);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[], &[]), None);
    }
}
