//! `albert encode`: rows in, transformers' output fields out, as safetensors.

use std::ops::Range;
use std::time::Instant;

use albert_checkpoint::{Architecture, TensorWriter};
use albert_engine::{Batch, Engine, Outputs, What};
use albert_tasks::text::{EncodeOptions, Tokenizer, Truncation};
use albert_tasks::tokenizer_of;
use anyhow::{Context, Result};
use serde_json::json;

use crate::args::EncodeArgs;
use crate::output;
use crate::progress::Steps;
use crate::rows::{AnyRow, Rows, TextRow};

/// Tokens that go through the engine at once. Past some hundreds the products no longer grow
/// faster with the batch; this bounds the logits of a full vocabulary to some 120 MB.
const TOKENS_AT_ONCE: usize = 1024;

pub fn run(args: EncodeArgs) -> Result<()> {
    let (checkpoint, engine) = super::open_engine(&args.model)?;
    let mut tokenizer: Option<Tokenizer> = None;
    let mut rows = Rows::<AnyRow>::open(&args.input)?;
    let mut writer = TensorWriter::create(&args.output)?;
    let what = What {
        hidden_states: args.hidden_states,
        last_hidden_state: true,
        pooled: true,
        head: true,
        ..What::default()
    };
    let options = EncodeOptions {
        max_length: Some(engine.config().max_position_embeddings),
        truncation: Truncation::LongestFirst,
        parse_specials: !args.plain,
        ..EncodeOptions::default()
    };
    let (mut batch, mut done, mut truncated) = (Batch::new(), 0, 0);
    let (mut steps, start) = (Steps::new(), Instant::now());
    while let Some(row) = rows.next() {
        let (ids, type_ids) = match row? {
            AnyRow::Ids {
                input_ids,
                token_type_ids,
            } => (input_ids, token_type_ids),
            AnyRow::Text(TextRow { text, text_pair }) => {
                let tokenizer = match &mut tokenizer {
                    Some(tokenizer) => tokenizer,
                    none => none.insert(tokenizer_of(&checkpoint)?),
                };
                let encoding = match text_pair {
                    None => tokenizer.encode(&text, &options),
                    Some(pair) => tokenizer.encode_pair(&text, &pair, &options),
                }
                .with_context(|| rows.place())?;
                if encoding.truncated > 0 {
                    truncated += 1;
                    let (place, left_out) = (rows.place(), encoding.truncated);
                    steps.note(&format!(
                        "warning: {place}: too long, {left_out} pieces left out"
                    ));
                }
                (encoding.ids, Some(encoding.type_ids))
            }
        };
        engine
            .check_row(&ids, type_ids.as_deref())
            .with_context(|| rows.place())?;
        if batch.rows() > 0 && batch.tokens() + ids.len() > TOKENS_AT_ONCE {
            done += write(&engine, &batch, &what, done, &mut writer)?;
            batch = Batch::new();
            let rate = done as f64 / start.elapsed().as_secs_f64();
            steps.show(&format!("{done} rows encoded, {rate:.0} rows/s"));
        }
        batch
            .push(&ids, type_ids.as_deref())
            .with_context(|| rows.place())?;
    }
    if batch.rows() > 0 {
        done += write(&engine, &batch, &what, done, &mut writer)?;
    }
    writer.finish()?;
    steps.finish();
    if args.json {
        return output::json(
            &json!({ "rows": done, "truncated": truncated, "output": args.output }),
        );
    }
    output::line(&format!("{done} rows written to {}", args.output.display()))
}

/// Sends a batch through the engine and writes its rows, numbered from `first`.
fn write(
    engine: &Engine,
    batch: &Batch,
    what: &What,
    first: usize,
    writer: &mut TensorWriter,
) -> Result<usize> {
    let outputs = engine.forward(batch, what)?;
    for (row, tokens) in outputs.rows.iter().enumerate() {
        for (name, shape, data) in fields(engine, &outputs, row, tokens) {
            writer.push(&format!("{name}.{}", first + row), &shape, data)?;
        }
    }
    Ok(outputs.rows.len())
}

/// One row's outputs, named and shaped as transformers' fields without the batch dimension.
fn fields<'a>(
    engine: &Engine,
    outputs: &'a Outputs,
    row: usize,
    tokens: &Range<usize>,
) -> Vec<(String, Vec<usize>, &'a [f32])> {
    let config = engine.config();
    let mut fields = Vec::new();
    let mut per_token = |name: &str, data: Option<&'a Vec<f32>>, width: usize, flat: bool| {
        if let Some(data) = data {
            let shape = if flat {
                vec![tokens.len()]
            } else {
                vec![tokens.len(), width]
            };
            fields.push((
                name.into(),
                shape,
                &data[tokens.start * width..tokens.end * width],
            ));
        }
    };
    for (layer, states) in outputs.hidden_states.iter().enumerate() {
        per_token(
            &format!("hidden_states.{layer}"),
            Some(states),
            config.hidden_size,
            false,
        );
    }
    per_token(
        "last_hidden_state",
        outputs.last_hidden_state.as_ref(),
        config.hidden_size,
        false,
    );
    let masked = match config.architecture {
        Architecture::PreTraining => "prediction_logits",
        _ => "logits",
    };
    per_token(
        masked,
        outputs.masked_lm_logits.as_ref(),
        config.vocab_size,
        false,
    );
    per_token(
        "logits",
        outputs.token_logits.as_ref(),
        config.num_labels(),
        false,
    );
    per_token("start_logits", outputs.start_logits.as_ref(), 1, true);
    per_token("end_logits", outputs.end_logits.as_ref(), 1, true);
    for (name, data) in [
        ("pooler_output", &outputs.pooled),
        ("sop_logits", &outputs.sentence_order_logits),
        ("logits", &outputs.sequence_logits),
        ("logits", &outputs.choice_logits),
    ] {
        if let Some(data) = data {
            let width = data.len() / outputs.rows.len();
            fields.push((
                name.into(),
                vec![width],
                &data[row * width..(row + 1) * width],
            ));
        }
    }
    fields
}
