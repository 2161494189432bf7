//! From the first weights to the best: the order of trials, and resuming.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use albert_model::{AlbertForTask, NamedParameters, TrainingBackend};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::dev::{DevSet, Scores};
use super::exact::{self, Exact};
use super::prepare::{Prepared, Starts};
use super::recipe::{Parts, Plan};
use super::set::Item;
use super::trial::{Best, Point, Rest, Standing, Tensors, Trial, tensors_of};
use super::{FinetuneOptions, FinetuneProgress};
use crate::error::{Error, Result};
use crate::optim::{Moments, OptimizerState};
use crate::tensor_file;

/// The rate of the passes over pairs of texts in few-shot learning.
const CONTRAST_RATE: f64 = 1e-4;

/// A model to fit to examples.
pub(crate) struct Fit<'a, B: TrainingBackend> {
    pub prepared: &'a Prepared,
    pub plan: &'a Plan,
    pub items: &'a [Item],
    pub dev: &'a DevSet,
    pub device: &'a B::Device,
}

/// The best that came out.
pub(crate) struct Fitted {
    pub weights: Tensors,
    pub scores: Scores,
    /// Rates that were tried, with the best dev score of each.
    pub tried: Vec<(f64, f64)>,
    pub rate: f64,
    pub curve: Vec<Point>,
    pub steps: u64,
    pub tokens: u64,
    pub seconds: f64,
}

/// One run of the optimiser among those that a fit takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Vectors are taught to tell classes apart.
    Contrast,
    /// A rate is tried.
    Try(f64),
    /// The best rate, for the whole length.
    Last,
}

/// What a fit remembers between stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    stage: usize,
    tried: Vec<(Exact, Exact)>,
    best: Option<Kept>,
    tokens: u64,
    seconds: f64,
}

/// The best trial so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    rate: f64,
    #[serde(with = "exact::scores")]
    scores: Scores,
    curve: Vec<Point>,
    steps: u64,
}

/// A fit at rest.
struct Saved {
    memory: Memory,
    standing: Standing,
    optimizer: OptimizerState,
    weights: Tensors,
    best: Tensors,
    kept: Tensors,
    start: Tensors,
}

