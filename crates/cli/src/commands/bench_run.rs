//! `albert bench run`.

use std::path::Path;
use std::time::Instant;

use albert_checkpoint::Architecture;
use albert_engine::{Batch, Engine, What};
use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::open_engine;
use crate::args::BenchRunArgs;
use crate::output;

/// Passes before the clock starts.
const WARM_UP: usize = 3;

/// The fewest passes that are timed.
const FEWEST: usize = 10;

#[derive(Serialize)]
struct Report {
    model: String,
    precision: &'static str,
    threads: usize,
    batch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u32>,
    passes: usize,
    latency_ms: Latency,
    tokens_per_s: f64,
    rows_per_s: f64,
    operations_per_s: f64,
    peak_operations_per_s: f64,
    peak_share: f64,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Latency {
    min: f64,
    median: f64,
    p99: f64,
}

impl Latency {
    /// Of times in seconds, at least one.
    fn of(times: &[f64]) -> Latency {
        let mut sorted: Vec<f64> = times.iter().map(|seconds| seconds * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank.
        let at = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).max(1) - 1];
        Latency {
            min: sorted[0],
            median: at(0.5),
            p99: at(0.99),
        }
    }
}

pub fn run(args: BenchRunArgs) -> Result<()> {
    let (checkpoint, engine) = open_engine(&args.model)?;
    let lengths = match &args.lengths {
        Some(path) => read_lengths(path, engine.config().max_position_embeddings)?,
        None => vec![args.length as usize; args.batch as usize],
    };
    let batches: Vec<&[usize]> = lengths.chunks(args.batch as usize).collect();
    let (mut times, mut operations) = (Vec::new(), 0.0);
    let (mut tokens, mut rows) = (0, 0);
    let mut pass = |number: usize| -> Result<f64> {
        let batch = random(&engine, batches[number % batches.len()], number)?;
        let what = what(&engine, &batch, args.states);
        let start = Instant::now();
        std::hint::black_box(engine.forward(&batch, &what)?);
        let seconds = start.elapsed().as_secs_f64();
        if number >= WARM_UP {
            operations += engine.operations(&batch, &what);
            tokens += batch.tokens();
            rows += batch.ranges().len();
        }
        Ok(seconds)
    };
    for number in 0..WARM_UP {
        pass(number)?;
    }
    let start = Instant::now();
    let fewest = match args.lengths {
        Some(_) => batches.len(),
        None => FEWEST,
    };
    // Of a file of lengths whole rounds, so that every length counts as often as it stands there.
    while times.len() < fewest
        || start.elapsed().as_secs_f64() < args.seconds
        || !times.len().is_multiple_of(batches.len())
    {
        times.push(pass(WARM_UP + times.len())?);
    }
    let seconds: f64 = times.iter().sum();
    let peak_memory_bytes = peak_memory();
    let peak_operations_per_s = engine.peak_operations_per_second();
    let report = Report {
        model: checkpoint.dir().display().to_string(),
        precision: engine.precision().name(),
        threads: engine.threads(),
        batch: args.batch,
        length: args.lengths.is_none().then_some(args.length),
        passes: times.len(),
        latency_ms: Latency::of(&times),
        tokens_per_s: tokens as f64 / seconds,
        rows_per_s: rows as f64 / seconds,
        operations_per_s: operations / seconds,
        peak_operations_per_s,
        peak_share: operations / seconds / peak_operations_per_s,
        peak_memory_bytes,
    };
    if args.json {
        return output::json(&report);
    }
    show(&report)
}

fn show(report: &Report) -> Result<()> {
    let shape = match report.length {
        Some(length) => format!("{} x {length}", report.batch),
        None => format!("{}, lengths of the file", report.batch),
    };
    let latency = &report.latency_ms;
    let row = |what: &str, measured: String| vec![what.to_owned(), measured];
    let giga = |operations: f64| operations / 1e9;
    output::table(
        &["what", "measured"],
        &[
            row("model", report.model.clone()),
            row(
                "precision, threads",
                format!("{}, {}", report.precision, report.threads),
            ),
            row("rows x length", shape),
            row(
                "a pass: least, median, p99",
                format!(
                    "{:.2}, {:.2}, {:.2} ms",
                    latency.min, latency.median, latency.p99
                ),
            ),
            row(
                "tokens a second",
                output::thousands(report.tokens_per_s as u64),
            ),
            row("rows a second", format!("{:.1}", report.rows_per_s)),
            row(
                "arithmetic",
                format!(
                    "{:.0} billion operations a second, {:.0}% of the {:.0} measured at most",
                    giga(report.operations_per_s),
                    100.0 * report.peak_share,
                    giga(report.peak_operations_per_s)
                ),
            ),
            row(
                "peak memory",
                report
                    .peak_memory_bytes
                    .map_or("unknown".into(), output::bytes),
            ),
        ],
    )
}

/// What a pass gives: what the model's head does, or all states.
fn what(engine: &Engine, batch: &Batch, states: bool) -> What {
    let head = !states && engine.config().architecture != Architecture::Base;
    let last_hidden_state = !head;
    What {
        head,
        last_hidden_state,
        pooled: last_hidden_state,
        masked_lm_positions: Some(batch.ranges().iter().map(|row| row.start).collect()),
        ..What::default()
    }
}

/// Rows of these lengths, of ids that differ from pass to pass.
fn random(engine: &Engine, lengths: &[usize], pass: usize) -> Result<Batch> {
    let vocab = engine.config().vocab_size as u64;
    // SplitMix64's increment and first multiplier.
    let mut state = (pass as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 32) % vocab) as u32
    };
    let mut batch = Batch::new();
    for &length in lengths {
        let ids: Vec<u32> = (0..length).map(|_| draw()).collect();
        batch.push(&ids, None)?;
    }
    Ok(batch)
}

fn read_lengths(path: &Path, longest: usize) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let length = |(index, line): (usize, &str)| match line.trim().parse::<usize>() {
        Ok(length) if (1..=longest).contains(&length) => Ok(length),
        _ => bail!(
            "{}: line {}: `{}` is no length from 1 to the model's {longest} positions",
            path.display(),
            index + 1,
            line.trim()
        ),
    };
    let lengths: Vec<usize> = text
        .lines()
        .enumerate()
        .map(length)
        .collect::<Result<_>>()?;
    if lengths.is_empty() {
        bail!("{}: there is no length in it", path.display());
    }
    Ok(lengths)
}

/// The largest resident set of this process so far, as Linux tells it; nothing on other systems.
pub(super) fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_nearest_ranks() {
        let times: Vec<f64> = (1..=200).rev().map(|i| f64::from(i) / 1e3).collect();
        let Latency { min, median, p99 } = Latency::of(&times);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(min, 1.0) && close(median, 100.0) && close(p99, 198.0));
        assert!(close(Latency::of(&[0.5]).p99, 500.0));
    }
}
