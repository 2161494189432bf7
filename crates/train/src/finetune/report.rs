//! What a fine-tuning run leaves: the folder, and how far it can be trusted.

use std::collections::BTreeMap;
use std::fmt::Write;

use albert_checkpoint::write_atomic;
use albert_model::{AlbertForTask, TrainingBackend};
use albert_tasks::{Pooling, TaskSettings};
use burn::module::AutodiffModule;
use serde::Serialize;

use super::FinetuneOptions;
use super::calibration::{Calibration, calibrate};
use super::dev::{DevSet, Scores};
use super::fit::{Fit, Fitted};
use super::prepare::Prepared;
use super::recipe::Plan;
use super::set::{Item, Set, Target};
use super::task::Task;
use super::trial::Point;
use crate::curves::{self, Panel};
use crate::error::Result;
use crate::random::{Purpose, Random, stream};

/// Training examples that are scored to see whether the model knows them by heart.
const TRAIN_SAMPLE: usize = 1000;

/// A training score so far above the dev score is told.
const APART: f64 = 0.1;

/// Rows to classify or tag are read this far at least.
const LEAST_LENGTH: usize = 128;

/// How a run ended; `finetune.json` in the folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The task's name.
    pub task: String,
    /// The name of the folder that was the beginning.
    pub model: String,
    /// Examples learnt from.
    pub examples: usize,
    /// The dev scores of the weights that were kept.
    pub dev: Scores,
    /// The same scores on a sample of the training set.
    pub train: Option<Scores>,
    /// The rate that was taken.
    pub rate: f64,
    /// Rates that were tried, with their best dev scores: minus infinity, in JSON `null`, of a rate
    /// that came apart.
    pub tried: Vec<(f64, f64)>,
    /// The most pieces of a row.
    pub max_length: usize,
    /// Steps of the last trial.
    pub steps: u64,
    /// Positions trained on, in all trials that came to their end.
    pub tokens: u64,
    /// Seconds spent in them.
    pub seconds: f64,
    /// What a confidence is worth; of all but numbers and vectors.
    pub calibration: Option<Calibration>,
    /// Everything that was decided.
    pub plan: Plan,
    /// What one should know, a sentence each.
    pub notes: Vec<String>,
}

/// Writes the folder; the report, and what it warns of.
pub(crate) fn write<B: TrainingBackend>(
    options: &FinetuneOptions,
    prepared: &Prepared,
    fit: &Fit<'_, B>,
    fitted: Fitted,
) -> Result<(Report, Option<String>)> {
    let model = fit.model_with(fitted.weights)?;
    let valid = model.valid();
    let calibration = calibrate(&prepared.dev.judged(&valid, fit.device)?);
    let train = train_scores(prepared, &valid, fit.device)?;
    let mut report = Report {
        task: prepared.task.name().to_owned(),
        model: prepared.name(),
        examples: prepared.train.items.len(),
        dev: fitted.scores,
        train,
        rate: fitted.rate,
        tried: fitted.tried,
        max_length: prepared.max_length,
        steps: fitted.steps,
        tokens: fitted.tokens,
        seconds: fitted.seconds,
        calibration,
        plan: prepared.plan.clone(),
        notes: prepared.notes.clone(),
    };
    let warning = overfitting(&report);
    report.notes.extend(warning.clone());

    save(options, prepared, &model)?;
    let output = &options.output;
    settings(prepared, &report).save(output)?;
    let title = output.file_name().unwrap_or_default().to_string_lossy();
    let picture = curves::draw(&title, "steps", &panels(&fitted.curve));
    write_atomic(&output.join("curves.svg"), picture.as_bytes())?;
    write_atomic(&output.join("finetune.csv"), csv(&fitted.curve).as_bytes())?;
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    write_atomic(&output.join("finetune.json"), (json + "\n").as_bytes())?;
    Ok((report, warning))
}

fn save<B: TrainingBackend>(
    options: &FinetuneOptions,
    prepared: &Prepared,
    model: &AlbertForTask<B>,
) -> Result<()> {
    let base = options.difference.then_some(&prepared.checkpoint);
    if base.is_none() {
        prepared.tokenizer.save(&options.output)?;
    }
    Ok(model.save(&options.output, base, options.dtype)?)
}

