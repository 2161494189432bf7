//! The guard: a step whose loss or gradient is out of the ordinary is skipped and told, and too
//! many of them end the run.
//!
//! A skipped step leaves weights and moments as they are. The run's step counter and its place in
//! the data move on, so that the schedule, the draws of dropout and the length of the run do not
//! depend on what was skipped; the optimiser's own count, by which AdamW corrects its means, does
//! not. What the guard remembers is part of the run's saved state: a resumed run skips what an
//! uninterrupted one does.
//!
//! The idea, z-scores of loss and gradient norm over the last steps, is llm.c's
//! (`outlier_detector.h`). Here a value is held against those before it, without itself, and one
//! beyond the limit is remembered as if it lay on the limit: a single spike does not blind the
//! guard to the next, and a lasting change of level is taken for what it is after a few steps.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::read_log;

/// The table `[guard]` of a recipe: which steps are skipped, and when that ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardRecipe {
    /// Whether there is a guard. Without one a loss or gradient that is not finite ends the run at
    /// once, and any other passes.
    pub skip: bool,
    /// Skip a step whose loss lies so many standard deviations above the mean of the window.
    pub loss_z: f64,
    /// The same for the norm of its gradient before clipping.
    pub gradient_z: f64,
    /// The steps that a value is held against.
    pub window: usize,
    /// Steps at the beginning of each stage that are not held against others: a new length has a
    /// new loss. What is not finite is skipped there, too.
    pub warmup_steps: u64,
    /// End the run when so many of the last `window` steps were skipped.
    pub most_skips: usize,
}

impl Default for GuardRecipe {
    fn default() -> Self {
        Self {
            skip: true,
            // What llm.c's scripts use: one in 10^12 steps if losses were normal, and measured to
            // be nearly so (3.2 at most in 600 steps of configs/tiny.toml).
            loss_z: 7.0,
            // The tail of gradient norms is heavier: 5.7 in the same steps, all of them healthy.
            gradient_z: 10.0,
            window: 128,
            // A full window.
            warmup_steps: 128,
            // A bad batch is one or two; eight are a run that has come apart.
            most_skips: 8,
        }
    }
}

/// The fewest values whose spread means anything.
const FEWEST: usize = 8;

/// The longest window: it is saved with the run.
const LONGEST: usize = 1 << 16;

/// The spread is taken for at least this share of the mean: where a loss hardly moves at all, a
/// rise by a few percent is no spike.
const LEAST_SPREAD: f64 = 0.01;

impl GuardRecipe {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::RecipeField`] naming the field.
    pub(crate) fn validate(&self) -> Result<()> {
        for (field, z) in [
            ("guard.loss_z", self.loss_z),
            ("guard.gradient_z", self.gradient_z),
        ] {
            if !(z > 0.0 && z.is_finite()) {
                return Err(Error::field(field, format!("must be above 0, not {z}")));
            }
        }
        if !(FEWEST..=LONGEST).contains(&self.window) {
            let message = format!("must be from {FEWEST} to {LONGEST}, not {}", self.window);
            return Err(Error::field("guard.window", message));
        }
        if self.warmup_steps < FEWEST as u64 {
            let message = format!("must be at least {FEWEST}, not {}", self.warmup_steps);
            return Err(Error::field("guard.warmup_steps", message));
        }
        if !(1..=self.window).contains(&self.most_skips) {
            let message = format!(
                "must be from 1 to `guard.window`, which is {}, not {}",
                self.window, self.most_skips
            );
            return Err(Error::field("guard.most_skips", message));
        }
        Ok(())
    }
}

/// Why a step is out of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The loss is infinite or no number.
    LossNotFinite,
    /// A gradient is infinite or no number.
    GradientNotFinite,
    /// The loss lies too far above those before it.
    LossSpike,
    /// The norm of the gradient lies too far above those before it.
    GradientSpike,
}

impl Reason {
    /// Whether there is a number at all.
    pub(crate) fn is_finite(self) -> bool {
        matches!(self, Reason::LossSpike | Reason::GradientSpike)
    }
}

/// A step that the guard found out of the ordinary: a line of `spikes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// The step, counted from 0.
    pub step: u64,
    /// The pass over the corpus of the step's last batch, counted from 0.
    pub pass: u64,
    /// The step's last batch in that pass, counted from 0.
    pub batch: u64,
    /// What is wrong with it.
    pub reason: Reason,
    /// Whether weights and moments were kept from it. A step on a device that is not the
    /// processor is judged after it was taken: a spike is only told there, and a gradient that is
    /// not finite counts as zero.
    pub skipped: bool,
    /// The sum of both losses, the mean over the step's batches; `null` in JSON if not finite.
    pub loss: Option<f64>,
    /// The norm of the gradient before clipping; `null` in JSON if not finite.
    pub gradient_norm: Option<f64>,
    /// How many standard deviations the loss lies above the window's mean, after the warm-up.
    pub loss_z: Option<f64>,
    /// The same for the norm of the gradient.
    pub gradient_z: Option<f64>,
    /// All examples of the step, by the index of their first sentence in the corpus.
    pub examples: Vec<u32>,
}

