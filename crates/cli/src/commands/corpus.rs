//! `albert corpus`.

use albert_kernels::available_threads;
use albert_train::shards::{self, BuildOptions, BuildPhase, BuildReport, Built, Manifest};
use anyhow::Result;
use serde_json::{Value, json};

use crate::args::{CorpusBuildArgs, CorpusInspectArgs};
use crate::output;
use crate::progress::{Run, duration};

pub fn build(args: CorpusBuildArgs) -> Result<()> {
    let options = BuildOptions {
        corpus: args.corpus,
        tokenizer: args.tokenizer,
        output: args.output,
        shard_bytes: u64::from(args.shard_mb) * 1_000_000,
        max_bytes: args.max_mb.map(|mb| u64::from(mb) * 1_000_000),
        drop_markup: !args.keep_markup,
        threads: args.threads.map(usize::from),
    };
    let mut run = Run::new();
    let built = shards::build(&options, &mut |report| {
        let done = report.bytes_read as f64 / report.bytes_total.max(1) as f64;
        run.show(done, &line(report));
        Ok(())
    });
    run.finish();
    let built = built?;
    if args.json {
        let mut value = summary(&built.manifest);
        value["output"] = json!(options.output);
        value["was_finished"] = json!(built.was_finished);
        value["shards_before"] = json!(built.shards_before);
        value["seconds"] = json!(built.seconds);
        value["bytes_per_second"] = json!(rate(&built));
        return output::json(&value);
    }
    if built.was_finished {
        output::line(&format!(
            "{}: finished before, of the same files: nothing to do",
            options.output.display()
        ))?;
    }
    output::line(&format!(
        "{}; {} of text in {} ({}/s)",
        told(&built.manifest),
        output::bytes(built.text_bytes),
        duration(built.seconds),
        output::bytes(rate(&built).unwrap_or_default() as u64),
    ))
}

pub fn inspect(args: CorpusInspectArgs) -> Result<()> {
    let manifest = shards::inspect(&args.folder, available_threads())?;
    if args.json {
        let mut value = summary(&manifest);
        value["folder"] = json!(args.folder);
        value["tokenizer"] = json!(format!("{:016x}", manifest.setup.tokenizer));
        value["vocab_size"] = json!(manifest.setup.vocab_size);
        value["drop_markup"] = json!(manifest.setup.drop_markup);
        value["inputs"] = json!(manifest.setup.inputs);
        return output::json(&value);
    }
    let counts = &manifest.counts;
    let count = output::thousands;
    let on_disk = manifest.shards.iter().map(|shard| shard.bytes).sum();
    let mut rows = vec![
        (
            "state",
            match manifest.next {
                None => "finished, every checksum right".to_owned(),
                Some(_) => "not finished, what is there is right".to_owned(),
            },
        ),
        ("documents", count(counts.documents)),
        ("  duplicates left out", count(counts.duplicates)),
        ("  near-empty left out", count(counts.near_empty)),
        ("  markup left out", count(counts.markup)),
        ("sentences", count(counts.sentences)),
        ("pieces", count(counts.pieces)),
        ("text", output::bytes(counts.bytes)),
        (
            "shards",
            format!("{} in {}", output::bytes(on_disk), manifest.shards.len()),
        ),
        (
            "tokenizer",
            format!(
                "{} pieces, checksum {:016x}",
                count(manifest.setup.vocab_size as u64),
                manifest.setup.tokenizer
            ),
        ),
    ];
    for input in &manifest.setup.inputs {
        rows.push((
            "made from",
            format!("{}, {}", input.path, output::bytes(input.bytes)),
        ));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(what, found)| vec![what.to_owned(), found])
        .collect();
    output::table(&["what", "found"], &rows)
}

/// Bytes of text a second, where any was tokenised.
fn rate(built: &Built) -> Option<f64> {
    (built.text_bytes > 0).then(|| built.text_bytes as f64 / built.seconds.max(1e-9))
}

fn summary(manifest: &Manifest) -> Value {
    let counts = &manifest.counts;
    json!({
        "finished": manifest.next.is_none(),
        "documents": counts.documents,
        "duplicates": counts.duplicates,
        "near_empty": counts.near_empty,
        "markup": counts.markup,
        "sentences": counts.sentences,
        "pieces": counts.pieces,
        "bytes": counts.bytes,
        "shards": manifest.shards.len(),
    })
}

fn told(manifest: &Manifest) -> String {
    let counts = &manifest.counts;
    format!(
        "{} documents, {} pieces in {} shards; left out: {} duplicates, {} near-empty, {} markup",
        output::thousands(counts.documents),
        output::thousands(counts.pieces),
        manifest.shards.len(),
        output::thousands(counts.duplicates),
        output::thousands(counts.near_empty),
        output::thousands(counts.markup),
    )
}

fn line(report: &BuildReport) -> String {
    let read = format!(
        "{} of {}",
        output::bytes(report.bytes_read),
        output::bytes(report.bytes_total)
    );
    let left = duration(report.seconds_left());
    match report.phase {
        BuildPhase::Checking => format!("checking the files: {read}, {left} left"),
        BuildPhase::CatchingUp => {
            format!("catching up with the earlier build: {read}")
        }
        BuildPhase::Tokenising => format!(
            "tokenising: {read}, {} documents, {} pieces, {}/s of text, {left} left",
            output::thousands(report.counts.documents),
            output::thousands(report.counts.pieces),
            output::bytes(report.text_bytes_per_second() as u64),
        ),
    }
}
