//! `albert finetune`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert_checkpoint::{DType, find_model, write_atomic};
use albert_data::{Dataset, Format, ReadOptions, read};
use albert_kernels::ThreadPool;
use albert_model::TrainingBackend;
use albert_train::finetune::{
    Evaluation, FinetuneProgress, FinetuneStep, FoldReport, LearningCurve, Report, Scores, Source,
    Starts, Task, folds, learning_curve,
};
use albert_train::random::{Purpose, Random, stream};
use albert_train::recipe::Arithmetic;
use albert_train::{FinetuneOptions, FinetuneRecipe, finetune};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::args::{Device, FinetuneArgs, TrainPrecision};
use crate::output;
use crate::progress::{Run, duration};
use crate::signals::on_stop;

/// The parts of the training set that a learning curve is drawn over.
const SHARES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

pub fn run(args: FinetuneArgs) -> Result<()> {
    let options = options(&args)?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    on_stop(move || {
        if seen.swap(true, Ordering::SeqCst) {
            // Asked a second time: the last state on disk is whole, so leaving at once is safe.
            std::process::exit(130);
        }
        output::note("stopping: saving the state first (once more to leave at once)");
    })?;
    match args.device {
        Device::Cpu => train::<albert_model::Cpu>(&args, &options, &Default::default(), &stop),
        #[cfg(feature = "cuda")]
        Device::Cuda(number) => {
            let device = albert_model::CudaDevice::new(number);
            train::<albert_model::Cuda>(&args, &options, &device, &stop)
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu => train::<albert_model::Wgpu>(&args, &options, &Default::default(), &stop),
    }
}

fn options(args: &FinetuneArgs) -> Result<FinetuneOptions> {
    let mut recipe = match &args.recipe {
        Some(path) => FinetuneRecipe::from_file(path)?,
        None => FinetuneRecipe::default(),
    };
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    recipe.epochs = args.epochs.or(recipe.epochs);
    if !args.rate.is_empty() {
        recipe.rates = Some(args.rate.clone());
    }
    recipe.batch = args.batch.or(recipe.batch);
    recipe.max_length = args.max_length.or(recipe.max_length);
    recipe.precision = match args.precision {
        Some(TrainPrecision::F32) => Arithmetic::F32,
        Some(TrainPrecision::Bf16) => Arithmetic::Bf16,
        None => recipe.precision,
    };
    if args.early_exit {
        recipe.early_exit = Some(true);
    }
    recipe.check().with_context(|| match &args.recipe {
        Some(path) => format!("{} and the flags", path.display()),
        None => "the flags".to_owned(),
    })?;

    let source = |path: &Path, format: Option<Format>, split: &Option<String>| -> Result<Source> {
        let options = ReadOptions {
            format,
            columns: (&args.columns).into(),
            split: split.clone(),
            scores: args.task == Task::Regress,
            classes: args.task == Task::Classify,
        };
        let mut data = read(path, &options)?;
        if args.task == Task::Embed && are_numbers(&data) {
            let scores = true;
            data = read(path, &ReadOptions { scores, ..options })?;
        }
        args.columns.rename(&mut data);
        let path = path.to_owned();
        Ok(Source { path, data })
    };
    let mut train = args
        .train
        .iter()
        .map(|path| source(path, args.format, &args.train_split))
        .collect::<Result<Vec<_>>>()?;
    if let Some(count) = args.per_class {
        thin(&mut train, count as usize, recipe.seed)?;
    }
    let dev = match &args.dev {
        Some(path) => source(path, args.dev_format.or(args.format), &args.dev_split)?,
        // Folds look at the training set alone.
        None => train[0].clone(),
    };
    let first = args.train.first().map(|path| match args.format {
        Some(format) => Ok(format),
        None => albert_data::detect(path),
    });
    Ok(FinetuneOptions {
        task: args.task,
        model: find_model(args.model.as_deref())?,
        dev,
        format: first.transpose()?,
        train,
        recipe,
        starts: match args.from_scratch {
            true => Starts::Random,
            false => Starts::Pretrained,
        },
        output: args.output.clone().unwrap_or_default(),
        difference: args.adapter,
        dtype: DType::F16,
        resume: args.resume,
    })
}

/// Keeps `count` examples of each class, of all sources together.
fn thin(sources: &mut [Source], count: usize, seed: u64) -> Result<()> {
    let mut all = Vec::new();
    for (number, source) in sources.iter_mut().enumerate() {
        let Dataset::Classes { examples, .. } = &mut source.data else {
            bail!("--per-class is for texts with classes");
        };
        let own = std::mem::take(examples).into_iter().enumerate();
        all.extend(own.map(|(i, example)| ((number, i), example)));
    }
    stream(seed, Purpose::Parts, 3, 0).shuffle(&mut all);
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    all.retain(|(_, example)| {
        let seen = seen.entry(example.labels.clone()).or_default();
        *seen += 1;
        *seen <= count
    });
    all.sort_unstable_by_key(|(place, _)| *place);
    for ((number, _), example) in all {
        if let Dataset::Classes { examples, .. } = &mut sources[number].data {
            examples.push(example);
        }
    }
    Ok(())
}

fn train<B: TrainingBackend>(
    args: &FinetuneArgs,
    options: &FinetuneOptions,
    device: &B::Device,
    stop: &AtomicBool,
) -> Result<()> {
    albert_model::check_device::<B>(device)?;
    let mut shown = Shown {
        json: args.json,
        run: Run::new(),
    };
    let seeds = u64::from(args.seeds);
    let threads = args.threads.map(usize::from);
    // Burn and the kernels run on the pool that they are called from.
    ThreadPool::for_training(threads)?.install(|| {
        if let Some(count) = args.folds {
            let count = count as usize;
            let report = folds::<B>(options, count, seeds, device, stop, &mut shown)?;
            shown.run.finish();
            return report.map_or_else(stopped, |report| show_folds(args, &report));
        }
        if args.learning_curve {
            let curve = learning_curve::<B>(options, &SHARES, seeds, device, stop, &mut shown)?;
            shown.run.finish();
            return curve.map_or_else(stopped, |curve| show_curve(args, &curve, &options.output));
        }
        let report = finetune::<B>(options, device, stop, &mut shown)?;
        shown.run.finish();
        match report {
            Some(report) => show(args, &report, &options.output),
            None => output::line("stopped; go on with --resume"),
        }
    })
}

fn stopped() -> Result<()> {
    output::line("stopped")
}

fn show(args: &FinetuneArgs, report: &Report, folder: &Path) -> Result<()> {
    if args.json {
        return output::json(report);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, value) in &report.dev.values {
        let train = report.train.as_ref().and_then(|t| t.values.get(name));
        rows.push(vec![
            name.clone(),
            format!("{value:.4}"),
            train.map_or_else(String::new, |value| format!("{value:.4}")),
        ]);
    }
    output::table(&["score", "dev", "training"], &rows)?;
    if let Some(calibration) = report.calibration {
        output::line(&format!(
            "calibration error {:.4}, with temperature {:.3}: {:.4}",
            calibration.error_before, calibration.temperature, calibration.error_after
        ))?;
    }
    output::line(&format!(
        "rate {:e}, {} steps, {} tokens in {}; the model is in {}",
        report.rate,
        output::thousands(report.steps),
        output::thousands(report.tokens),
        duration(report.seconds),
        folder.display()
    ))
}

fn show_folds(args: &FinetuneArgs, report: &FoldReport) -> Result<()> {
    if args.json {
        return output::json(report);
    }
    let rows: Vec<Vec<String>> = report
        .scores
        .iter()
        .enumerate()
        .map(|(seed, folds)| {
            let folds = folds.iter().map(|score| format!("{score:.4}"));
            vec![seed.to_string(), folds.collect::<Vec<_>>().join(" ")]
        })
        .collect();
    output::table(&["seed", &format!("{} by fold", report.metric)], &rows)?;
    output::line(&format!(
        "{}: mean {:.4}, standard deviation {:.4} over all, {:.4} over the seeds' means",
        report.metric, report.mean, report.deviation, report.deviation_of_seeds
    ))
}

fn show_curve(args: &FinetuneArgs, curve: &LearningCurve, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let picture = folder.join("learning-curve.svg");
    let title = format!("{} by examples", curve.metric);
    write_atomic(&picture, curve.svg(&title).as_bytes())?;
    if args.json {
        return output::json(curve);
    }
    let rows: Vec<Vec<String>> = curve
        .points
        .iter()
        .map(|(count, scores)| {
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let all = scores.iter().map(|score| format!("{score:.4}"));
            vec![
                output::thousands(*count as u64),
                format!("{mean:.4}"),
                all.collect::<Vec<_>>().join(" "),
            ]
        })
        .collect();
    output::table(&["examples", &curve.metric, "by seed"], &rows)?;
    output::line(&format!("the picture is {}", picture.display()))
}

/// The run as a person or a machine sees it.
struct Shown {
    json: bool,
    run: Run,
}

impl Shown {
    fn event(&self, value: &Value) {
        if self.json {
            // A closed output must not end a training run.
            let _ = output::json(value);
        }
    }
}

impl FinetuneProgress for Shown {
    fn note(&mut self, text: &str) {
        self.event(&json!({ "event": "note", "text": text }));
        self.run.note(&format!("note: {text}"));
    }

    fn trial(&mut self, (number, of): (usize, usize), rate: f64, steps: u64) {
        self.event(&json!({
            "event": "trial", "trial": number, "of": of, "rate": rate, "steps": steps,
        }));
        let steps = output::thousands(steps);
        self.run.note(&format!(
            "trial {number} of {of}: rate {rate:e}, {steps} steps"
        ));
    }

    fn step(&mut self, step: &FinetuneStep) {
        let (number, of) = step.trial;
        let line = format!(
            "trial {number}/{of} · step {} of {} · loss {:.4} · {:.0} tokens/s · {} left",
            output::thousands(step.step),
            output::thousands(step.steps),
            step.loss,
            step.tokens_per_second,
            duration(step.seconds_left),
        );
        self.run.show(step.step as f64 / step.steps as f64, &line);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.event(&json!({
            "event": "evaluated",
            "trial": evaluation.trial.0,
            "step": evaluation.step,
            "loss": evaluation.loss,
            "dev": evaluation.dev.as_ref().map(|dev| &dev.values),
        }));
        let dev = evaluation.dev.as_ref().map_or_else(String::new, said);
        self.run.note(&format!(
            "step {}: loss {:.4}{dev}",
            output::thousands(evaluation.step),
            evaluation.loss
        ));
    }
}

fn said(scores: &Scores) -> String {
    let values = scores.values.iter();
    values.fold(String::new(), |text, (name, value)| {
        format!("{text}, dev {} {value:.4}", name.replace('_', " "))
    })
}

/// Whether the labels of pairs of texts are numbers, more than two of them: how alike they are.
fn are_numbers(data: &Dataset) -> bool {
    let Dataset::Classes { examples, .. } = data else {
        return false;
    };
    let mut labels = BTreeSet::new();
    for example in examples {
        labels.extend(example.labels.iter().map(String::as_str));
    }
    labels.len() > 2 && labels.iter().all(|label| label.parse::<f64>().is_ok())
}