impl std::fmt::Display for Spike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |value: Option<f64>| value.map_or("not finite".into(), |v| format!("{v:.3}"));
        let (loss, norm) = (number(self.loss), number(self.gradient_norm));
        write!(
            f,
            "step {} (pass {}, batch {}): ",
            self.step, self.pass, self.batch
        )?;
        match self.reason {
            Reason::LossNotFinite => write!(f, "the loss is not finite"),
            Reason::GradientNotFinite => write!(f, "the gradient is not finite (loss {loss})"),
            Reason::LossSpike => write!(
                f,
                "the loss is {loss}, {:.1} standard deviations above the steps before",
                self.loss_z.unwrap_or(f64::NAN)
            ),
            Reason::GradientSpike => write!(
                f,
                "the gradient norm is {norm}, {:.1} standard deviations above the steps before \
                 (loss {loss})",
                self.gradient_z.unwrap_or(f64::NAN)
            ),
        }
    }
}

/// What the guard says of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Nothing, if the step is good.
    pub reason: Option<Reason>,
    pub loss_z: Option<f64>,
    pub gradient_z: Option<f64>,
}

/// What the guard remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    losses: Window,
    norms: Window,
    /// Values seen in this stage.
    seen: u64,
    /// The last steps that were out of the ordinary.
    spikes: VecDeque<u64>,
}

impl Guard {
    /// Another stage has other losses.
    pub(crate) fn begin_stage(&mut self) {
        self.losses = Window::default();
        self.norms = Window::default();
        self.seen = 0;
    }

    /// Judges a step by its loss and the norm of its gradient, and remembers them.
    pub(crate) fn judge(&mut self, recipe: &GuardRecipe, loss: f64, norm: f64) -> Verdict {
        let bad = |reason| Verdict {
            reason: Some(reason),
            ..Verdict::default()
        };
        if !loss.is_finite() {
            return bad(Reason::LossNotFinite);
        }
        if !norm.is_finite() {
            return bad(Reason::GradientNotFinite);
        }
        if !recipe.skip {
            return Verdict::default();
        }
        let acts = self.seen >= recipe.warmup_steps;
        self.seen += 1;
        let loss_z = self.losses.add(loss, recipe.loss_z, recipe.window, acts);
        let gradient_z = self.norms.add(norm, recipe.gradient_z, recipe.window, acts);
        let above = |z: Option<f64>, limit: f64| z.is_some_and(|z| z > limit);
        let reason = if above(loss_z, recipe.loss_z) {
            Some(Reason::LossSpike)
        } else if above(gradient_z, recipe.gradient_z) {
            Some(Reason::GradientSpike)
        } else {
            None
        };
        Verdict {
            reason,
            loss_z,
            gradient_z,
        }
    }

    /// Counts `step` as out of the ordinary; whether there are now too many.
    pub(crate) fn too_many(&mut self, recipe: &GuardRecipe, step: u64) -> bool {
        self.spikes.push_back(step);
        while let Some(&first) = self.spikes.front()
            && first + recipe.window as u64 <= step
        {
            self.spikes.pop_front();
        }
        self.spikes.len() >= recipe.most_skips
    }
}

/// The last values, as their bits, since decimal text may lose the last of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Window(VecDeque<u64>);

