//! What a run measures, row by row, and `metrics.csv`.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::read_log;

/// Losses and accuracies on held-out pairs, masked as [`score`](mod@crate::score) does: 15% of the
/// words, every one of their pieces `[MASK]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DevScores {
    /// Mean cross-entropy of a masked piece plus that of a pair's order, in nats.
    pub loss: f64,
    /// Mean cross-entropy of a masked piece, in nats.
    pub masked_lm_loss: f64,
    /// The share of masked pieces whose likeliest guess is right.
    pub masked_lm_accuracy: f64,
    /// The share of pairs whose order is told right.
    pub order_accuracy: f64,
}

/// A row of `metrics.csv`: means over the steps since the row before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Optimiser steps taken.
    pub step: u64,
    /// Positions trained on so far, without padding.
    pub tokens: u64,
    /// Seconds spent so far.
    pub seconds: f64,
    /// Positions a second.
    pub tokens_per_second: f64,
    /// The learning rate of the last step.
    pub rate: f64,
    /// The loss of training: the sum of the next two, without a stage's `order_weight`.
    pub loss: f64,
    /// Mean cross-entropy of a masked piece, in nats.
    pub masked_lm_loss: f64,
    /// Mean cross-entropy of a pair's order, in nats.
    pub order_loss: f64,
    /// The share of masked pieces that were guessed, in some of the batches.
    pub masked_lm_accuracy: Option<f64>,
    /// The share of pairs whose order was told, in some of the batches.
    pub order_accuracy: Option<f64>,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// What the held-out pairs gave, where they were evaluated.
    pub dev: Option<DevScores>,
    /// Steps since the row before that the guard skipped; no mean has them in it.
    pub skipped: u64,
}

const HEADER: &str = "step,tokens,seconds,tokens_per_second,rate,loss,masked_lm_loss,order_loss,\
masked_lm_accuracy,order_accuracy,gradient_norm,\
dev_loss,dev_masked_lm_loss,dev_masked_lm_accuracy,dev_order_accuracy,skipped";

impl Row {
    fn to_csv(self) -> String {
        let mut line = format!(
            "{},{},{:.2},{:.0}",
            self.step, self.tokens, self.seconds, self.tokens_per_second
        );
        let dev = |of: fn(DevScores) -> f64| self.dev.map(of);
        let _ = write!(line, ",{:.8}", self.rate);
        for value in [
            Some(self.loss),
            Some(self.masked_lm_loss),
            Some(self.order_loss),
            self.masked_lm_accuracy,
            self.order_accuracy,
            Some(self.gradient_norm),
            dev(|dev| dev.loss),
            dev(|dev| dev.masked_lm_loss),
            dev(|dev| dev.masked_lm_accuracy),
            dev(|dev| dev.order_accuracy),
        ] {
            line.push(',');
            if let Some(value) = value {
                let _ = write!(line, "{value:.5}");
            }
        }
        let _ = write!(line, ",{}", self.skipped);
        line
    }

    fn from_csv(line: &str) -> Option<Row> {
        let fields: Vec<&str> = line.split(',').collect();
        let columns = HEADER.split(',').count();
        // The last column was added later.
        if fields.len() != columns && fields.len() + 1 != columns {
            return None;
        }
        let number = |i: usize| fields[i].parse::<f64>().ok();
        let dev = match fields[11].is_empty() {
            true => None,
            false => Some(DevScores {
                loss: number(11)?,
                masked_lm_loss: number(12)?,
                masked_lm_accuracy: number(13)?,
                order_accuracy: number(14)?,
            }),
        };
        Some(Row {
            step: fields[0].parse().ok()?,
            tokens: fields[1].parse().ok()?,
            seconds: number(2)?,
            tokens_per_second: number(3)?,
            rate: number(4)?,
            loss: number(5)?,
            masked_lm_loss: number(6)?,
            order_loss: number(7)?,
            masked_lm_accuracy: number(8),
            order_accuracy: number(9),
            gradient_norm: number(10)?,
            dev,
            skipped: match fields.get(15) {
                Some(skipped) => skipped.parse().ok()?,
                None => 0,
            },
        })
    }
}

/// `metrics.csv`, and its rows in memory.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    /// `None` in a process that writes nothing.
    file: Option<File>,
    pub rows: Vec<Row>,
}

