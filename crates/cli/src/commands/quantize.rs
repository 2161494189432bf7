//! `albert quantize`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use albert_checkpoint::{Architecture, Checkpoint, DType, LayerModule, find_model, save_int8};
use albert_data::{Dataset, Format};
use albert_engine::{Batch, Engine, EngineOptions, Precision, What};
use albert_eval::Evaluation;
use albert_kernels::quantize_matrix;
use albert_tasks::text::{EncodeOptions, Tokenizer, Truncation};
use albert_tasks::{TaskSettings, tokenizer_of};
use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{TaskModel, evaluate, export};
use crate::args::{Modules, QuantizeArgs};
use crate::output;
use crate::rows::{Rows, TextRow};

/// Texts that go through both engines at a time.
const TEXTS: usize = 16;

/// What int8 costs.
#[derive(Serialize)]
struct Report {
    output: String,
    bytes_before: u64,
    bytes: u64,
    /// What stays in floating point.
    skipped: Vec<&'static str>,
    /// Examples, or texts.
    rows: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    scores: BTreeMap<String, Scores>,
    /// Of hidden states with those in f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<Cosine>,
}

#[derive(Serialize)]
struct Scores {
    f32: f64,
    int8: f64,
}

impl Scores {
    /// In points of a hundred.
    fn lost(&self, name: &str) -> f64 {
        match name {
            // The one score of which less is better.
            "calibration_error" => (self.int8 - self.f32) * 100.0,
            _ => (self.f32 - self.int8) * 100.0,
        }
    }
}

/// Over all tokens.
#[derive(Serialize)]
struct Cosine {
    mean: f64,
    least: f64,
}

/// What is tried where the whole layer in int8 costs too much, the cheapest first.
const SKIPPED: [&[LayerModule]; 2] = [
    &[LayerModule::Attention],
    &[LayerModule::Attention, LayerModule::Ffn],
];

pub fn run(args: QuantizeArgs) -> Result<()> {
    let mut checkpoint = Checkpoint::open(&find_model(Some(&args.model))?)?;
    let output = &args.output;
    export::must_be_empty(output)?;
    if checkpoint.is_int8() {
        bail!("{}: is in int8 already", checkpoint.dir().display());
    }
    let tokenizer = Arc::new(tokenizer_of(&checkpoint)?);
    let settings = TaskSettings::read(checkpoint.dir())?;
    if let Some(Modules(skipped)) = &args.skip {
        checkpoint.skip_in_int8(skipped);
    }
    let mut report = Report {
        output: output.display().to_string(),
        bytes_before: bytes(&checkpoint),
        bytes: 0,
        skipped: Vec::new(),
        rows: 0,
        scores: BTreeMap::new(),
        cosine: None,
    };
    let cost = Cost::new(&args, &checkpoint, &tokenizer, &settings)?;
    let mut refusal = cost.of(&checkpoint, &mut report)?;
    if args.skip.is_none() && !args.force {
        let fewer = checkpoint.config().int8_skip_modules.len();
        for skipped in SKIPPED.into_iter().filter(|skipped| skipped.len() > fewer) {
            let Some(said) = &refusal else { break };
            let tried = names(skipped).join(" and ");
            output::note(&format!(
                "note: {said}; trying with {tried} in floating point"
            ));
            checkpoint.skip_in_int8(skipped);
            refusal = cost.of(&checkpoint, &mut report)?;
        }
    }
    if let Some(refusal) = refusal {
        match args.force {
            true => output::note(&format!("note: {refusal}")),
            false => bail!("{refusal}; nothing was written, --force writes it all the same"),
        }
    }
    report.skipped = names(&checkpoint.config().int8_skip_modules);
    // What is not a matrix of a layer keeps its digits.
    let mut dtypes = checkpoint.tensors().map(|view| view.dtype);
    let first = dtypes.next().unwrap_or(DType::F32);
    let dtype = match dtypes.all(|dtype| dtype == first) {
        true => first,
        false => DType::F32,
    };
    export::write(&checkpoint, output, |config, tensors| {
        save_int8(output, config, tensors, dtype, quantize_matrix, &[])
    })?;
    report.bytes = Checkpoint::open(output)?.bytes();
    show(&report, args.json)
}

fn names(modules: &[LayerModule]) -> Vec<&'static str> {
    modules.iter().map(|module| module.name()).collect()
}

fn load(checkpoint: &Checkpoint, args: &QuantizeArgs, precision: Precision) -> Result<Arc<Engine>> {
    let threads = args.threads.map(usize::from);
    let options = EngineOptions { threads, precision };
    Ok(Arc::new(Engine::load(checkpoint, options)?))
}

/// Finds out what int8 costs.
struct Cost<'a> {
    args: &'a QuantizeArgs,
    tokenizer: &'a Arc<Tokenizer>,
    settings: &'a TaskSettings,
    /// Without quantised weights.
    f32: Arc<Engine>,
    /// Of a model with a task, its examples and what they score in f32.
    scored: Option<(Format, Dataset, Evaluation)>,
}

impl<'a> Cost<'a> {
    fn new(
        args: &'a QuantizeArgs,
        checkpoint: &Checkpoint,
        tokenizer: &'a Arc<Tokenizer>,
        settings: &'a TaskSettings,
    ) -> Result<Self> {
        let mut cost = Cost {
            args,
            tokenizer,
            settings,
            f32: load(checkpoint, args, Precision::F32)?,
            scored: None,
        };
        let config = checkpoint.config();
        let no_task = matches!(
            config.architecture,
            Architecture::Base | Architecture::MaskedLm | Architecture::PreTraining
        );
        // A format says that the file holds more than texts: pairs that vectors can be held against.
        if !no_task || args.examples.format.is_some() {
            let (format, data) = evaluate::examples(config, &args.calibrate, &args.examples)?;
            let f32 = cost.score(&cost.f32, &data, format)?;
            cost.scored = Some((format, data, f32));
        }
        Ok(cost)
    }

