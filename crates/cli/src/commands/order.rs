//! `albert order`.

use albert_checkpoint::DEFAULT_MODEL;
use albert_tasks::{OrderJudgement, SentenceOrder};
use anyhow::Result;

use crate::args::OrderArgs;
use crate::output;

pub fn run(args: OrderArgs) -> Result<()> {
    let (engine, tokenizer) = super::open_model(&args.model, DEFAULT_MODEL)?;
    let answer = SentenceOrder::new(engine, tokenizer)?.judge(&args.text_a, &args.text_b)?;
    if args.json {
        return output::json(&answer);
    }
    print(&answer)
}

/// Both orders with their probabilities.
pub fn print(answer: &OrderJudgement) -> Result<()> {
    let percent = |share: f32| format!("{:.1}%", share * 100.0);
    output::table(
        &["share", "order"],
        &[
            vec![
                percent(answer.in_order),
                "as given: the first text came first".into(),
            ],
            vec![
                percent(answer.swapped),
                "swapped: the second text came first".into(),
            ],
        ],
    )?;
    if answer.truncated > 0 {
        output::line(&format!(
            "({} pieces did not fit and were left out)",
            answer.truncated
        ))?;
    }
    Ok(())
}