/// What the head's numbers mean.
fn settings(prepared: &Prepared, report: &Report) -> TaskSettings {
    let threshold = report.dev.values.get("no_answer_threshold");
    // A window of questions is as long as those learnt from. Other rows may be longer than most
    // were: what is cut off is lost, and what is long costs its own length only.
    let max_length = match prepared.task {
        Task::Answer => prepared.max_length,
        _ => prepared.max_length.max(LEAST_LENGTH),
    };
    TaskSettings {
        max_length: Some(max_length.min(prepared.config.max_position_embeddings)),
        temperature: report.calibration.map(|c| c.temperature as f32),
        no_answer_threshold: threshold.map(|&threshold| threshold as f32),
        pooling: (prepared.task == Task::Embed).then_some(Pooling::Mean),
        ..TaskSettings::default()
    }
}

/// The scores on a sample of the training set; not for vectors that are learnt from pairs that mean
/// the same, without numbers to correlate with.
fn train_scores<I: albert_model::AlbertBackend>(
    prepared: &Prepared,
    model: &AlbertForTask<I>,
    device: &I::Device,
) -> Result<Option<Scores>> {
    if let Some(questions) = &prepared.learnt_questions {
        return questions.score(model, device).map(Some);
    }
    let items = &prepared.train.items;
    if items.iter().any(|item| item.target == Target::Match) {
        return Ok(None);
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut random = stream(prepared.plan.seed, Purpose::Parts, 0, 0);
    random.shuffle(&mut order);
    let sample: Vec<Item> = order
        .into_iter()
        .take(TRAIN_SAMPLE)
        .map(|i| items[i].clone())
        .collect();
    let set = Set {
        items: sample,
        ..Set::default()
    };
    let set = DevSet::new(prepared.task, &prepared.labels, set);
    set.score(model, device).map(Some)
}

fn overfitting(report: &Report) -> Option<String> {
    let train = report.train.as_ref()?.main_value();
    let (dev, name) = (report.dev.main_value(), &report.dev.main);
    (train - dev > APART).then(|| {
        format!(
            "overfitting: {name} is {train:.3} on training examples and {dev:.3} on the dev set; \
             fewer epochs, more examples, `train = \"layers\"` or `r_drop` may help \
             (docs/small-data.md)"
        )
    })
}

fn panels(curve: &[Point]) -> Vec<Panel> {
    let mut panels = vec![Panel {
        name: "training loss".to_owned(),
        training: curve.iter().map(|p| (p.step as f64, p.loss)).collect(),
        held_out: Vec::new(),
    }];
    let mut scores: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for point in curve {
        for (name, value) in point.dev.iter().flat_map(|dev| &dev.values) {
            let points = scores.entry(name).or_default();
            points.push((point.step as f64, *value));
        }
    }
    panels.extend(scores.into_iter().map(|(name, held_out)| Panel {
        name: name.replace('_', " "),
        training: Vec::new(),
        held_out,
    }));
    panels
}

fn csv(curve: &[Point]) -> String {
    let names: Vec<&String> = curve
        .iter()
        .find_map(|point| point.dev.as_ref())
        .map(|dev| dev.values.keys().collect())
        .unwrap_or_default();
    let mut text = "step,tokens,seconds,rate,loss".to_owned();
    names
        .iter()
        .for_each(|name| text = format!("{text},{name}"));
    text.push('\n');
    for point in curve {
        let Point {
            step,
            tokens,
            seconds,
            rate,
            loss,
            dev,
        } = point;
        let _ = write!(text, "{step},{tokens},{seconds:.2},{rate:e},{loss:.5}");
        for name in &names {
            let value = dev.as_ref().and_then(|dev| dev.values.get(*name));
            let _ = match value {
                Some(value) => write!(text, ",{value:.5}"),
                None => write!(text, ","),
            };
        }
        text.push('\n');
    }
    text
}