    /// Writes what int8 costs into `report`, and says why that is too much, if it is.
    fn of(&self, checkpoint: &Checkpoint, report: &mut Report) -> Result<Option<String>> {
        let int8 = load(checkpoint, self.args, Precision::Int8)?;
        let Some((format, data, f32)) = &self.scored else {
            let path = &self.args.calibrate;
            let (rows, cosine) = compare(&self.f32, &int8, self.tokenizer, path)?;
            report.rows = rows;
            let refusal = (cosine.mean < self.args.least_cosine).then(|| {
                let (mean, least) = (cosine.mean, self.args.least_cosine);
                format!("the hidden states' cosine with f32 is {mean:.5} on average, below {least} (--least-cosine)")
            });
            report.cosine = Some(cosine);
            return Ok(refusal);
        };
        let int8 = self.score(&int8, data, *format)?;
        report.rows = f32.rows;
        let pairs = f32.metrics.iter().zip(int8.metrics.into_values());
        report.scores = pairs
            .map(|((name, f32), int8)| (name.clone(), Scores { f32: *f32, int8 }))
            // A difference of logits, which is no better for being more or less.
            .filter(|(name, _)| !name.ends_with("_threshold"))
            .collect();
        let lost = report.scores.iter().map(|(name, s)| (name, s.lost(name)));
        let worst = lost.max_by(|a, b| a.1.total_cmp(&b.1));
        let most = self.args.most_loss;
        let over = worst.filter(|(_, lost)| *lost > most);
        Ok(over.map(|(name, lost)| {
            format!("int8 loses {lost:.2} points of {name}, more than {most} (--most-loss)")
        }))
    }

    fn score(&self, engine: &Arc<Engine>, data: &Dataset, format: Format) -> Result<Evaluation> {
        let model = TaskModel {
            engine: Arc::clone(engine),
            tokenizer: Arc::clone(self.tokenizer),
            settings: self.settings.clone(),
        };
        evaluate::score(model, data, &self.args.calibrate, format)
    }
}

/// How alike the last hidden states of both engines are over the texts of a file.
fn compare(
    f32: &Engine,
    int8: &Engine,
    tokens: &Tokenizer,
    path: &Path,
) -> Result<(usize, Cosine)> {
    let config = f32.config();
    let options = EncodeOptions {
        max_length: Some(config.max_position_embeddings),
        truncation: Truncation::LongestFirst,
        ..EncodeOptions::default()
    };
    let what = What {
        last_hidden_state: true,
        ..What::default()
    };
    let (mut count, mut sum, mut least, mut tokens_seen) = (0, 0.0, 1.0_f64, 0);
    let mut rows = Rows::<TextRow>::open(path)?.peekable();
    while rows.peek().is_some() {
        let mut batch = Batch::new();
        for row in rows.by_ref().take(TEXTS) {
            let row = row?;
            let encoding = match &row.text_pair {
                Some(pair) => tokens.encode_pair(&row.text, pair, &options)?,
                None => tokens.encode(&row.text, &options)?,
            };
            batch.push(&encoding.ids, Some(&encoding.type_ids))?;
            count += 1;
        }
        let states = |engine: &Engine| -> Result<Vec<f32>> {
            let outputs = engine.forward(&batch, &what)?;
            outputs.last_hidden_state.context("no hidden states")
        };
        let (f32, int8) = (states(f32)?, states(int8)?);
        let width = config.hidden_size;
        for (a, b) in f32.chunks_exact(width).zip(int8.chunks_exact(width)) {
            let cosine = cosine(a, b);
            sum += cosine;
            least = least.min(cosine);
            tokens_seen += 1;
        }
    }
    if count == 0 {
        bail!("{}: there are no texts in it", path.display());
    }
    let mean = sum / f64::from(tokens_seen);
    Ok((count, Cosine { mean, least }))
}

/// Of vectors of any length; of one that is all zeros 0.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 {
        product(a, b) / lengths
    } else {
        0.0
    }
}

/// Of a model's weights as they are stored, wherever they are.
fn bytes(checkpoint: &Checkpoint) -> u64 {
    checkpoint
        .tensors()
        .map(|view| view.bytes().len() as u64)
        .sum()
}

fn show(report: &Report, json: bool) -> Result<()> {
    if json {
        return output::json(report);
    }
    let scores = report.scores.iter().map(|(name, scores)| {
        let Scores { f32, int8 } = scores;
        vec![name.clone(), format!("{f32:.4}"), format!("{int8:.4}")]
    });
    let rows: Vec<Vec<String>> = scores.collect();
    if !rows.is_empty() {
        output::table(&["score", "f32", "int8"], &rows)?;
    }
    if let Some(Cosine { mean, least }) = report.cosine {
        output::line(&format!(
            "hidden states' cosine with f32: {mean:.5} on average, {least:.5} at least"
        ))?;
    }
    if !report.skipped.is_empty() {
        output::line(&format!(
            "in floating point: {}",
            report.skipped.join(" and ")
        ))?;
    }
    output::line(&format!(
        "{}: {:.1} MB instead of {:.1}, measured on {} rows",
        report.output,
        report.bytes as f64 / 1e6,
        report.bytes_before as f64 / 1e6,
        output::thousands(report.rows as u64)
    ))
}
