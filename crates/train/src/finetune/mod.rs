//! Fine-tuning: a pretrained encoder under a new head, taught by labelled examples.
//!
//! [`finetune()`] carries out a [`FinetuneRecipe`]: it tries the rates on the dev set, trains with
//! the best, keeps the weights of the best evaluation, fits the temperature that makes
//! confidence honest, and writes a checkpoint folder that every command reads.
//! [`folds`](crate::finetune::folds()) and [`learning_curve`] tell how far a score can be trusted,
//! and whether more examples would raise it.

mod calibration;
mod dev;
mod exact;
mod fit;
mod loss;
mod prepare;
mod recipe;
mod report;
mod set;
mod small;
mod task;
mod trial;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use albert_checkpoint::DType;
use albert_data::Format;
use albert_model::TrainingBackend;

pub use self::calibration::Calibration;
pub use self::dev::Scores;
use self::fit::{Fit, StateFile};
use self::prepare::Prepared;
pub use self::prepare::Starts;
pub use self::recipe::{ClassWeights, FinetuneRecipe, Parts, Plan, RATES};
pub use self::report::Report;
pub use self::small::{FoldReport, LearningCurve, folds, learning_curve};
pub use self::task::{Labels, Source, Task};
use crate::error::Result;

/// What to fine-tune, on what, and where to.
#[derive(Clone, Debug)]
pub struct FinetuneOptions {
    /// What for.
    pub task: Task,
    /// The checkpoint folder that is the beginning.
    pub model: PathBuf,
    /// Examples to learn from.
    pub train: Vec<Source>,
    /// Examples that decide: the rate, the best weights, the temperature.
    pub dev: Source,
    /// The format of the first training file, which may have a published recipe.
    pub format: Option<Format>,
    /// The recipe.
    pub recipe: FinetuneRecipe,
    /// Which weights to begin with.
    pub starts: Starts,
    /// The folder that becomes the checkpoint; must be new or empty unless `resume`.
    pub output: PathBuf,
    /// Store only what differs from `model`.
    pub difference: bool,
    /// The number format of the stored weights.
    pub dtype: DType,
    /// Go on with the run in `output`.
    pub resume: bool,
}

/// Where a run is after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinetuneStep {
    /// Which trial, from 1, of how many.
    pub trial: (usize, usize),
    /// Optimiser steps of this trial taken.
    pub step: u64,
    /// All of them.
    pub steps: u64,
    /// The training loss, smoothed over recent steps.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// Positions a second.
    pub tokens_per_second: f64,
    /// Seconds to the trial's end.
    pub seconds_left: f64,
}

/// A look at the dev set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Which trial, from 1, of how many.
    pub trial: (usize, usize),
    /// After so many of its steps.
    pub step: u64,
    /// Mean training loss since the last look.
    pub loss: f64,
    /// The dev scores.
    pub dev: Option<Scores>,
}

/// Hears how a run goes on. Every method does nothing unless written.
pub trait FinetuneProgress {
    /// A run begins: what one should know, a sentence each.
    fn note(&mut self, _text: &str) {}
    /// A trial begins at this rate.
    fn trial(&mut self, _trial: (usize, usize), _rate: f64, _steps: u64) {}
    /// A step was taken.
    fn step(&mut self, _step: &FinetuneStep) {}
    /// The dev set was looked at.
    fn evaluated(&mut self, _evaluation: &Evaluation) {}
}

impl FinetuneProgress for () {}

/// Fine-tunes a model and writes it, or goes on with a run that was stopped. `None` if `stop`
/// became true before the end: `resume` goes on then, on the CPU to the same weights as if it had
/// not been stopped.
///
/// The output folder is a checkpoint with `task.json` (what the head's numbers mean),
/// `finetune.json` (the report), `finetune.csv` and `curves.svg`.
///
/// # Errors
/// The folder, the recipe or an example is bad, by file and line; a label of the dev set that is
/// not learnt; a loss that comes apart at every rate; a file that cannot be written.
pub fn finetune<B: TrainingBackend>(
    options: &FinetuneOptions,
    device: &B::Device,
    stop: &AtomicBool,
    progress: &mut dyn FinetuneProgress,
) -> Result<Option<Report>> {
    let prepared = Prepared::new(options)?;
    let state = StateFile::open(options, &prepared)?;
    for note in &prepared.notes {
        progress.note(note);
    }
    let fit = Fit::<B> {
        prepared: &prepared,
        plan: &prepared.plan,
        items: &prepared.train.items,
        dev: &prepared.dev,
        device,
    };
    let Some(fitted) = fit.carry_out(Some(&state), stop, progress)? else {
        return Ok(None);
    };
    let (report, warning) = report::write(options, &prepared, &fit, fitted)?;
    state.remove();
    if let Some(warning) = warning {
        progress.note(&warning);
    }
    Ok(Some(report))
}
