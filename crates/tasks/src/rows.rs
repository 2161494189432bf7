//! Rows through the engine, so many at once that memory stays bounded.

use albert_engine::{Batch, Engine, Outputs, What};
use albert_text::Encoding;

use crate::{Error, Result};

/// So many tokens go through the engine at once.
const TOKENS_AT_ONCE: usize = 4096;

/// What a head's numbers belong to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Of {
    /// Each row has some.
    Rows,
    /// Each token of a row has some.
    Tokens,
}

/// The numbers that `take` finds in the outputs, row by row. Rows of like length go together; a
/// row's numbers are the same whatever goes with it.
pub(crate) fn outputs(
    engine: &Engine,
    rows: &[&Encoding],
    what: &What,
    of: Of,
    take: impl Fn(Outputs) -> Option<Vec<f32>>,
) -> Result<Vec<Vec<f32>>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| rows[row].len());
    let mut numbers = vec![Vec::new(); rows.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = |&&row: &&usize| {
            tokens += rows[row].len();
            tokens <= TOKENS_AT_ONCE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        let mut batch = Batch::new();
        for &row in now {
            batch.push(&rows[row].ids, Some(&rows[row].type_ids))?;
        }
        let values = take(engine.forward(&batch, what)?).unwrap_or_default();
        let units = match of {
            Of::Rows => now.len(),
            Of::Tokens => batch.tokens(),
        };
        let width = values.len() / units.max(1);
        let mut values = values.as_slice();
        for &row in now {
            let units = match of {
                Of::Rows => 1,
                Of::Tokens => rows[row].len(),
            };
            let (own, others) = values.split_at(units * width);
            values = others;
            if own.is_empty() || own.iter().any(|number| !number.is_finite()) {
                return Err(Error::NotFinite);
            }
            numbers[row] = own.to_vec();
        }
    }
    Ok(numbers)
}

/// Probabilities of logits divided by a temperature.
pub(crate) fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from((logit - greatest) / temperature).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// The logistic function.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-logit).exp())) as f32
}

/// The index of the greatest; the first of several.
pub(crate) fn greatest(values: &[f32]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}
