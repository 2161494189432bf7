//! `albert pretrain`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert_kernels::ThreadPool;
use albert_model::TrainingBackend;
use albert_train::corpus::TokenisingReport;
use albert_train::metrics::DevScores;
use albert_train::recipe::Arithmetic;
use albert_train::{
    Outcome, PretrainOptions, Progress, Recipe, RunReport, Spike, StepReport, pretrain_together,
};
use anyhow::Result;
use serde_json::{Value, json};

use super::processes::Processes;
use crate::args::{Device, PretrainArgs, TrainPrecision};
use crate::output;
use crate::progress::{Run, Steps, duration};
use crate::signals::on_stop;

pub fn run(args: PretrainArgs) -> Result<()> {
    let processes = Processes::find()?;
    let outcome = carry_out(args, &processes);
    processes.leave(outcome)
}

fn carry_out(args: PretrainArgs, processes: &Processes) -> Result<()> {
    let mut recipe = processes.agree(Recipe::from_file(&args.recipe))?;
    if let Some(tokenizer) = args.tokenizer {
        recipe.tokenizer = tokenizer;
    }
    if let Some(precision) = args.precision {
        recipe.precision = match precision {
            TrainPrecision::F32 => Arithmetic::F32,
            TrainPrecision::Bf16 => Arithmetic::Bf16,
        };
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let watch = processes.watch(&args.output);
    on_stop(move || {
        let again = seen.swap(true, Ordering::SeqCst);
        if let Some(watch) = &watch {
            return watch.signalled(again);
        }
        if again {
            // Asked a second time: the last checkpoint on disk is whole, so leaving at once is safe.
            std::process::exit(130);
        }
        output::note("stopping: saving a checkpoint first (once more to leave at once)");
    })?;

    let options = PretrainOptions {
        recipe,
        corpus: args.corpus,
        output: args.output,
        resume: args.resume,
        cache: args.cache,
        threads: args.threads.map(usize::from),
    };
    let (options, json) = (&options, args.json);
    let outcome = match args.device {
        Device::Cpu => {
            let device = Default::default();
            train::<albert_model::Cpu>(options, processes, &device, &stop, json)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(number) => {
            // The processes of a machine take one device each.
            let device = albert_model::CudaDevice::new(number + processes.place());
            train::<albert_model::Cuda>(options, processes, &device, &stop, json)
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu => {
            let device = Default::default();
            train::<albert_model::Wgpu>(options, processes, &device, &stop, json)
        }
    }?;
    if processes.peers().rank() > 0 {
        return Ok(());
    }
    if args.json {
        return output::json(&json!({
            "finished": outcome.finished,
            "steps": outcome.steps,
            "tokens": outcome.tokens,
            "seconds": outcome.seconds,
            "skipped": outcome.skipped,
            "beside_model": outcome.beside_model,
            "dev": outcome.dev.as_ref().map(scores),
            "output": options.output,
        }));
    }
    let done = if outcome.finished {
        "done"
    } else {
        "stopped; go on with --resume"
    };
    let skipped = match outcome.skipped {
        0 => String::new(),
        skipped => format!(" ({} skipped)", output::thousands(skipped)),
    };
    output::line(&format!(
        "{done}: {} steps{skipped}, {} tokens, {}; the model is in {}",
        output::thousands(outcome.steps),
        output::thousands(outcome.tokens),
        duration(outcome.seconds),
        options.output.display()
    ))
}

fn train<B: TrainingBackend>(
    options: &PretrainOptions,
    processes: &Processes,
    device: &B::Device,
    stop: &AtomicBool,
    json: bool,
) -> Result<Outcome> {
    albert_model::check_device::<B>(device)?;
    let peers = processes.peers();
    let threads = options.threads.or_else(|| processes.threads());
    // Burn and the kernels run on the pool that they are called from.
    let outcome = ThreadPool::for_training(threads)?.install(|| {
        let mut shown = Shown {
            json,
            steps: Steps::new(),
            run: None,
        };
        let outcome = pretrain_together::<B>(options, peers, device, stop, &mut shown);
        shown.finish();
        outcome
    });
    Ok(outcome?)
}

fn scores(scores: &DevScores) -> Value {
    json!({
        "loss": scores.loss,
        "masked_lm_loss": scores.masked_lm_loss,
        "masked_lm_accuracy": scores.masked_lm_accuracy,
        "order_accuracy": scores.order_accuracy,
    })
}

/// The run as a person or a machine sees it.
struct Shown {
    json: bool,
    steps: Steps,
    run: Option<Run>,
}

impl Shown {
    fn event(&self, value: &Value) {
        if self.json {
            // A closed output must not end a training run.
            let _ = output::json(value);
        }
    }

    fn note(&self, text: &str) {
        match &self.run {
            Some(run) => run.note(text),
            None => self.steps.note(text),
        }
    }

    fn finish(&self) {
        self.steps.finish();
        if let Some(run) = &self.run {
            run.finish();
        }
    }
}

impl Progress for Shown {
    fn tokenising(&mut self, report: &TokenisingReport) {
        self.steps.show(&format!(
            "tokenising: {} of {}, {} documents, {} pieces, {}/s, {} left",
            output::bytes(report.bytes_read),
            output::bytes(report.bytes_total),
            output::thousands(report.documents),
            output::thousands(report.pieces),
            output::bytes(report.bytes_per_second() as u64),
            duration(report.seconds_left()),
        ));
    }

    fn begins(&mut self, report: &RunReport) {
        self.steps.finish();
        self.event(&json!({
            "event": "begins",
            "documents": report.documents,
            "dev_documents": report.dev_documents,
            "dropped": report.dropped,
            "pieces": report.pieces,
            "step": report.step,
            "steps": report.steps,
            "rate": report.rate,
            "published_rate": report.published_rate,
            "notes": report.notes,
        }));
        let mut text = format!(
            "{} documents ({} pieces), {} held out",
            output::thousands(report.documents as u64),
            output::thousands(report.pieces as u64),
            output::thousands(report.dev_documents as u64),
        );
        if report.dropped > 0 {
            text += &format!(", {} left out as markup", output::thousands(report.dropped));
        }
        if report.step > 0 {
            text += &format!("; going on from step {}", output::thousands(report.step));
        }
        self.note(&text);
        if let Some(published) = report.published_rate {
            self.note(&format!(
                "rate {:.3e}; the published one for steps of this size is {published:.3e}",
                report.rate
            ));
        }
        for note in &report.notes {
            self.note(&format!("note: {note}"));
        }
        self.run = Some(Run::new());
    }

    fn step(&mut self, report: &StepReport) {
        if let Some(run) = &mut self.run {
            let line = format!(
                "step {} · loss {:.3} · words {:.1}% · order {:.1}% · {:.0} tokens/s · {} left",
                output::thousands(report.step),
                report.loss,
                100.0 * report.masked_lm_accuracy,
                100.0 * report.order_accuracy,
                report.tokens_per_second,
                duration(report.seconds_left),
            );
            run.show(report.done, &line);
        }
    }

    fn spike(&mut self, spike: &Spike) {
        if let Ok(Value::Object(fields)) = serde_json::to_value(spike) {
            let mut event = json!({ "event": "spike" });
            if let Some(event) = event.as_object_mut() {
                event.extend(fields);
            }
            self.event(&event);
        }
        let what = if spike.skipped { "skipped" } else { "spike" };
        self.note(&format!("{what}: {spike}"));
    }

    fn evaluated(&mut self, step: u64, dev: &DevScores) {
        self.event(&json!({ "event": "evaluated", "step": step, "dev": scores(dev) }));
        self.note(&format!(
            "held out, step {}: loss {:.3}, words {:.1}%, order {:.1}%",
            output::thousands(step),
            dev.loss,
            100.0 * dev.masked_lm_accuracy,
            100.0 * dev.order_accuracy
        ));
    }

    fn saved(&mut self, step: u64, folder: &Path) {
        self.event(&json!({ "event": "saved", "step": step, "output": folder }));
    }
}
