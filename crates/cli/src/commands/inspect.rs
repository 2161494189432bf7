//! `albert inspect`: what a folder holds, faults and all.

use albert_checkpoint::{Inspection, find_model, inspect};
use anyhow::Result;
use serde_json::json;

use crate::args::InspectArgs;
use crate::output;

pub fn run(args: InspectArgs) -> Result<()> {
    let found = inspect(&find_model(Some(&args.model))?)?;
    if args.json {
        return json(&found);
    }
    table(&found)
}

fn json(found: &Inspection) -> Result<()> {
    let counts = &found.parameters;
    let dtypes: Vec<String> = found
        .dtypes
        .iter()
        .map(|(dtype, _)| dtype.to_string())
        .collect();
    let config: serde_json::Value = serde_json::from_str(&found.config.to_json())?;
    output::json(&json!({
        "folder": found.dir,
        "architecture": found.config.architecture.to_string(),
        "heads": found.config.architecture.heads(),
        "loadable": found.is_loadable(),
        "parameters": {
            "total": counts.total,
            "embeddings": counts.embeddings,
            "shared_layer": counts.shared_layers,
            "heads": counts.heads,
            "unshared": counts.unshared_total,
        },
        "bytes": found.bytes,
        "dtypes": dtypes,
        "weights": found.weight_files,
        "base": found.base,
        "tokenizer": found.tokenizer_file,
        "missing": found.missing,
        "faults": found.faults,
        "unused": found.unused,
        "notes": found.notes,
        "config": config,
    }))
}

fn table(found: &Inspection) -> Result<()> {
    let config = &found.config;
    let counts = &found.parameters;
    let count = |number: usize| output::thousands(number as u64);
    let dtypes: Vec<String> = found
        .dtypes
        .iter()
        .map(|(dtype, _)| dtype.to_string())
        .collect();
    let mut rows = vec![
        ("architecture", config.architecture.to_string()),
        ("heads", config.architecture.heads().join(", ")),
        (
            "shape",
            format!(
                "{} layers in {} group(s), hidden {}, {} attention heads, FFN {}, embedding {}",
                config.num_hidden_layers,
                config.num_hidden_groups,
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                config.embedding_size
            ),
        ),
        ("vocabulary", format!("{} pieces", count(config.vocab_size))),
        ("positions", count(config.max_position_embeddings)),
        ("parameters", count(counts.total)),
        ("  embeddings", count(counts.embeddings)),
        ("  shared layer", count(counts.shared_layers)),
        ("  heads", count(counts.heads)),
        ("  the same, unshared", count(counts.unshared_total)),
        (
            "weights",
            format!("{} in {}", output::bytes(found.bytes), dtypes.join(", ")),
        ),
        (
            "tokenizer",
            found
                .tokenizer_file
                .as_ref()
                .and_then(|file| file.file_name())
                .map_or("none".to_owned(), |name| {
                    name.to_string_lossy().into_owned()
                }),
        ),
        (
            "loadable",
            if found.is_loadable() { "yes" } else { "no" }.to_owned(),
        ),
    ];
    if !config.int8_skip_modules.is_empty() {
        let skipped = config.int8_skip_modules.iter().map(ToString::to_string);
        let skipped = skipped.collect::<Vec<_>>().join(", ");
        rows.push(("never in int8", skipped));
    }
    if let Some(base) = &found.base {
        rows.push(("the other tensors", format!("those of {}", base.display())));
    }
    for (title, list) in [
        ("missing", &found.missing),
        ("fault", &found.faults),
        ("unused", &found.unused),
        ("note", &found.notes),
    ] {
        rows.extend(list.iter().map(|entry| (title, entry.clone())));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(what, found)| vec![what.to_owned(), found])
        .collect();
    output::table(&["what", "found"], &rows)
}
