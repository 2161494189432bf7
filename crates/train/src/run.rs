//! The loop: forward, backward, clip, step; evaluate, report, save.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use albert_checkpoint::ParameterSpec;
use albert_model::{AlbertForPreTraining, DropoutKey, NamedParameters, TrainingBackend};
use burn::module::AutodiffModule;

use crate::batches::{HostBatch, Position, Prepared};
use crate::curves;
use crate::error::{Error, Result};
use crate::evaluate::{DevSet, right, scalar, to_device};
use crate::metrics::{DevScores, Metrics, Row, Sums};
use crate::optim::{AdamW, AdamWConfig, Gradients, Lamb, LambConfig, Optimizer, OptimizerState};
use crate::peers::{Peers, agree, same_weights, sum_measures};
use crate::pretrain::{Outcome, Progress, Sources, StepReport};
use crate::recipe::{OptimizerKind, OptimizerRecipe, PASS_BITS};
use crate::schedule::{Budget, Clock, rate};
use crate::share::Share;
use crate::state::{self, RunInfo};

/// Accuracies of training are taken from every fourth step: finding the likeliest of all pieces
/// costs a few hundredths of a step.
const ACCURACY_STEPS: u64 = 4;

/// A run between two steps.
pub(crate) struct Run<'p, B: TrainingBackend> {
    peers: &'p dyn Peers,
    output: PathBuf,
    sources: Sources,
    budget: Budget,
    info: RunInfo,
    /// `None` only while the optimiser has it.
    model: Option<AlbertForPreTraining<B>>,
    optimizer: AnyOptimizer<B>,
    metrics: Metrics,
    device: B::Device,
    /// When the step that `info` stands at was finished.
    since: Instant,
    saved: Option<(u64, Instant)>,
    dev: Option<DevScores>,
    smooth: Smooth,
}

/// What comes after a step.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Stage(usize),
    End,
    Stop,
}

/// What one step saw.
#[derive(Default)]
struct StepSums {
    sums: Sums,
    examples: Vec<u32>,
    last: Position,
}

