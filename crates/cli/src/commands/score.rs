//! `albert score`.

use albert_checkpoint::DEFAULT_MODEL;
use albert_train::{ScoreOptions, score};
use anyhow::Result;

use crate::args::ScoreArgs;
use crate::output;
use crate::progress::Steps;

pub fn run(args: ScoreArgs) -> Result<()> {
    let (engine, tokenizer) = super::open_model(&args.model, DEFAULT_MODEL)?;
    let options = ScoreOptions {
        limit: args.limit.map(|limit| limit as usize),
        examples: args.examples,
    };
    let mut steps = Steps::new();
    let scored = score(
        &engine,
        &tokenizer,
        &args.corpus,
        &options,
        &mut |documents| {
            steps.show(&format!("{documents} documents scored"));
        },
    );
    steps.finish();
    let scored = scored?;
    if args.json {
        return output::json(&scored);
    }
    let percent = |share: f64| format!("{:.2}%", 100.0 * share);
    let interval = scored
        .sentence_order_interval
        .map(|[low, high]| format!("{} to {}", percent(low), percent(high)));
    let without_pairs = || "no pairs".to_owned();
    let rows = [
        (
            "masked-LM loss (nats a piece)",
            format!("{:.4}", scored.masked_lm_loss),
        ),
        ("masked-LM accuracy", percent(scored.masked_lm_accuracy)),
        (
            "masked bits a character",
            format!("{:.4}", scored.masked_bits_per_character),
        ),
        (
            "sentence-order accuracy",
            scored
                .sentence_order_accuracy
                .map_or_else(without_pairs, percent),
        ),
        ("  its 95% interval", interval.unwrap_or_else(without_pairs)),
        ("documents", output::thousands(scored.documents as u64)),
        ("pairs", output::thousands(scored.pairs as u64)),
        ("tokens", output::thousands(scored.tokens as u64)),
        ("masked", output::thousands(scored.masked as u64)),
    ];
    output::table(
        &["score", "value"],
        &rows.map(|(name, value)| vec![name.to_owned(), value]),
    )
}
