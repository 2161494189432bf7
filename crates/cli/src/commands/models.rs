//! `albert models`.

use albert_checkpoint::shipped_models;
use anyhow::Result;
use serde_json::json;

use crate::args::ModelsArgs;
use crate::output;

pub fn run(args: ModelsArgs) -> Result<()> {
    let models = shipped_models();
    if args.json {
        let models: Vec<_> = models
            .iter()
            .map(|model| {
                json!({
                    "name": model.name,
                    "folder": model.dir,
                    "bytes": model.bytes,
                    "parameters": model.parameters,
                    "architecture": model.architecture.to_string(),
                    "summary": model.summary,
                })
            })
            .collect();
        return output::json(&models);
    }
    if models.is_empty() {
        return output::line("No model found; set ALBERT_MODELS to the folder that holds them.");
    }
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            vec![
                model.name.clone(),
                output::bytes(model.bytes),
                model.summary.clone(),
                model.dir.display().to_string(),
            ]
        })
        .collect();
    output::table(&["name", "size", "for", "folder"], &rows)
}
