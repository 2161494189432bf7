//! `albert try`: both of ALBERT's pretraining tasks at a glance.

use albert_checkpoint::DEFAULT_MODEL;
use albert_tasks::{FillMask, SentenceOrder};
use anyhow::Result;
use serde_json::json;

use crate::args::TryArgs;
use crate::output;

/// Candidates shown for each mask.
const TOP: usize = 5;

pub fn run(args: TryArgs) -> Result<()> {
    let (engine, tokenizer) = super::open_model(&args.model, DEFAULT_MODEL)?;
    let fill = FillMask::new(engine.clone(), tokenizer.clone())?;
    let order = SentenceOrder::new(engine, tokenizer)?;
    let filled = fill.fill(&[&args.text], TOP)?;
    let [first, second] = match args.order.as_slice() {
        [first, second] => [first.as_str(), second.as_str()],
        _ => [DEFAULT_FIRST, DEFAULT_SECOND],
    };
    let judged = order.judge(first, second)?;
    if args.json {
        let order = json!({ "text_a": first, "text_b": second, "answer": judged });
        return output::json(&json!({ "fill_mask": filled, "order": order }));
    }
    filled.iter().try_for_each(super::fill_mask::print)?;
    output::line("")?;
    output::line(&format!("A: {first}"))?;
    output::line(&format!("B: {second}"))?;
    super::order::print(&judged)
}

const DEFAULT_FIRST: &str = "He was born in London in 1820, the son of a doctor.";
const DEFAULT_SECOND: &str = "He died there in 1891 and was buried beside his wife.";
