//! What a run shows of its recent steps.

use crate::metrics::Sums;

/// Sums over recent steps, older ones counting less and less. For the eye alone: not saved.
#[derive(Default)]
pub(crate) struct Smooth {
    pub(crate) steps: f64,
    pub(crate) passes: f64,
    pub(crate) loss: f64,
    pub(crate) masked_right: f64,
    pub(crate) masked: f64,
    pub(crate) order_right: f64,
    pub(crate) pairs: f64,
    pub(crate) gradient_norm: f64,
    pub(crate) tokens: f64,
    pub(crate) seconds: f64,
}

impl Smooth {
    /// Takes a step in.
    pub(crate) fn add(&mut self, sums: &Sums, gradient_norm: f64, nanoseconds: u64) {
        // A step counts half as much after 34 more.
        let add = |sum: &mut f64, value: f64| *sum = *sum * 0.98 + value;
        add(&mut self.steps, 1.0);
        add(&mut self.passes, sums.passes as f64);
        add(&mut self.loss, sums.masked_lm_loss + sums.order_loss);
        add(&mut self.masked_right, sums.masked_right as f64);
        add(&mut self.masked, sums.masked as f64);
        add(&mut self.order_right, sums.order_right as f64);
        add(&mut self.pairs, sums.pairs as f64);
        add(&mut self.gradient_norm, gradient_norm);
        add(&mut self.tokens, sums.tokens as f64);
        add(&mut self.seconds, nanoseconds as f64 * 1e-9);
    }
}
