//! Rows through the engine, so many at once that memory stays bounded.

use albert_engine::{Batch, EarlyExit, Engine, Outputs, What};
use albert_text::Encoding;

use crate::{Error, Result};

/// So much goes through the engine at once, by [`Row::cost`].
const COST_AT_ONCE: usize = 4096;

/// What a mask costs, in tokens: logits over the whole vocabulary, 120 KB of them for 30,000 pieces.
pub const MASK_COST: usize = 16;

/// A row of ids, and where in it logits over the vocabulary are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Ids of the pieces.
    pub ids: Vec<u32>,
    /// A type for each.
    pub type_ids: Vec<u32>,
    /// Positions of masks; looked at by [`Wanted::Masks`] alone.
    pub masks: Vec<usize>,
}

impl Row {
    /// What the row costs, about in tokens: its length, and more for each mask.
    pub fn cost(&self) -> usize {
        self.ids.len() + MASK_COST * self.masks.len()
    }
}

impl From<&Encoding> for Row {
    fn from(encoding: &Encoding) -> Self {
        Self {
            ids: encoding.ids.clone(),
            type_ids: encoding.type_ids.clone(),
            masks: Vec::new(),
        }
    }
}

/// Which numbers of a row are wanted. Rows that want the same can go through the engine together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// `[labels]`, or one for a choice or a regression: a head over whole rows.
    Row {
        /// When rows leave, of a model with early exits.
        early_exit: Option<EarlyExit>,
    },
    /// `[tokens, labels]`: a token classifier.
    Tokens,
    /// `[tokens, 2]`: each token's logit as an answer's first and as its last.
    Spans,
    /// `[tokens, hidden]`: the last layer's output.
    States,
    /// `[masks, vocabulary]`: the masked-LM head at the row's masks.
    Masks,
}

/// The numbers of each row, in the order of the rows. A row's numbers are the same to the bit
/// whatever goes with it.
///
/// # Errors
/// [`Error::NotFinite`], and what the engine refuses.
pub fn run_rows(engine: &Engine, rows: &[&Row], wanted: Wanted) -> Result<Vec<Vec<f32>>> {
    let mut numbers = vec![Vec::new(); rows.len()];
    run_each(engine, rows, wanted, |row, own| numbers[row] = own)?;
    Ok(numbers)
}

/// Gives the numbers of each row to `take`, with the row's index, as soon as they are there: never
/// more than those of one pass of the engine are in memory.
///
/// # Errors
/// As [`run_rows`].
pub(crate) fn run_each(
    engine: &Engine,
    rows: &[&Row],
    wanted: Wanted,
    mut take: impl FnMut(usize, Vec<f32>),
) -> Result<()> {
    // Rows of like length go together.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| rows[row].ids.len());
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let mut cost = 0;
        let fits = |&&row: &&usize| {
            cost += rows[row].cost();
            cost <= COST_AT_ONCE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        let these: Vec<&Row> = now.iter().map(|&row| rows[row]).collect();
        for (&row, own) in now.iter().zip(run_batch(engine, &these, wanted)?) {
            take(row, own);
        }
    }
    Ok(())
}

/// The numbers of each row, all in one pass of the engine.
fn run_batch(engine: &Engine, rows: &[&Row], wanted: Wanted) -> Result<Vec<Vec<f32>>> {
    let mut batch = Batch::new();
    let mut masks = Vec::new();
    for row in rows {
        let start = batch.tokens();
        batch.push(&row.ids, Some(&row.type_ids))?;
        masks.extend(row.masks.iter().map(|mask| start + mask));
    }
    let head = What {
        head: true,
        ..What::default()
    };
    let what = match wanted {
        Wanted::Row { early_exit } => What { early_exit, ..head },
        Wanted::Tokens | Wanted::Spans => head,
        Wanted::States => What {
            last_hidden_state: true,
            ..What::default()
        },
        Wanted::Masks => What {
            masked_lm_positions: Some(masks),
            ..head
        },
    };
    let values = numbers_in(engine.forward(&batch, &what)?, wanted).unwrap_or_default();
    let units = |row: &Row| match wanted {
        Wanted::Row { .. } => 1,
        Wanted::Tokens | Wanted::Spans | Wanted::States => row.ids.len(),
        Wanted::Masks => row.masks.len(),
    };
    let all: usize = rows.iter().map(|row| units(row)).sum();
    let width = values.len() / all.max(1);
    let mut rest = values.as_slice();
    let mut numbers = Vec::with_capacity(rows.len());
    for row in rows {
        let (own, others) = rest.split_at(units(row) * width);
        rest = others;
        if own.is_empty() || own.iter().any(|number| !number.is_finite()) {
            return Err(Error::NotFinite);
        }
        numbers.push(own.to_vec());
    }
    Ok(numbers)
}

fn numbers_in(outputs: Outputs, wanted: Wanted) -> Option<Vec<f32>> {
    match wanted {
        Wanted::Row { .. } => outputs.sequence_logits.or(outputs.choice_logits),
        Wanted::Tokens => outputs.token_logits,
        Wanted::Spans => {
            let sides = outputs.start_logits?.into_iter().zip(outputs.end_logits?);
            Some(sides.flat_map(|(start, end)| [start, end]).collect())
        }
        Wanted::States => outputs.last_hidden_state,
        Wanted::Masks => outputs.masked_lm_logits,
    }
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
