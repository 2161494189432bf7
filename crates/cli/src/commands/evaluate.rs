//! `albert evaluate`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use albert_checkpoint::{AlbertConfig, Architecture, ProblemType, write_atomic};
use albert_data::{Dataset, Format, ReadOptions, detect, read};
use albert_eval::{Evaluation, Lead, Model, evaluate, report};
use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{TaskModel, note_untaught, open_task, with_exit};
use crate::args::{EvaluateArgs, ExampleArgs, ModelArgs};
use crate::output;
use crate::progress::{Steps, duration};

pub fn run(args: EvaluateArgs) -> Result<()> {
    let task = with_exit(open_task(&args.model, "sentiment")?, args.exit)?;
    let asked = Asked::read(task, &args)?;
    let other = args.against.as_deref().map(|name| other(name, &args));
    let other = other.transpose()?;
    for path in [&args.report, &args.predictions].into_iter().flatten() {
        must_have_a_folder(path)?;
    }
    let (data, evaluation) = asked.score(&args.data)?;
    let against = other.map(|other| other.beside(&evaluation, &args.data));
    let against = against.transpose();
    // What the model scored is shown and kept whatever becomes of the other one and of the files.
    let shown = against.as_ref().ok().and_then(Option::as_ref);
    show(&evaluation, shown, args.json)?;
    if let Some(path) = &args.report {
        let model = args.model.model.as_deref().unwrap_or("sentiment");
        let title = format!("{model} on {}", args.data.display());
        write_atomic(path, report(&title, &evaluation).as_bytes())?;
    }
    if let Some(path) = &args.predictions {
        write_atomic(path, predictions(&data, &evaluation)?.as_bytes())?;
    }
    against.map(drop)
}

/// A model, and the examples that it is asked.
struct Asked {
    task: TaskModel,
    format: Format,
    data: Dataset,
}

impl Asked {
    fn read(task: TaskModel, args: &EvaluateArgs) -> Result<Self> {
        let config = task.engine.config();
        let (format, data) = examples(config, &args.data, &args.examples)?;
        if matches!(data, Dataset::Scores(_)) && config.problem() != ProblemType::Regression {
            note_untaught(config);
        }
        Ok(Asked { task, format, data })
    }

    fn score(self, path: &Path) -> Result<(Dataset, Evaluation)> {
        let evaluation = score(self.task, &self.data, path, self.format)?;
        for note in &evaluation.notes {
            output::note(&format!("note: {note}"));
        }
        Ok((self.data, evaluation))
    }
}

/// The model of `--against`.
struct Other<'a> {
    name: &'a str,
    asked: Asked,
}

fn other<'a>(name: &'a str, args: &EvaluateArgs) -> Result<Other<'a>> {
    let named = ModelArgs {
        model: Some(name.to_owned()),
        ..args.model.clone()
    };
    let asked = Asked::read(open_task(&named, name)?, args)?;
    Ok(Other { name, asked })
}

impl<'a> Other<'a> {
    /// Its scores beside the first model's.
    fn beside(self, evaluation: &Evaluation, path: &Path) -> Result<Against<'a>> {
        let model = self.name;
        let (_, other) = self.asked.score(path)?;
        let leads = evaluation.lead_over(&other);
        if leads.is_empty() {
            bail!("--against {model}: it is scored in another way, or on other examples");
        }
        Ok(Against {
            model,
            metrics: other.metrics,
            leads,
        })
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a Against<'a>>,
}

/// Another model on the same examples.
#[derive(Serialize)]
struct Against<'a> {
    model: &'a str,
    metrics: BTreeMap<String, f64>,
    /// How far the first model's scores are above these.
    leads: BTreeMap<String, Lead>,
}

fn show(evaluation: &Evaluation, against: Option<&Against>, json: bool) -> Result<()> {
    if json {
        return output::json(&Shown {
            evaluation,
            against,
        });
    }
    let rows: Vec<Vec<String>> = evaluation
        .metrics
        .iter()
        .map(|(name, value)| {
            let interval = evaluation.intervals.get(name);
            let interval =
                interval.map_or_else(String::new, |[low, high]| format!("{low:.4} to {high:.4}"));
            vec![name.clone(), format!("{value:.4}"), interval]
        })
        .collect();
    output::table(&["score", "value", "95% interval"], &rows)?;
    if let Some(Against { model, leads, .. }) = against {
        let rows: Vec<Vec<String>> = leads
            .iter()
            .map(|(name, lead)| {
                let [low, high] = lead.interval;
                let interval = format!("{low:+.4} to {high:+.4}");
                vec![name.clone(), format!("{:+.4}", lead.value), interval]
            })
            .collect();
        output::line("")?;
        output::table(&[&format!("above {model}"), "by", "95% interval"], &rows)?;
    }
    output::line(&format!(
        "{} examples in {}",
        output::thousands(evaluation.rows as u64),
        duration(evaluation.seconds)
    ))
}

/// Before an hour is spent on what could not be written then.
fn must_have_a_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

/// Labelled examples for a model of the configuration, and the format they are in.
pub fn examples(
    config: &AlbertConfig,
    path: &Path,
    args: &ExampleArgs,
) -> Result<(Format, Dataset)> {
    let format = match args.format {
        Some(format) => format,
        None => detect(path)?,
    };
    let options = ReadOptions {
        format: Some(format),
        columns: (&args.columns).into(),
        split: args.split.clone(),
        classes: config.architecture == Architecture::SequenceClassification,
        // A regressor is asked for numbers, however they are written.
        scores: config.problem() == ProblemType::Regression
            && config.architecture.has_pooler()
            && matches!(format, Format::Jsonl | Format::Csv | Format::Tsv),
    };
    let mut data = read(path, &options)?;
    args.columns.rename(&mut data);
    Ok((format, data))
}

/// What a model scores on examples, with progress.
pub fn score(task: TaskModel, data: &Dataset, path: &Path, format: Format) -> Result<Evaluation> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = task;
    let model = Model {
        engine,
        tokenizer,
        settings,
    };
    let (mut steps, began) = (Steps::new(), Instant::now());
    let evaluated = evaluate(&model, data, path, Some(format), &mut |done, all| {
        let rate = done as f64 / began.elapsed().as_secs_f64().max(1e-9);
        steps.show(&format!(
            "{} of {} examples, {rate:.0}/s, {} left",
            output::thousands(done as u64),
            output::thousands(all as u64),
            duration((all - done) as f64 / rate)
        ));
    });
    steps.finish();
    Ok(evaluated?)
}

fn predictions(data: &Dataset, evaluation: &Evaluation) -> Result<String> {
    let said = evaluation.predictions.iter();
    if matches!(data, Dataset::Questions(_)) {
        let answer = |said: &albert_eval::Prediction| (said.id.clone(), said.answer.clone().into());
        let answers: Map<String, Value> = said.map(answer).collect();
        return Ok(serde_json::to_string(&answers)? + "\n");
    }
    let lines = said.map(|said| Ok(serde_json::to_string(said)? + "\n"));
    lines.collect()
}
