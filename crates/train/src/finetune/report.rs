//! What a fine-tuning run leaves: the folder, and how far it can be trusted.

use std::collections::BTreeMap;
use std::fmt::Write;

use albert_checkpoint::write_atomic;
use albert_data::metrics;
use albert_model::{AlbertForTask, TrainingBackend};
use albert_tasks::{Pooling, TaskSettings};
use burn::module::AutodiffModule;
use serde::Serialize;

use super::FinetuneOptions;
use super::dev::{DevSet, Scores};
use super::fit::{Fit, Fitted};
use super::prepare::Prepared;
use super::recipe::Plan;
use super::set::{Item, Set};
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

/// Bins of the calibration error (Guo et al. 2017).
const BINS: usize = 15;

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
    /// What a confidence is worth, for classifiers.
    pub calibration: Option<Calibration>,
    /// Everything that was decided.
    pub plan: Plan,
    /// What one should know, a sentence each.
    pub notes: Vec<String>,
}

/// How well confidence foretells accuracy on the dev set (Guo et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Logits are divided by this; fitted on the dev set.
    pub temperature: f64,
    /// Expected calibration error with the logits as they are.
    pub error_before: f64,
    /// With the temperature, each half of the dev set at the one fitted on the other half.
    pub error_after: f64,
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
    let classes = prepared.labels.names.len();
    let calibration = prepared.dev.class_logits(&valid, fit.device)?;
    let calibration = calibration.map(|(logits, labels)| calibrate(&logits, &labels, classes));
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

fn calibrate(logits: &[f32], labels: &[usize], classes: usize) -> Calibration {
    let rows: Vec<&[f32]> = logits.chunks(classes).collect();
    let fit = |part: &dyn Fn(usize) -> bool| {
        let chosen: Vec<usize> = (0..rows.len()).filter(|&i| part(i)).collect();
        let logits: Vec<f32> = chosen.iter().flat_map(|&i| rows[i]).copied().collect();
        let labels: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
        metrics::fit_temperature(&logits, classes, &labels)
    };
    let error = |temperature: &dyn Fn(usize) -> f64| {
        let guesses = rows.iter().enumerate().map(|(i, row)| {
            let (class, confidence) = confidence(row, temperature(i));
            (confidence, class == labels[i])
        });
        let (confidences, right): (Vec<f64>, Vec<bool>) = guesses.unzip();
        metrics::calibration_error(&confidences, &right, BINS)
    };
    // Rows of a class go to the halves in turn, so that an order in the file does not matter.
    let mut seen = vec![0_usize; classes];
    let half_of: Vec<usize> = labels
        .iter()
        .map(|&label| {
            seen[label] += 1;
            seen[label] % 2
        })
        .collect();
    let halves = [0, 1].map(|half| f64::from(fit(&|i| half_of[i] == half)));
    Calibration {
        temperature: f64::from(fit(&|_| true)),
        error_before: error(&|_| 1.0),
        error_after: error(&|i| halves[1 - half_of[i]]),
    }
}

/// The likeliest class and its probability.
fn confidence(logits: &[f32], temperature: f64) -> (usize, f64) {
    let scaled = || logits.iter().map(|&logit| f64::from(logit) / temperature);
    let (class, greatest) =
        scaled().enumerate().fold(
            (0, f64::MIN),
            |best, now| if now.1 > best.1 { now } else { best },
        );
    let sum: f64 = scaled().map(|logit| (logit - greatest).exp()).sum();
    (class, 1.0 / sum)
}

/// The scores on a sample of the training set; not for questions, whose training rows are windows
/// and have no answers to score.
fn train_scores<I: albert_model::AlbertBackend>(
    prepared: &Prepared,
    model: &AlbertForTask<I>,
    device: &I::Device,
) -> Result<Option<Scores>> {
    if matches!(prepared.task, Task::Answer | Task::Embed) {
        return Ok(None);
    }
    let items = &prepared.train.items;
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

#[cfg(test)]
mod tests {
    use super::calibrate;

    #[test]
    fn the_order_of_rows_does_not_matter_to_the_calibration() {
        // Class 0 is said of a row as often as it is right, and a little more.
        let rows: Vec<([f32; 2], usize)> = (0..40)
            .map(|i| ([(i * 7 % 11) as f32, 5.0], usize::from(i * 5 % 9 > 4)))
            .collect();
        let calibrated = |rows: &[([f32; 2], usize)]| {
            let logits: Vec<f32> = rows.iter().flat_map(|row| row.0).collect();
            let labels: Vec<usize> = rows.iter().map(|row| row.1).collect();
            calibrate(&logits, &labels, 2).error_after
        };
        let alternating = calibrated(&rows);
        let mut sorted = rows.clone();
        sorted.sort_by_key(|row| row.1);
        assert!((calibrated(&sorted) - alternating).abs() < 1e-6);
    }
}
