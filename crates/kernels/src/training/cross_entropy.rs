//! Mean cross-entropy from logits, without a matrix of probabilities.

use rayon::prelude::*;

use super::fill::filled;
use super::vectorized::{exp, largest, sum, vectorized};

/// Mean over the items of `-log softmax(logits)[label]`, and each item's log of the sum of
/// exponentials, which the backward pass wants.
///
/// `logits` is `[items, classes]`.
///
/// # Panics
/// A label is no class.
pub fn cross_entropy(logits: &[f32], labels: &[usize]) -> (f32, Vec<f32>) {
    let classes = logits.len() / labels.len().max(1);
    let rows = logits.par_chunks(classes.max(1)).with_max_len(1);
    let log_sums: Vec<f32> = rows.map(log_sum_exp).collect();
    let items = labels.iter().zip(&log_sums).enumerate();
    let total: f64 = items
        .map(|(item, (&label, &log_sum))| {
            assert!(label < classes, "label {label} of {classes} classes");
            f64::from(log_sum - logits[item * classes + label])
        })
        .sum();
    ((total / labels.len() as f64) as f32, log_sums)
}

/// The gradient with respect to the logits, where that with respect to the mean is `gradient`.
pub fn cross_entropy_backward(
    logits: &[f32],
    labels: &[usize],
    log_sums: &[f32],
    gradient: f32,
) -> Vec<f32> {
    let classes = logits.len() / labels.len().max(1);
    let scale = gradient / labels.len() as f32;
    let ([out], _) = filled(logits.len(), classes, |item, [out]| {
        let logits = &logits[item * classes..(item + 1) * classes];
        softmax_from(logits, log_sums[item], scale, out);
        out[labels[item]] -= scale;
    });
    out
}

vectorized! {
    fn log_sum_exp(row: &[f32]) -> f32 {
        let largest = largest(row);
        let total = sum(row.len(), |i| exp(row[i] - largest));
        largest + total.ln()
    }

    fn softmax_from(logits: &[f32], log_sum: f32, scale: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(logits) {
            *out = scale * exp(x - log_sum);
        }
    }
}