impl Window {
    /// How many standard deviations `value` lies above the mean of the values before, if `acts`;
    /// it is remembered as no more than `limit` of them.
    fn add(&mut self, value: f64, limit: f64, longest: usize, acts: bool) -> Option<f64> {
        // Summed anew in order, over a few hundred numbers at most as a rule: running sums would
        // have to be saved, too, and would drift.
        let count = self.0.len() as f64;
        let values = || self.0.iter().map(|&bits| f64::from_bits(bits));
        let mut remembered = value;
        let mut z = None;
        if acts && self.0.len() >= FEWEST {
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            let spread = variance.sqrt().max(LEAST_SPREAD * mean.abs());
            // No spread at all: a run of zeros, which nothing is a spike against.
            if spread > 0.0 {
                z = Some((value - mean) / spread);
                remembered = value.min(mean + limit * spread);
            }
        }
        self.0.push_back(remembered.to_bits());
        while self.0.len() > longest {
            self.0.pop_front();
        }
        z
    }
}

/// `spikes.jsonl` in the output folder; there is none before the first spike.
#[derive(Debug)]
pub(crate) struct SpikeFile {
    path: PathBuf,
    file: Option<File>,
}

impl SpikeFile {
    /// Goes on with the file: what a run wrote after its last checkpoint, from `step` on, is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::Log`] where a line is no spike, [`Error::Io`].
    pub(crate) fn open(output: &Path, step: u64) -> Result<SpikeFile> {
        let path = output.join("spikes.jsonl");
        if !path.exists() {
            return Ok(SpikeFile { path, file: None });
        }
        let mut spikes = Self::read(output)?;
        spikes.retain(|(spike, _)| spike.step < step);
        let kept: String = spikes.into_iter().map(|(_, line)| line + "\n").collect();
        albert_checkpoint::write_atomic(&path, kept.as_bytes())?;
        Ok(SpikeFile { path, file: None })
    }

    /// The spikes that a run wrote, each with its line.
    ///
    /// # Errors
    /// [`Error::Log`] where a line is no spike, [`Error::Io`].
    pub(crate) fn read(output: &Path) -> Result<Vec<(Spike, String)>> {
        let read = |line: &str| Some((serde_json::from_str(line).ok()?, line.to_owned()));
        read_log(&output.join("spikes.jsonl"), None, read)
    }

    /// Takes spikes and writes none.
    pub(crate) fn unwritten() -> SpikeFile {
        SpikeFile {
            path: PathBuf::new(),
            file: None,
        }
    }