impl<B: TrainingBackend> Fit<'_, B> {
    /// Steps of a whole run.
    pub(crate) fn steps(&self) -> u64 {
        let batches = self.items.len().div_ceil(self.plan.batch).max(1) as f64;
        let steps = (batches * self.plan.epochs).ceil() as u64;
        self.plan.steps.unwrap_or(steps).max(1)
    }

    fn stages(&self) -> Vec<Stage> {
        let contrast = (self.plan.few_shot_epochs > 0.0).then_some(Stage::Contrast);
        let rates = &self.plan.rates;
        let whole = self.plan.trial_share >= 1.0;
        let tried = rates.iter().map(|&rate| Stage::Try(rate));
        let tried = tried.filter(|_| rates.len() > 1 || whole);
        let last = (!whole).then_some(Stage::Last);
        contrast.into_iter().chain(tried).chain(last).collect()
    }

    /// Carries all stages out; `None` if `stop` came first. With a `state` what was done is
    /// written there, and what is there already is taken up.
    pub(crate) fn carry_out(
        &self,
        state: Option<&StateFile>,
        stop: &AtomicBool,
        progress: &mut dyn FinetuneProgress,
    ) -> Result<Option<Fitted>> {
        let first = self.prepared.model::<B>(self.plan.seed, self.device)?;
        let mut start = tensors_of(&first);
        let mut memory = Memory::default();
        let mut kept = Tensors::new();
        let mut waiting = None;
        if let Some(saved) = state.map(StateFile::take).transpose()?.flatten() {
            memory = saved.memory;
            (start, kept) = (saved.start, saved.kept);
            let model = first.clone().with_tensors(saved.weights)?;
            waiting = Some(Rest {
                standing: saved.standing,
                model,
                optimizer: saved.optimizer,
                best: saved.best,
            });
        }
        let stages = self.stages();
        while let Some(&stage) = stages.get(memory.stage) {
            let rest = match waiting.take() {
                Some(rest) => rest,
                None => Rest::new(first.clone().with_tensors(start.clone())?),
            };
            let number = (memory.stage + 1, stages.len());
            let rate = match stage {
                Stage::Contrast => CONTRAST_RATE,
                Stage::Try(rate) => rate,
                Stage::Last => best_rate(&memory.tried).unwrap_or(self.plan.rates[0]),
            };
            let mut save = |rest: &Rest<B>| match state {
                Some(state) if state.is_due() => state.write(&memory, rest, &kept, &start),
                _ => Ok(()),
            };
            let outcome = self.stage(stage, rate, number, rest, stop, progress, &mut save);
            let rest = match (outcome, stage) {
                (Err(Error::Diverged { rate, step }), Stage::Try(_)) if stages.len() > 1 => {
                    progress.note(&format!(
                        "rate {rate:e} came apart by step {step}; going on with the others"
                    ));
                    memory.tried.push((Exact(rate), Exact(f64::NEG_INFINITY)));
                    memory.stage += 1;
                    continue;
                }
                (outcome, _) => outcome?,
            };
            if rest.standing.step < self.length(stage) && !rest.standing.ended {
                // Stopped.
                if let Some(state) = state {
                    state.write(&memory, &rest, &kept, &start)?;
                }
                return Ok(None);
            }
            memory.tokens += rest.standing.tokens;
            memory.seconds += rest.standing.seconds;
            memory.stage += 1;
            let Some(Best { scores, .. }) = rest.standing.best.clone() else {
                start = rest.best;
                continue;
            };
            if let Stage::Try(rate) = stage {
                memory.tried.push((Exact(rate), Exact(scores.main_value())));
            }
            // Trials of part of the length only choose the rate.
            let counts = stage == Stage::Last || self.plan.trial_share >= 1.0;
            if counts
                && memory
                    .best
                    .as_ref()
                    .is_none_or(|best| scores.beats(&best.scores))
            {
                kept = rest.best;
                memory.best = Some(Kept {
                    rate,
                    scores,
                    curve: rest.standing.curve,
                    steps: rest.standing.step,
                });
            }
        }
        match memory.best {
            Some(best) => Ok(Some(Fitted {
                weights: kept,
                scores: best.scores,
                tried: memory
                    .tried
                    .iter()
                    .map(|(rate, score)| (rate.0, score.0))
                    .collect(),
                rate: best.rate,
                curve: best.curve,
                steps: best.steps,
                tokens: memory.tokens,
                seconds: memory.seconds,
            })),
            // Every rate came apart.
            None => Err(Error::Diverged {
                rate: self.plan.rates[0],
                step: 0,
            }),
        }
    }

    fn length(&self, stage: Stage) -> u64 {
        let all = self.steps();
        match stage {
            Stage::Last => all,
            Stage::Try(_) => ((all as f64 * self.plan.trial_share).ceil() as u64).max(1),
            Stage::Contrast => {
                let batches = self.items.len().div_ceil(self.plan.batch).max(1) as f64;
                (batches * self.plan.few_shot_epochs).ceil() as u64
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // Called once.
    fn stage(
        &self,
        stage: Stage,
        rate: f64,
        number: (usize, usize),
        rest: Rest<B>,
        stop: &AtomicBool,
        progress: &mut dyn FinetuneProgress,
        save: &mut dyn FnMut(&Rest<B>) -> Result<()>,
    ) -> Result<Rest<B>> {
        let mut plan = self.plan.clone();
        let mut teaching = self.prepared.teaching(self.items);
        let contrast = stage == Stage::Contrast;
        if contrast {
            teaching.contrast = true;
            // The classifier's answers, which are not taught yet, are nothing to agree about.
            teaching.r_drop = 0.0;
        } else if self.plan.few_shot_epochs > 0.0 {
            plan.train = Parts::Head;
        }
        let trial = Trial {
            plan: &plan,
            teaching: &teaching,
            items: self.items,
            dev: (!contrast).then_some(self.dev),
            device: self.device,
            rate,
            steps: self.length(stage),
            number,
        };
        progress.trial(number, rate, trial.steps);
        trial.carry_out(rest, stop, progress, save)
    }

    /// The model with these weights.
    pub(crate) fn model_with(&self, weights: Tensors) -> Result<AlbertForTask<B>> {
        let model = self.prepared.model::<B>(self.plan.seed, self.device)?;
        Ok(model.with_tensors(weights)?)
    }
}

/// The rate with the best score; of several the lowest.
fn best_rate(tried: &[(Exact, Exact)]) -> Option<f64> {
    let tried = tried.iter().map(|(rate, score)| (rate.0, score.0));
    let best = tried.filter(|(_, score)| score.is_finite());
    let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.total_cmp(&a.0)));
    best.map(|(rate, _)| rate)
}

/// Where a run is written down while it goes on.
pub(crate) struct StateFile {
    path: PathBuf,
    resume: bool,
    /// A checksum of what the run depends on: configuration, recipe, examples, their pieces, and
    /// the weights that it begins with.
    inputs: u64,
    written: Cell<Option<Instant>>,
}

/// Between two states of a run; each is some times as large as the model.
const STATE_EVERY: Duration = Duration::from_secs(30);

const KEY: &str = "albert_finetuning";

/// The JSON text of a state.
#[derive(Serialize, Deserialize)]
struct Info {
    format: u32,
    inputs: u64,
    memory: Memory,
    standing: Standing,
}

/// The layout that this version writes.
const FORMAT: u32 = 2;

