//! What a confidence is worth, and the temperature that makes it worth what it says.

use albert_data::metrics;
use serde::Serialize;

/// Bins of the calibration error (Guo et al. 2017).
const BINS: usize = 15;

/// How well confidence foretells accuracy on the dev set (Guo et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Logits are divided by this; fitted on the dev set, and at least 1 where nothing in it is wrong.
    pub temperature: f64,
    /// Expected calibration error with the logits as they are.
    pub error_before: f64,
    /// With the temperature, each half of the dev set at the one fitted on the other half.
    pub error_after: f64,
}

/// Something that a model said, and whether it is right.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    /// The logits of classes, and the right one.
    Class(Vec<f32>, usize),
    /// The scores of candidate answers, those among them that say what was said, and whether
    /// that is right.
    Answer(Vec<f32>, Vec<usize>, bool),
}

impl Judged {
    /// How little likely the truth is, in nats: of classes the right one, of answers whether what
    /// was said is right, since the right one may be no candidate.
    fn loss(&self, temperature: f64) -> f64 {
        match self {
            Judged::Class(logits, label) => {
                metrics::negative_log_likelihood(logits, *label, temperature)
            }
            Judged::Answer(..) => {
                let (confidence, right) = self.said(temperature);
                let likelihood = if right { confidence } else { 1.0 - confidence };
                // A single candidate is always sure.
                -likelihood.max(f64::EPSILON).ln()
            }
        }
    }

    /// The confidence of what was said, and whether it is right.
    fn said(&self, temperature: f64) -> (f64, bool) {
        let share = |logits: &[f32], places: &[usize]| {
            let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
            let scaled = |logit: f32| (f64::from(logit - greatest) / temperature).exp();
            let all: f64 = logits.iter().map(|&logit| scaled(logit)).sum();
            places.iter().map(|&i| scaled(logits[i])).sum::<f64>() / all
        };
        match self {
            Judged::Class(logits, label) => {
                let better =
                    |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
                let class = (0..logits.len()).fold(0, better);
                (share(logits, &[class]), class == *label)
            }
            Judged::Answer(scores, alike, right) => (share(scores, alike), *right),
        }
    }

    /// What the halves of a set should have alike many of.
    fn kind(&self) -> usize {
        match self {
            Judged::Class(_, label) => *label,
            Judged::Answer(_, _, right) => usize::from(*right),
        }
    }
}

/// The calibration of what was said; `None` of nothing.
pub(crate) fn calibrate(judged: &[Judged]) -> Option<Calibration> {
    let fit = |part: &dyn Fn(usize) -> bool| {
        let chosen: Vec<&Judged> = (0..judged.len())
            .filter(|&i| part(i))
            .map(|i| &judged[i])
            .collect();
        let loss = |temperature| chosen.iter().map(|judged| judged.loss(temperature)).sum();
        let fitted = f64::from(metrics::fit_temperature(loss));
        // Where nothing is wrong, the surer the better: that tells nothing of other texts.
        match chosen.iter().all(|judged| judged.said(1.0).1) {
            true => fitted.max(1.0),
            false => fitted,
        }
    };
    let error = |temperature: &dyn Fn(usize) -> f64| {
        let said = judged.iter().enumerate();
        let said = said.map(|(i, judged)| judged.said(temperature(i)));
        let (confidences, right): (Vec<f64>, Vec<bool>) = said.unzip();
        metrics::calibration_error(&confidences, &right, BINS)
    };
    // Those of a kind go to the halves in turn, so that an order in the file does not matter.
    let kinds = judged.iter().map(|judged| judged.kind() + 1).max()?;
    let mut seen = vec![0_usize; kinds];
    let half_of: Vec<usize> = judged
        .iter()
        .map(|judged| {
            let seen = &mut seen[judged.kind()];
            *seen += 1;
            *seen % 2
        })
        .collect();
    let halves = [0, 1].map(|half| fit(&|i| half_of[i] == half));
    Some(Calibration {
        temperature: fit(&|_| true),
        error_before: error(&|_| 1.0),
        error_after: error(&|i| halves[1 - half_of[i]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rows_does_not_matter_to_the_calibration() {
        // Class 0 is said of a row as often as it is right, and a little more.
        let rows: Vec<Judged> = (0..40)
            .map(|i| {
                let logits = vec![(i * 7 % 11) as f32, 5.0];
                Judged::Class(logits, usize::from(i * 5 % 9 > 4))
            })
            .collect();
        let calibrated = |rows: &[Judged]| calibrate(rows).unwrap().error_after;
        let alternating = calibrated(&rows);
        let mut sorted = rows.clone();
        sorted.sort_by_key(Judged::kind);
        assert!((calibrated(&sorted) - alternating).abs() < 1e-6);
    }

    #[test]
    fn a_dev_set_without_mistakes_makes_nobody_surer() {
        let rows = |wrong: usize| -> Vec<Judged> {
            let row = |i| Judged::Class(vec![1.0, 0.0], usize::from(i < wrong));
            (0..40).map(row).collect()
        };
        assert!((calibrate(&rows(0)).unwrap().temperature - 1.0).abs() < 1e-6);
        assert!(calibrate(&rows(1)).unwrap().temperature < 0.5);
    }

    #[test]
    fn answers_that_are_right_half_of_the_time_become_as_sure_as_that() {
        // Two candidates of four say the same, and are twice as likely as the others by the scores.
        let said = |right| Judged::Answer(vec![6.0, 6.0, 3.0, 3.0], vec![0, 1], right);
        let judged: Vec<Judged> = (0..40).map(|i| said(i % 4 != 0)).collect();
        let calibration = calibrate(&judged).unwrap();
        let confidence = judged[0].said(calibration.temperature).0;
        assert!((confidence - 0.75).abs() < 1e-3, "{confidence}");
        assert!(calibration.error_after < 1e-3 && calibration.error_before > 0.1);
        assert!(calibrate(&[]).is_none());
    }
}