impl Metrics {
    /// Begins the file anew, or goes on with it: rows after `step`, which a run wrote after its
    /// last checkpoint, are dropped.
    ///
    /// # Errors
    /// [`Error::Log`] where a line is no row, [`Error::Io`].
    pub(crate) fn open(output: &Path, step: u64) -> Result<Metrics> {
        let path = output.join("metrics.csv");
        let mut rows = match step {
            0 => Vec::new(),
            _ => Self::read(output)?,
        };
        rows.retain(|row| row.step <= step);
        let mut text = format!("{HEADER}\n");
        for row in &rows {
            text += &(row.to_csv() + "\n");
        }
        albert_checkpoint::write_atomic(&path, text.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let file = Some(file);
        Ok(Metrics { path, file, rows })
    }

    /// The rows that a run wrote.
    ///
    /// # Errors
    /// [`Error::Log`] where a line is no row, [`Error::Io`].
    pub(crate) fn read(output: &Path) -> Result<Vec<Row>> {
        read_log(&output.join("metrics.csv"), Some("step,"), Row::from_csv)
    }

    /// Rows in memory alone.
    pub(crate) fn unwritten() -> Metrics {
        Metrics {
            path: PathBuf::new(),
            file: None,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: Row) -> Result<()> {
        self.rows.push(row);
        match &mut self.file {
            Some(file) => writeln!(file, "{}", row.to_csv()).map_err(Error::io(&self.path)),
            None => Ok(()),
        }
    }
}

/// Sums over the steps since the last row. Kept in the run's state bit by bit, so that the rows
/// of a resumed run are those of an uninterrupted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub steps: u64,
    pub passes: u64,
    #[serde(with = "bits")]
    pub masked_lm_loss: f64,
    #[serde(with = "bits")]
    pub order_loss: f64,
    #[serde(with = "bits")]
    pub gradient_norm: f64,
    pub masked_right: u64,
    pub masked: u64,
    pub order_right: u64,
    pub pairs: u64,
    pub tokens: u64,
    pub nanoseconds: u64,
    #[serde(default)]
    pub skipped: u64,
}

impl Sums {
    /// Adds a step that was taken: the sums over its passes, and the norm of its gradient.
    pub(crate) fn add_step(&mut self, step: &Sums, gradient_norm: f64) {
        self.steps += 1;
        self.passes += step.passes;
        self.masked_lm_loss += step.masked_lm_loss;
        self.order_loss += step.order_loss;
        self.gradient_norm += gradient_norm;
        self.masked_right += step.masked_right;
        self.masked += step.masked;
        self.order_right += step.order_right;
        self.pairs += step.pairs;
        self.tokens += step.tokens;
    }

    /// The row that the sums make; its means are no numbers if every step was skipped.
    pub(crate) fn row(&self, step: u64, tokens: u64, seconds: f64, rate: f64) -> Row {
        let passes = self.passes as f64;
        let share = |right: u64, all: u64| (all > 0).then(|| right as f64 / all as f64);
        let (masked_lm_loss, order_loss) = (self.masked_lm_loss / passes, self.order_loss / passes);
        Row {
            step,
            tokens,
            seconds,
            tokens_per_second: self.tokens as f64 / (self.nanoseconds.max(1) as f64 * 1e-9),
            rate,
            loss: masked_lm_loss + order_loss,
            masked_lm_loss,
            order_loss,
            masked_lm_accuracy: share(self.masked_right, self.masked),
            order_accuracy: share(self.order_right, self.pairs),
            gradient_norm: self.gradient_norm / self.steps as f64,
            dev: None,
            skipped: self.skipped,
        }
    }
}

/// A float as its bits, since decimal text may lose the last of them.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(f64::from_bits(u64::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_after_the_checkpoint_are_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let dev = Some(DevScores {
            loss: 9.5,
            order_accuracy: 0.5,
            ..DevScores::default()
        });
        let row = |step, dev| Row {
            step,
            loss: 7.25,
            seconds: 1.5,
            dev,
            ..Row::default()
        };
        let mut metrics = Metrics::open(dir.path(), 0).expect("a new file");
        for (step, dev) in [(20, None), (40, dev), (60, None)] {
            metrics.push(row(step, dev)).expect("a written row");
        }
        let resumed = Metrics::open(dir.path(), 40).expect("the file");
        assert_eq!(resumed.rows, [row(20, None), row(40, dev)]);
        let text = std::fs::read_to_string(dir.path().join("metrics.csv")).expect("the text");
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("step,tokens,seconds"));
        assert!(
            Metrics::open(dir.path(), 0)
                .expect("a new file")
                .rows
                .is_empty()
        );
    }

    #[test]
    fn sums_survive_the_state_to_the_bit() {
        let sums = Sums {
            masked_lm_loss: 0.1 + 0.2,
            order_loss: 1.0 / 3.0,
            ..Sums::default()
        };
        let json = serde_json::to_string(&sums).expect("JSON");
        assert_eq!(serde_json::from_str::<Sums>(&json).expect("sums"), sums);
    }
}
