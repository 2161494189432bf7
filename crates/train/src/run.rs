//! The loop: forward, backward, judge, clip, step; evaluate, report, save.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use albert_model::{AlbertForPreTraining, DropoutKey, NamedParameters, TrainingBackend};
use burn::module::AutodiffModule;

use crate::batches::{HostBatch, Position, Prepared};
use crate::curves;
use crate::error::{Error, Result};
use crate::evaluate::{DevSet, right, to_device};
use crate::files::Claim;
use crate::guard::{Reason, Spike, SpikeFile, Verdict};
use crate::ledger::{Measured, Seen, Unread, read_all};
use crate::metrics::{DevScores, Metrics, Row};
use crate::optim::{AnyOptimizer, Gradients, OptimizerState};
use crate::peers::{Peers, agree, same_weights, sum_measures};
use crate::pretrain::{Outcome, Progress, StepReport};
use crate::recipe::PASS_BITS;
use crate::schedule::{Budget, Clock, rate};
use crate::share::Share;
use crate::smooth::Smooth;
use crate::sources::{Sources, no_pairs};
use crate::state::{self, RunInfo};

/// Accuracies of training are taken from every fourth step: finding the likeliest of all pieces
/// costs a few hundredths of a step.
const ACCURACY_STEPS: u64 = 4;

/// A run between two steps.
pub(crate) struct Run<'p, B: TrainingBackend> {
    peers: &'p dyn Peers,
    output: PathBuf,
    /// Keeps other runs out of it, in process 0.
    _claim: Option<Claim>,
    sources: Sources,
    budget: Budget,
    info: RunInfo,
    /// `None` only while the optimiser has it.
    model: Option<AlbertForPreTraining<B>>,
    optimizer: AnyOptimizer<B>,
    metrics: Metrics,
    spikes: SpikeFile,
    device: B::Device,
    /// Whether the numbers of steps stay on the device until they are needed; the guard then judges
    /// steps after they were taken.
    late: bool,
    unread: Vec<Unread<B::InnerBackend>>,
    /// When the step that `info` stands at was finished.
    since: Instant,
    saved: Option<(u64, Instant)>,
    dev: Option<DevScores>,
    smooth: Smooth,
    times: Times,
}

/// Of all steps since the run began or was resumed.
#[derive(Default)]
struct Times {
    steps: Duration,
    /// Of that, forward and backward passes, clipping and the optimiser.
    model: Duration,
}

/// What comes after a step.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Stage(usize),
    End,
    Stop,
}