impl StateFile {
    /// The state of the run in the output folder, which must be empty or hold one to resume.
    pub(crate) fn open(options: &FinetuneOptions, prepared: &Prepared) -> Result<Self> {
        let output = &options.output;
        let path = output.join("training").join("state.safetensors");
        let taken = std::fs::read_dir(output).is_ok_and(|mut files| files.next().is_some());
        if !options.resume && taken {
            return Err(Error::OutputExists {
                path: output.clone(),
            });
        }
        if options.resume && !path.exists() {
            return Err(Error::NothingToResume {
                path: output.clone(),
            });
        }
        let config = prepared.config.to_json();
        let random = prepared.starts == Starts::Random;
        let said = format!(
            "{config}{:?}{random}{}{:?}{:?}",
            prepared.plan, prepared.max_length, options.train, options.dev
        );
        let mut inputs = Xxh3Default::new();
        inputs.update(said.as_bytes());
        for row in prepared.train.items.iter().flat_map(|item| &item.rows) {
            for id in &row.ids {
                inputs.update(&id.to_le_bytes());
            }
        }
        if !random {
            for tensor in prepared.checkpoint.tensors() {
                inputs.update(tensor.name.as_bytes());
                let values = tensor.to_f32();
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                inputs.update(&bytes);
            }
        }
        Ok(Self {
            path,
            resume: options.resume,
            inputs: inputs.digest(),
            written: Cell::new(Some(Instant::now())),
        })
    }

    fn is_due(&self) -> bool {
        let written = self.written.get();
        written.is_none_or(|at| at.elapsed() >= STATE_EVERY)
    }

    fn take(&self) -> Result<Option<Saved>> {
        if !self.resume {
            return Ok(None);
        }
        let failed = |message: String| Error::State {
            path: self.path.clone(),
            message,
        };
        let Some((json, entries)) = tensor_file::read(&self.path, KEY, "a fine-tuning run")? else {
            return Ok(None);
        };
        let info: Info = serde_json::from_str(&json).map_err(|error| failed(error.to_string()))?;
        if info.format != FORMAT {
            let format = info.format;
            return Err(failed(format!(
                "has layout {format}, this version reads {FORMAT}"
            )));
        }
        if info.inputs != self.inputs {
            let message = "is of a run with another model, recipe or other examples; resume with \
                           the same, or begin anew in another folder";
            return Err(failed(message.to_owned()));
        }
        let mut saved = Saved {
            optimizer: OptimizerState {
                steps: info.standing.optimizer_steps,
                ..OptimizerState::default()
            },
            memory: info.memory,
            standing: info.standing,
            weights: Tensors::new(),
            best: Tensors::new(),
            kept: Tensors::new(),
            start: Tensors::new(),
        };
        for (name, _, values) in entries {
            let (group, name) = name.split_once('/').unwrap_or(("", &name));
            let name = name.to_owned();
            let moments = &mut saved.optimizer.moments;
            match group {
                "weight" => saved.weights.push((name, values)),
                "best" => saved.best.push((name, values)),
                "kept" => saved.kept.push((name, values)),
                "start" => saved.start.push((name, values)),
                "first" => moments.entry(name).or_default().first = values,
                "second" => moments.entry(name).or_default().second = values,
                _ => return Err(failed(format!("holds an unknown tensor `{group}/{name}`"))),
            }
        }
        Ok(Some(saved))
    }

    fn write<B: TrainingBackend>(
        &self,
        memory: &Memory,
        rest: &Rest<B>,
        kept: &Tensors,
        start: &Tensors,
    ) -> Result<()> {
        let info = Info {
            format: FORMAT,
            inputs: self.inputs,
            memory: memory.clone(),
            standing: rest.standing.clone(),
        };
        let json = serde_json::to_string(&info).map_err(|error| Error::State {
            path: self.path.clone(),
            message: error.to_string(),
        })?;
        let weights = rest.model.tensors();
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = weights
            .iter()
            .map(|(name, shape, values)| (format!("weight/{name}"), shape.clone(), &values[..]))
            .collect();
        let named = |group: &str, name: &str, values: &[f32]| {
            (format!("{group}/{name}"), vec![values.len()])
        };
        for (group, set) in [("best", &rest.best), ("kept", kept), ("start", start)] {
            for (name, values) in set {
                let (name, shape) = named(group, name, values);
                tensors.push((name, shape, values));
            }
        }
        for (name, Moments { first, second }) in &rest.optimizer.moments {
            for (group, values) in [("first", first), ("second", second)] {
                let (name, shape) = named(group, name, values);
                tensors.push((name, shape, values));
            }
        }
        tensor_file::write(&self.path, KEY, json, tensors)?;
        self.written.set(Some(Instant::now()));
        Ok(())
    }

    /// Removes what was there to resume from: the run is done.
    pub(crate) fn remove(&self) {
        if let Some(folder) = self.path.parent() {
            // What stays does no harm.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
