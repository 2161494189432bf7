//! `albert fill-mask`.

use albert_checkpoint::DEFAULT_MODEL;
use albert_tasks::{FillMask, Filled};
use anyhow::Result;

use crate::args::FillMaskArgs;
use crate::output;

pub fn run(args: FillMaskArgs) -> Result<()> {
    let (engine, tokenizer) = super::open_model(&args.model, DEFAULT_MODEL)?;
    let task = FillMask::new(engine, tokenizer)?;
    let texts: Vec<&str> = args.texts.iter().map(String::as_str).collect();
    let answers = task.fill(&texts, args.top as usize)?;
    if args.json {
        return answers.iter().try_for_each(output::json);
    }
    answers.iter().try_for_each(print)
}

/// The text, and a table of candidates for each of its masks.
pub fn print(answer: &Filled) -> Result<()> {
    output::line(&answer.text)?;
    if answer.windowed {
        output::line("(longer than the model reads: each mask was filled from around it)")?;
    }
    for (number, mask) in answer.masks.iter().enumerate() {
        if answer.masks.len() > 1 {
            output::line(&format!("[MASK] {}", number + 1))?;
        }
        let rows: Vec<Vec<String>> = mask
            .candidates
            .iter()
            .map(|candidate| {
                let piece = candidate.piece.replace('▁', " ").trim_start().to_owned();
                vec![format!("{:.1}%", candidate.probability * 100.0), piece]
            })
            .collect();
        output::table(&["share", "piece"], &rows)?;
    }
    Ok(())
}