    pub(crate) fn push(&mut self, spike: &Spike) -> Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let line = serde_json::to_string(spike).map_err(|error| Error::Values {
            what: "what is wrong with a step".into(),
            message: error.to_string(),
        })?;
        let io = Error::io(&self.path);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                match options.create(true).append(true).open(&self.path) {
                    Ok(file) => none.insert(file),
                    Err(error) => return Err(io(error)),
                }
            }
        };
        writeln!(file, "{line}").map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, SplitMix64};

    const RECIPE: GuardRecipe = GuardRecipe {
        skip: true,
        loss_z: 7.0,
        gradient_z: 7.0,
        window: 64,
        warmup_steps: 32,
        most_skips: 3,
    };

    /// A guard that has seen `steps` ordinary steps: loss 4 +- 0.2, norm 1 +- 0.1.
    fn seasoned(steps: usize) -> Guard {
        let (mut guard, mut random) = (Guard::default(), SplitMix64::new(1));
        for step in 0..steps {
            let (loss, norm) = (3.8 + 0.4 * random.unit(), 0.9 + 0.2 * random.unit());
            let verdict = guard.judge(&RECIPE, loss, norm);
            assert_eq!(verdict.reason, None, "{step}: {verdict:?}");
            assert_eq!(verdict.loss_z.is_some(), step >= 32, "{step}");
        }
        guard
    }

    #[test]
    fn spikes_are_seen_and_falls_are_not() {
        let mut guard = seasoned(100);
        assert_eq!(guard.judge(&RECIPE, 1.0, 1.0).reason, None, "a fall");
        let verdict = guard.judge(&RECIPE, 40.0, 1.0);
        assert_eq!(verdict.reason, Some(Reason::LossSpike));
        assert!(verdict.loss_z > Some(7.0), "{verdict:?}");
        let verdict = guard.judge(&RECIPE, 4.0, 30.0);
        assert_eq!(verdict.reason, Some(Reason::GradientSpike));
        // One spike does not hide the next.
        let verdict = guard.judge(&RECIPE, 40.0, 1.0);
        assert_eq!(verdict.reason, Some(Reason::LossSpike));
        for (loss, norm, reason) in [
            (f64::NAN, 1.0, Reason::LossNotFinite),
            (f64::INFINITY, f64::NAN, Reason::LossNotFinite),
            (4.0, f64::NAN, Reason::GradientNotFinite),
        ] {
            assert_eq!(guard.judge(&RECIPE, loss, norm).reason, Some(reason));
        }
        assert_eq!(guard.judge(&RECIPE, 4.0, 1.0).reason, None);
    }

    #[test]
    fn a_new_level_is_accepted_after_a_few_steps() {
        let mut guard = seasoned(100);
        // From 4 +- 0.12 to 6: 17 standard deviations at first.
        let skipped = (0..64).take_while(|_| guard.judge(&RECIPE, 6.0, 1.0).reason.is_some());
        let skipped = skipped.count();
        assert!((1..16).contains(&skipped), "{skipped}");
    }

    #[test]
    fn a_stage_begins_with_a_warm_up() {
        let mut guard = seasoned(100);
        guard.begin_stage();
        assert_eq!(guard.judge(&RECIPE, 40.0, 9.0), Verdict::default());
        let verdict = guard.judge(&RECIPE, f64::NAN, 9.0);
        assert_eq!(verdict.reason, Some(Reason::LossNotFinite));
    }

    #[test]
    fn without_a_guard_only_what_is_not_finite_is_seen() {
        let off = GuardRecipe {
            skip: false,
            ..RECIPE
        };
        let mut guard = seasoned(100);
        assert_eq!(guard.judge(&off, 40.0, 40.0).reason, None);
        let verdict = guard.judge(&off, 4.0, f64::INFINITY);
        assert_eq!(verdict.reason, Some(Reason::GradientNotFinite));
    }

    #[test]
    fn a_constant_loss_makes_no_spike_of_a_small_rise() {
        let mut guard = Guard::default();
        for _ in 0..64 {
            assert_eq!(guard.judge(&RECIPE, 4.0, 0.0).reason, None);
        }
        assert_eq!(guard.judge(&RECIPE, 4.2, 0.1).reason, None);
        let verdict = guard.judge(&RECIPE, 4.6, 0.1);
        assert_eq!(verdict.reason, Some(Reason::LossSpike));
    }

    #[test]
    fn skips_are_counted_within_the_window() {
        let mut guard = Guard::default();
        assert!(!guard.too_many(&RECIPE, 10));
        assert!(!guard.too_many(&RECIPE, 20));
        // Step 10 lies 64 steps back.
        assert!(!guard.too_many(&RECIPE, 74));
        assert!(guard.too_many(&RECIPE, 75));
    }

    #[test]
    fn what_is_remembered_survives_the_state_to_the_bit() {
        let mut guard = seasoned(100);
        guard.judge(&RECIPE, 40.0, 0.1 + 0.2);
        guard.too_many(&RECIPE, 100);
        let json = serde_json::to_string(&guard).expect("JSON");
        let mut read: Guard = serde_json::from_str(&json).expect("a guard");
        assert_eq!(read, guard);
        let next = |guard: &mut Guard| guard.judge(&RECIPE, 4.01, 1.02);
        assert_eq!(next(&mut read), next(&mut guard));
    }

    #[test]
    fn lines_after_the_checkpoint_are_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("spikes.jsonl");
        let spike = |step| Spike {
            step,
            pass: 0,
            batch: step,
            reason: Reason::LossNotFinite,
            skipped: true,
            loss: None,
            gradient_norm: Some(1.5),
            loss_z: None,
            gradient_z: None,
            examples: vec![3, 4],
        };
        let mut file = SpikeFile::open(dir.path(), 0).expect("no file");
        assert!(!path.exists(), "no file before the first spike");
        for step in [3, 7] {
            file.push(&spike(step)).expect("a line");
        }
        let text = std::fs::read_to_string(&path).expect("the file") + "{\"step\":";
        std::fs::write(&path, text).expect("a line cut short");
        let mut file = SpikeFile::open(dir.path(), 7).expect("the file");
        file.push(&spike(9)).expect("a line");
        let text = std::fs::read_to_string(&path).expect("the file");
        let read: Vec<Spike> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a spike"))
            .collect();
        assert_eq!(read, [spike(3), spike(9)]);
        assert!(text.contains("\"reason\":\"loss_not_finite\"") && text.contains("\"loss\":null"));
    }
}