impl<'p, B: TrainingBackend> Run<'p, B> {
    #[allow(clippy::too_many_arguments)] // Called once; a struct of these would be this one.
    pub(crate) fn new(
        peers: &'p dyn Peers,
        output: &Path,
        sources: Sources,
        budget: Budget,
        info: RunInfo,
        model: AlbertForPreTraining<B>,
        optimizer_state: Option<OptimizerState>,
        metrics: Metrics,
        device: &B::Device,
    ) -> Result<Run<'p, B>> {
        let mut optimizer = AnyOptimizer::new(&sources.recipe.optimizer);
        let precision = sources.recipe.precision.precision();
        let resumed = optimizer_state.is_some();
        if let Some(state) = optimizer_state {
            optimizer.restore(state, &model.parameters())?;
        }
        Ok(Run {
            peers,
            output: output.to_owned(),
            saved: resumed.then(|| (info.step, Instant::now())),
            dev: metrics.rows.iter().rev().find_map(|row| row.dev),
            sources,
            budget,
            info,
            model: Some(model.with_precision(precision)),
            optimizer,
            metrics,
            device: device.clone(),
            since: Instant::now(),
            smooth: Smooth::default(),
        })
    }

    /// Trains until the end of the recipe, or until `stop`.
    pub(crate) fn carry_out(
        mut self,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Outcome> {
        if self.saved.is_none() {
            self.save(progress)?;
        }
        let finished = loop {
            match self.next(stop)? {
                Next::Stage(stage) => self.carry_out_stage(stage, stop, progress)?,
                Next::End => break true,
                Next::Stop => break false,
            }
        };
        if finished
            && self
                .metrics
                .rows
                .last()
                .is_none_or(|row| row.step < self.info.step || row.dev.is_none())
            && self.info.step > 0
        {
            let set = self.dev_set(self.info.stage)?;
            self.evaluate(&set, progress)?;
        }
        if self.saved.is_none_or(|(step, _)| step < self.info.step) || finished {
            self.save(progress)?;
        }
        Ok(Outcome {
            finished,
            steps: self.info.step,
            tokens: self.info.tokens,
            seconds: self.clock().seconds,
            dev: self.dev,
        })
    }

    /// What process 0 says comes next: clocks and signals are not the same everywhere.
    fn next(&self, stop: &AtomicBool) -> Result<Next> {
        let mut code = [match self.budget.stage(self.clock()) {
            _ if stop.load(Ordering::Relaxed) => 0,
            None => 1,
            Some(stage) => 2 + stage as u64,
        }];
        self.peers.follow(&mut code)?;
        Ok(match code[0] {
            0 => Next::Stop,
            1 => Next::End,
            stage => Next::Stage(stage as usize - 2),
        })
    }

    /// Whether this process writes and evaluates.
    fn leads(&self) -> bool {
        self.peers.rank() == 0
    }

    fn carry_out_stage(
        &mut self,
        stage: usize,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        if stage != self.info.stage {
            // Another length cuts the corpus anew: a new pass.
            self.info.stage = stage;
            self.info.position = Position {
                pass: self.info.position.pass + 1,
                batch: 0,
            };
        }
        if let Some(model) = self.model.take() {
            let all = model.config().num_hidden_layers;
            let depth = self.sources.recipe.stage[stage].layers.unwrap_or(all);
            self.model = Some(model.with_depth(depth)?);
        }
        let report = self.sources.recipe.report.clone();
        let dev_set = agree(self.peers, self.dev_set(stage))?;
        let mut batches = Prepared::new(self.sources.training(stage), self.info.position);
        while self.next(stop)? == Next::Stage(stage) {
            if !self.step(&mut batches, stop, progress)? {
                return Ok(());
            }
            if self.info.step.is_multiple_of(report.evaluate_steps) {
                if let (Some(model), true) = (&self.model, self.peers.count() > 1) {
                    same_weights(self.peers, &model.tensors())?;
                }
                self.evaluate(&dev_set, progress)?;
            } else if self.info.step.is_multiple_of(report.report_steps) {
                self.write_row(None)?;
            }
            let due = |(_, at): (u64, Instant)| {
                at.elapsed().as_secs_f64() >= report.checkpoint_minutes * 60.0
            };
            if self.saved.is_none_or(due) {
                self.save(progress)?;
            }
        }
        Ok(())
    }

    /// One optimiser step; false if `stop` came before it was whole, and nothing was changed.
    fn step(
        &mut self,
        batches: &mut Prepared,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<bool> {
        let optimizer = self.sources.recipe.optimizer;
        let passes = self.sources.recipe.stage[self.info.stage].accumulation;
        let mut gradients = Gradients::new();
        let mut seen = StepSums::default();
        for pass in 0..passes {
            // Several processes stop between steps, all together.
            if self.peers.count() == 1 && stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let Some(batch) = batches.next().transpose()? else {
                let message = "no document has two sentences, or one of four words or more";
                let message = message.into();
                return agree(self.peers, Err(Error::SmallCorpus { message }));
            };
            // Stages accumulate different numbers of passes: the step and the pass by themselves.
            let forward_pass = (self.info.step << PASS_BITS) | pass as u64;
            self.forward_backward(&batch, forward_pass, &mut gradients, &mut seen)?;
        }
        if let Some(model) = &self.model {
            gradients.sum_over(self.peers, &model.parameters(), passes, &self.device)?;
        }
        let clock = self.clock();
        let clock = Clock {
            seconds: sum_measures(self.peers, &mut seen.sums, clock.seconds)?,
            ..clock
        };
        let loss = (seen.sums.masked_lm_loss + seen.sums.order_loss) as f32;
        if !loss.is_finite() {
            return agree(self.peers, Err(self.not_finite("loss", loss, &seen)));
        }
        let (gradients, norm) = gradients.take_clipped(optimizer.clip)?;
        if !norm.is_finite() {
            let error = self.not_finite("gradient norm", norm as f32, &seen);
            return agree(self.peers, Err(error));
        }
        let schedule = self.sources.recipe.schedule;
        let rate = rate(&optimizer, &schedule, &self.budget, clock);
        if let Some(model) = self.model.take() {
            self.model = Some(self.optimizer.step(model, gradients, rate)?);
        }

        let now = Instant::now();
        let spent = (now - self.since).as_nanos() as u64;
        self.since = now;
        let info = &mut self.info;
        info.step += 1;
        info.nanoseconds += spent;
        info.tokens += seen.sums.tokens;
        info.position = Position {
            batch: seen.last.batch + 1,
            ..seen.last
        };
        let sums = &mut info.sums;
        sums.steps += 1;
        sums.passes += seen.sums.passes;
        sums.masked_lm_loss += seen.sums.masked_lm_loss;
        sums.order_loss += seen.sums.order_loss;
        sums.gradient_norm += norm;
        sums.masked_right += seen.sums.masked_right;
        sums.masked += seen.sums.masked;
        sums.order_right += seen.sums.order_right;
        sums.pairs += seen.sums.pairs;
        sums.tokens += seen.sums.tokens;
        sums.nanoseconds += spent;
        self.smooth.add(&seen.sums, norm, spent);
        progress.step(&self.report(rate));
        Ok(true)
    }

    fn forward_backward(
        &self,
        host: &HostBatch,
        forward_pass: u64,
        gradients: &mut Gradients<B>,
        seen: &mut StepSums,
    ) -> Result<()> {
        let Some(model) = &self.model else {
            return Ok(());
        };
        seen.examples.extend(&host.examples);
        seen.last = host.position;
        let sums = &mut seen.sums;
        sums.passes += 1;
        sums.tokens += host.tokens() as u64;
        let accuracy = self.info.step.is_multiple_of(ACCURACY_STEPS);
        if accuracy {
            sums.masked += host.masked_labels.len() as u64;
            sums.pairs += host.rows as u64;
        }
        let Some(share) = Share::new(host, self.peers) else {
            return Ok(());
        };
        let batch = to_device::<B>(&share.batch, &self.device);
        let key = DropoutKey {
            // The places in a share are counted from its first row: other masks in each process.
            seed: self.sources.recipe.seed ^ (self.peers.rank() as u64).rotate_right(16),
            step: forward_pass,
        };
        let output = model.forward(&batch, Some(key))?;
        gradients.add(model, share.loss(&output).backward());
        sums.masked_lm_loss += share.of_masked * f64::from(scalar(output.masked_lm_loss.inner()));
        sums.order_loss += share.of_rows * f64::from(scalar(output.order_loss.inner()));
        if accuracy {
            sums.masked_right +=
                right(output.masked_lm_logits.inner(), batch.masked_labels.inner());
            sums.order_right += right(output.order_logits.inner(), batch.order_labels.inner());
        }
        Ok(())
    }

    fn not_finite(&self, what: &'static str, value: f32, seen: &StepSums) -> Error {
        Error::NotFinite {
            what,
            value,
            step: self.info.step,
            pass: seen.last.pass,
            batch: seen.last.batch,
            examples: seen.examples.clone(),
        }
    }

    fn dev_set(&self, stage: usize) -> Result<DevSet> {
        let examples = self.sources.recipe.report.dev_examples;
        let set = DevSet::new(&self.sources.held_out(stage), examples);
        if set.pairs() == 0 {
            let message = "the held-out documents have no pair of sentences; \
                           raise `report.dev_share` or give `report.dev_corpus`";
            return Err(Error::SmallCorpus {
                message: message.into(),
            });
        }
        Ok(set)
    }

    fn evaluate(&mut self, set: &DevSet, progress: &mut dyn Progress) -> Result<()> {
        let (Some(model), true) = (&self.model, self.leads()) else {
            return Ok(());
        };
        let scores = set.evaluate::<B::InnerBackend>(&model.valid(), &self.device)?;
        self.dev = Some(scores);
        progress.evaluated(self.info.step, &scores);
        self.write_row(Some(scores))
    }

    fn write_row(&mut self, dev: Option<DevScores>) -> Result<()> {
        if !self.leads() {
            return Ok(());
        }
        let schedule = self.sources.recipe.schedule;
        let optimizer = self.sources.recipe.optimizer;
        let clock = self.clock();
        let before = Clock {
            step: clock.step.saturating_sub(1),
            ..clock
        };
        let rate = rate(&optimizer, &schedule, &self.budget, before);
        let sums = std::mem::take(&mut self.info.sums);
        let row = match self.metrics.rows.last() {
            // Evaluated at the end, just after a row was written.
            Some(last) if sums.steps == 0 => *last,
            _ => sums.row(self.info.step, self.info.tokens, clock.seconds, rate),
        };
        self.metrics.push(Row { dev, ..row })
    }

    /// The state first, so that what can be resumed is never behind the checkpoint beside it.
    fn save(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let (Some(model), true) = (&self.model, self.leads()) else {
            return Ok(());
        };
        let now = Instant::now();
        self.info.nanoseconds += (now - self.since).as_nanos() as u64;
        self.since = now;
        let optimizer = self.optimizer.state()?;
        self.info.optimizer_steps = optimizer.steps;
        state::save(&self.output, &self.info, &model.tensors(), &optimizer)?;
        model.save(&self.output, self.sources.recipe.report.dtype.dtype(), &[])?;
        let name = self
            .output
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let picture = curves::svg(&name, &self.metrics.rows);
        albert_checkpoint::write_atomic(&self.output.join("curves.svg"), picture.as_bytes())?;
        self.saved = Some((self.info.step, Instant::now()));
        progress.saved(self.info.step, &self.output);
        Ok(())
    }

    fn clock(&self) -> Clock {
        let running = self.since.elapsed().as_secs_f64();
        Clock {
            step: self.info.step,
            seconds: self.info.nanoseconds as f64 * 1e-9 + running,
        }
    }

    fn report(&self, rate: f64) -> StepReport {
        let clock = self.clock();
        let done = self.budget.done(clock);
        let seconds_left = match &self.budget {
            Budget::Seconds(stages) => (stages.iter().sum::<f64>() - clock.seconds).max(0.0),
            Budget::Steps(stages) => {
                (stages.iter().sum::<u64>() - clock.step) as f64 * self.smooth.seconds
                    / self.smooth.steps
            }
        };
        let smooth = &self.smooth;
        StepReport {
            step: clock.step,
            stage: self.info.stage,
            done,
            tokens: self.info.tokens,
            tokens_per_second: smooth.tokens / smooth.seconds.max(1e-9),
            seconds: clock.seconds,
            seconds_left,
            rate,
            loss: smooth.loss / smooth.passes.max(1e-9),
            masked_lm_accuracy: smooth.masked_right / smooth.masked.max(1e-9),
            order_accuracy: smooth.order_right / smooth.pairs.max(1e-9),
            gradient_norm: smooth.gradient_norm / smooth.steps.max(1e-9),
        }
    }
}

/// Sums over recent steps, older ones counting less and less. For the eye alone: not saved.
#[derive(Default)]
struct Smooth {
    steps: f64,
    passes: f64,
    loss: f64,
    masked_right: f64,
    masked: f64,
    order_right: f64,
    pairs: f64,
    gradient_norm: f64,
    tokens: f64,
    seconds: f64,
}

impl Smooth {
    fn add(&mut self, sums: &Sums, gradient_norm: f64, nanoseconds: u64) {
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

/// The optimiser that the recipe names.
enum AnyOptimizer<B: TrainingBackend> {
    Lamb(Lamb<B>),
    AdamW(AdamW<B>),
}

impl<B: TrainingBackend> AnyOptimizer<B> {
    fn new(recipe: &OptimizerRecipe) -> AnyOptimizer<B> {
        let OptimizerRecipe {
            weight_decay,
            epsilon,
            betas: [beta_1, beta_2],
            ..
        } = *recipe;
        match recipe.kind {
            OptimizerKind::Lamb => AnyOptimizer::Lamb(Lamb::new(LambConfig {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
            })),
            OptimizerKind::AdamW => AnyOptimizer::AdamW(AdamW::new(AdamWConfig {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
            })),
        }
    }

    fn step(
        &mut self,
        model: AlbertForPreTraining<B>,
        gradients: Gradients<B>,
        rate: f64,
    ) -> Result<AlbertForPreTraining<B>> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.step(model, gradients, rate),
            AnyOptimizer::AdamW(adamw) => adamw.step(model, gradients, rate),
        }
    }

    fn state(&self) -> Result<OptimizerState> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.state(),
            AnyOptimizer::AdamW(adamw) => adamw.state(),
        }
    }

    fn restore(&mut self, state: OptimizerState, parameters: &[ParameterSpec]) -> Result<()> {
        match self {
            AnyOptimizer::Lamb(lamb) => lamb.restore(state, parameters),
            AnyOptimizer::AdamW(adamw) => adamw.restore(state, parameters),
        }
    }
}
