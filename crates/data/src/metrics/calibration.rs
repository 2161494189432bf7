//! What a probability is worth (Guo et al. 2017).

/// Temperatures are looked for between these.
const LEAST: f64 = 0.05;
const MOST: f64 = 20.0;

/// The expected calibration error: the mean, over equal bins of confidence, of how far the share
/// of right guesses is from the mean confidence, weighted by the guesses in each. A bin has its
/// upper end, as in Guo et al.'s code.
pub fn calibration_error(confidences: &[f64], right: &[bool], bins: usize) -> f64 {
    let mut sums = vec![0.0; bins];
    for (confidence, &right) in confidences.iter().zip(right) {
        let bin = (confidence * bins as f64).ceil() as usize;
        sums[bin.clamp(1, bins) - 1] += confidence - f64::from(right);
    }
    let sum: f64 = sums.iter().map(|sum: &f64| sum.abs()).sum();
    sum / confidences.len().max(1) as f64
}

/// The negative logarithm, in nats, of the probability that logits, divided by a temperature, give
/// a label.
pub fn negative_log_likelihood(logits: &[f32], label: usize, temperature: f64) -> f64 {
    let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
    let scaled = |logit: f32| f64::from(logit - greatest) / temperature;
    let sum: f64 = logits.iter().map(|&logit| scaled(logit).exp()).sum();
    sum.ln() - scaled(logits[label])
}

/// The temperature, from 0.05 to 20, of the least loss: say, of the sum of
/// [`negative_log_likelihood`] over examples, which has one valley over the inverse of the
/// temperature. Golden sections close in on it.
pub fn fit_temperature(loss: impl Fn(f64) -> f64) -> f32 {
    let section = (5.0_f64.sqrt() - 1.0) / 2.0;
    let loss = |log: f64| loss(log.exp());
    let (mut low, mut high) = (LEAST.ln(), MOST.ln());
    let (mut a, mut b) = (high - section * (high - low), low + section * (high - low));
    let (mut loss_a, mut loss_b) = (loss(a), loss(b));
    // To a relative precision of 1e-4, far below what a set of some thousand rows can tell.
    while high - low > 1e-4 {
        if loss_a < loss_b {
            (high, b, loss_b) = (b, a, loss_a);
            a = high - section * (high - low);
            loss_a = loss(a);
        } else {
            (low, a, loss_a) = (a, b, loss_b);
            b = low + section * (high - low);
            loss_b = loss(b);
        }
    }
    f64::midpoint(low, high).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_that_holds_has_no_error() {
        let right = [true, true, true, false];
        assert_eq!(calibration_error(&[0.75; 4], &right, 10), 0.0);
        assert_eq!(calibration_error(&[1.0; 4], &right, 10), 0.25);
        assert_eq!(calibration_error(&[], &[], 10), 0.0);
    }

    #[test]
    fn the_temperature_is_found_by_which_logits_were_multiplied() {
        // Three of four rows have the greater logit right: the best odds are 3 to 1.
        let loss = |temperature: f64| {
            let of = |label: usize| negative_log_likelihood(&[5.0, 0.0], label, temperature);
            3.0 * of(0) + of(1)
        };
        let temperature = fit_temperature(loss);
        let expected = 5.0 / 3.0_f32.ln();
        assert!((temperature / expected - 1.0).abs() < 1e-3, "{temperature}");
    }
}
