//! `albert evaluate`.

use std::path::Path;
use std::time::Instant;

use albert_checkpoint::{AlbertConfig, Architecture, ProblemType, write_atomic};
use albert_data::{Dataset, Format, ReadOptions, detect, read};
use albert_eval::{Evaluation, Model, evaluate, report};
use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::{TaskModel, note_untaught, open_task, with_exit};
use crate::args::{EvaluateArgs, ExampleArgs};
use crate::output;
use crate::progress::{Steps, duration};

pub fn run(args: EvaluateArgs) -> Result<()> {
    let task = with_exit(open_task(&args.model, "sentiment")?, args.exit)?;
    let config = task.engine.config();
    let (format, data) = examples(config, &args.data, &args.examples)?;
    for path in [&args.report, &args.predictions].into_iter().flatten() {
        must_have_a_folder(path)?;
    }
    if matches!(data, Dataset::Scores(_)) && config.problem() != ProblemType::Regression {
        note_untaught(config);
    }
    let evaluation = score(task, &data, &args.data, format)?;
    for note in &evaluation.notes {
        output::note(&format!("note: {note}"));
    }
    // The scores are shown whatever becomes of the files.
    show(&evaluation, args.json)?;
    if let Some(path) = &args.report {
        let model = args.model.model.as_deref().unwrap_or("sentiment");
        let title = format!("{model} on {}", args.data.display());
        write_atomic(path, report(&title, &evaluation).as_bytes())?;
    }
    if let Some(path) = &args.predictions {
        write_atomic(path, predictions(&data, &evaluation)?.as_bytes())?;
    }
    Ok(())
}

fn show(evaluation: &Evaluation, json: bool) -> Result<()> {
    if json {
        return output::json(evaluation);
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
