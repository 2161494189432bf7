//! What answers are scored by. Every score is a fraction of one, or a correlation.
//!
//! Each function says whose numbers it gives; `golden/data/metrics.py` holds them all against those
//! programs.

mod bootstrap;
mod calibration;
mod classification;
mod correlation;
mod spans;
mod squad;

pub use bootstrap::{interval, resamples};
pub use calibration::{calibration_error, fit_temperature, negative_log_likelihood};
pub use classification::{
    accuracy, confusion, f1_of_class, macro_f1, matthews, micro_f1, subset_accuracy,
};
pub use correlation::{pearson, spearman};
pub use spans::{Span, SpanScores, span_scores, spans, tag_accuracy};
pub use squad::{Answered, SquadScript, best_threshold, normalize_answer, squad_exact, squad_f1};