impl<'p, B: TrainingBackend> Run<'p, B> {
    #[allow(clippy::too_many_arguments)] // Called once; a struct of these would be this one.
    pub(crate) fn new(
        peers: &'p dyn Peers,
        output: &Path,
        claim: Option<Claim>,
        sources: Sources,
        budget: Budget,
        info: RunInfo,
        model: AlbertForPreTraining<B>,
        optimizer_state: Option<OptimizerState>,
        metrics: Metrics,
        spikes: SpikeFile,
        device: &B::Device,
    ) -> Result<Run<'p, B>> {
        let mut optimizer = AnyOptimizer::new(&sources.recipe.optimizer);
        let precision = sources.recipe.precision.precision();
        if let Some(state) = optimizer_state {
            optimizer.restore(state, &model.parameters())?;
        }
        Ok(Run {
            peers,
            output: output.to_owned(),
            _claim: claim,
            // The state is written before the model: killed between the two, a run has none, or an
            // older one, which only its date would tell. Writing it once more is quick.
            saved: None,
            dev: metrics.rows.iter().rev().find_map(|row| row.dev),
            sources,
            budget,
            info,
            model: Some(model.with_precision(precision)),
            optimizer,
            metrics,
            spikes,
            device: device.clone(),
            // Several processes exchange their numbers at every step.
            late: !B::HOST && peers.count() == 1,
            unread: Vec::new(),
            since: Instant::now(),
            smooth: Smooth::default(),
            times: Times::default(),
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
            let set = self.sources.dev_set(self.info.stage)?;
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
            skipped: self.info.skipped,
            dev: self.dev,
            beside_model: self.beside_model(),
        })
    }

    /// The share of the steps' time that is not the model's. None on a device whose work goes on
    /// beside the loop's, and among several processes, which wait for each other.
    fn beside_model(&self) -> Option<f64> {
        let Times { steps, model } = &self.times;
        let known = B::HOST && self.peers.count() == 1 && !steps.is_zero();
        known.then(|| 1.0 - model.as_secs_f64() / steps.as_secs_f64())
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
            self.info.guard.begin_stage();
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
        let dev_set = agree(self.peers, self.sources.dev_set(stage))?;
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
                self.write_row(None, progress)?;
            }
            let due = |(_, at): (u64, Instant)| {
                at.elapsed().as_secs_f64() >= report.checkpoint_minutes * 60.0
            };
            let step = self.info.step;
            let counted = |steps| step.is_multiple_of(steps);
            if self.saved.is_none_or(due) || report.checkpoint_steps.is_some_and(counted) {
                self.save(progress)?;
            }
        }
        // The guard begins the next stage anew.
        self.read(progress)
    }

    /// One optimiser step; false if `stop` came before it was whole, and nothing was changed.
    fn step(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<HostBatch>>,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<bool> {
        let began = Instant::now();
        let mut model = Duration::ZERO;
        let passes = self.sources.recipe.stage[self.info.stage].accumulation;
        let mut gradients = Gradients::new();
        let mut seen = Seen::default();
        for pass in 0..passes {
            // Several processes stop between steps, all together.
            if self.peers.count() == 1 && stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let Some(batch) = batches.next().transpose()? else {
                return agree(self.peers, Err(no_pairs()));
            };
            // Stages accumulate different numbers of passes: the step and the pass by themselves.
            let forward_pass = (self.info.step << PASS_BITS) | pass as u64;
            model += self.forward_backward(&batch, forward_pass, &mut gradients, &mut seen)?;
        }
        if let Some(model) = &self.model {
            gradients.sum_over(self.peers, &model.parameters(), passes, &self.device)?;
        }
        if let Some(tied) = self.sources.recipe.model.tied {
            tied.gather(&mut gradients);
        }
        let limit = self.sources.recipe.optimizer.clip;
        let clock = self.clock();
        let clock = Clock {
            seconds: sum_measures(self.peers, &mut seen.sums, clock.seconds)?,
            ..clock
        };
        let rate = self.rate(clock);
        if let (true, Some(loss)) = (self.late, seen.unread_loss()) {
            let (gradients, norm) = gradients.take_clipped_on_device(limit, loss);
            self.move_weights(gradients, rate)?;
            let (step, nanoseconds) = self.advance(seen.last);
            self.unread.push(Unread {
                step,
                seen,
                norm,
                nanoseconds,
            });
        } else {
            let begins = Instant::now();
            let (gradients, norm) = gradients.take_clipped(limit)?;
            model += begins.elapsed();
            // The same numbers in every process, and so the same verdict.
            let verdict = self.judge(self.info.step, &seen, norm);
            let verdict = agree(self.peers, verdict)?;
            if verdict.reason.is_none() {
                let begins = Instant::now();
                self.move_weights(gradients, rate)?;
                model += begins.elapsed();
            }
            let (step, nanoseconds) = self.advance(seen.last);
            let accounted = self.account(step, seen, norm, nanoseconds, verdict, progress);
            agree(self.peers, accounted)?;
        }
        progress.step(&self.report(rate));
        self.times.model += model;
        self.times.steps += began.elapsed();
        Ok(true)
    }

    /// How long the passes took, without what is measured of them.
    fn forward_backward(
        &self,
        host: &HostBatch,
        forward_pass: u64,
        gradients: &mut Gradients<B>,
        seen: &mut Seen<B::InnerBackend>,
    ) -> Result<Duration> {
        let Some(model) = &self.model else {
            return Ok(Duration::ZERO);
        };
        let counted = self.info.step.is_multiple_of(ACCURACY_STEPS);
        seen.count(host, counted);
        let Some(share) = Share::new(host, self.peers) else {
            return Ok(Duration::ZERO);
        };
        let positions = model.config().max_position_embeddings;
        let batch = to_device::<B>(&share.batch, positions, &self.device);
        let key = DropoutKey {
            // The places in a share are counted from its first row: other masks in each process.
            seed: self.sources.recipe.seed ^ (self.peers.rank() as u64).rotate_right(16),
            step: forward_pass,
        };
        let began = Instant::now();
        let output = model.forward(&batch, Some(key))?;
        let order_weight = self.sources.recipe.stage[self.info.stage].order_weight;
        gradients.add(model, share.loss(&output, order_weight).backward());
        let took = began.elapsed();
        let measured = Measured {
            masked_lm_loss: output.masked_lm_loss.inner(),
            order_loss: output.order_loss.inner(),
            right: counted.then(|| {
                [
                    right(output.masked_lm_logits.inner(), batch.masked_labels.inner()),
                    right(output.order_logits.inner(), batch.order_labels.inner()),
                ]
            }),
        };
        seen.measure(measured, [share.of_masked, share.of_rows], self.late)?;
        Ok(took)
    }

    fn move_weights(&mut self, mut gradients: Gradients<B>, rate: f64) -> Result<()> {
        if let Some(model) = self.model.take() {
            if let Some(tied) = self.sources.recipe.model.tied {
                tied.spread(&mut gradients, &model.parameters());
            }
            self.model = Some(self.optimizer.step(model, gradients, rate)?);
        }
        Ok(())
    }

    /// Counts a step that read the data up to the batch `last`, whether it moved the weights or
    /// not; its number and how long it took.
    fn advance(&mut self, last: Position) -> (u64, u64) {
        let now = Instant::now();
        let spent = (now - self.since).as_nanos() as u64;
        self.since = now;
        let info = &mut self.info;
        let step = info.step;
        info.step += 1;
        info.nanoseconds += spent;
        info.position = Position {
            batch: last.batch + 1,
            ..last
        };
        (step, spent)
    }

    /// What the guard says of a step; an error if it ends the run at once.
    fn judge(&mut self, step: u64, seen: &Seen<B::InnerBackend>, norm: f64) -> Result<Verdict> {
        let recipe = &self.sources.recipe.guard;
        let verdict = self.info.guard.judge(recipe, seen.loss(), norm);
        match verdict.reason {
            Some(reason) if !recipe.skip => {
                let (what, value) = match reason {
                    Reason::LossNotFinite => ("loss", seen.loss()),
                    _ => ("gradient norm", norm),
                };
                Err(Error::NotFinite {
                    what,
                    value: value as f32,
                    step,
                    pass: seen.last.pass,
                    batch: seen.last.batch,
                    examples: seen.examples.clone(),
                })
            }
            _ => Ok(verdict),
        }
    }

    /// Adds a step to what is reported, or tells why it was skipped.
    fn account(
        &mut self,
        step: u64,
        seen: Seen<B::InnerBackend>,
        norm: f64,
        nanoseconds: u64,
        verdict: Verdict,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let info = &mut self.info;
        info.sums.nanoseconds += nanoseconds;
        // Judged late, a step with finite numbers has been taken already.
        let skipped = verdict
            .reason
            .is_some_and(|reason| !(self.late && reason.is_finite()));
        if skipped {
            info.skipped += 1;
            info.sums.skipped += 1;
        } else {
            info.tokens += seen.sums.tokens;
            info.sums.add_step(&seen.sums, norm);
            self.smooth.add(&seen.sums, norm, nanoseconds);
        }
        let Some(reason) = verdict.reason else {
            return Ok(());
        };
        let finite = |value: f64| value.is_finite().then_some(value);
        let spike = Spike {
            step,
            pass: seen.last.pass,
            batch: seen.last.batch,
            reason,
            skipped,
            loss: finite(seen.loss()),
            gradient_norm: finite(norm),
            loss_z: verdict.loss_z,
            gradient_z: verdict.gradient_z,
            examples: seen.examples,
        };
        self.spikes.push(&spike)?;
        progress.spike(&spike);
        let recipe = &self.sources.recipe.guard;
        match info.guard.too_many(recipe, step) {
            true => Err(Error::TooManySpikes {
                count: recipe.most_skips,
                window: recipe.window,
                spike: Box::new(spike),
            }),
            false => Ok(()),
        }
    }

    /// Reads what the last steps left on the device, and judges them.
    fn read(&mut self, progress: &mut dyn Progress) -> Result<()> {
        for (unread, norm) in read_all(std::mem::take(&mut self.unread))? {
            let verdict = self.judge(unread.step, &unread.seen, norm)?;
            let Unread {
                step,
                seen,
                nanoseconds,
                ..
            } = unread;
            self.account(step, seen, norm, nanoseconds, verdict, progress)?;
        }
        Ok(())
    }

    /// The rate of the step at `clock`.
    fn rate(&self, clock: Clock) -> f64 {
        let recipe = &self.sources.recipe;
        let peak = recipe
            .optimizer
            .rate_for(recipe.stage[self.info.stage].rows());
        rate(peak, &recipe.schedule, &self.budget, clock)
    }

    fn evaluate(&mut self, set: &DevSet, progress: &mut dyn Progress) -> Result<()> {
        self.read(progress)?;
        let (Some(model), true) = (&self.model, self.leads()) else {
            return Ok(());
        };
        let scores = set.evaluate::<B::InnerBackend>(&model.valid(), &self.device)?;
        self.dev = Some(scores);
        progress.evaluated(self.info.step, &scores);
        self.write_row(Some(scores), progress)
    }

    fn write_row(&mut self, dev: Option<DevScores>, progress: &mut dyn Progress) -> Result<()> {
        self.read(progress)?;
        if !self.leads() {
            return Ok(());
        }
        let clock = self.clock();
        let before = Clock {
            step: clock.step.saturating_sub(1),
            ..clock
        };
        let rate = self.rate(before);
        let sums = std::mem::take(&mut self.info.sums);
        let row = match self.metrics.rows.last() {
            // Evaluated at the end, just after a row was written.
            Some(last) if sums.steps + sums.skipped == 0 => Row {
                skipped: 0,
                ..*last
            },
            _ => sums.row(self.info.step, self.info.tokens, clock.seconds, rate),
        };
        self.metrics.push(Row { dev, ..row })
    }

    /// The state first, so that what can be resumed is never behind the checkpoint beside it.
    fn save(&mut self, progress: &mut dyn Progress) -> Result<()> {
        self.read(progress)?;
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

#[cfg(test)]
mod tests;
