//! Rows in, answers out, in order and in constant memory.

use std::time::Instant;

use albert_tasks::Result as TaskResult;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::RowsArgs;
use crate::output;
use crate::progress::Steps;
use crate::rows::Rows;

/// So many rows are answered at once.
const ROWS_AT_ONCE: usize = 64;

/// Answers the rows of the input file, a line of JSON each. A row that cannot be read or answered
/// has `{"line", "error"}` in its place, unless `--strict`.
pub fn answer<T: DeserializeOwned, A: Serialize>(
    args: &RowsArgs,
    abstain: Option<f32>,
    answer: impl Fn(&[T]) -> TaskResult<Vec<A>>,
) -> Result<()> {
    let Some(input) = &args.input else {
        bail!("no --input");
    };
    let mut rows = Rows::<T>::open(input)?;
    let (mut steps, began) = (Steps::new(), Instant::now());
    let (mut done, mut failed) = (0_u64, 0_u64);
    loop {
        // Each row that could be read, or what is wrong with it, and where it stands.
        let mut chunk: Vec<(usize, Result<T>)> = Vec::new();
        while chunk.len() < ROWS_AT_ONCE {
            let Some(row) = rows.next() else {
                break;
            };
            if args.strict && row.is_err() {
                chunk.push((rows.line(), row));
                break;
            }
            chunk.push((rows.line(), row));
        }
        if chunk.is_empty() {
            break;
        }
        let mut places = Vec::new();
        let mut good = Vec::new();
        for (line, row) in chunk {
            match row {
                Ok(row) => {
                    good.push(row);
                    places.push((line, Ok(())));
                }
                Err(error) => places.push((line, Err(error))),
            }
        }
        let mut answers = together(&good, &answer).into_iter();
        for (line, read) in places {
            let said = match read {
                Ok(()) => match answers.next() {
                    Some(said) => said
                        .map_err(anyhow::Error::from)
                        .with_context(|| rows.place_of(line)),
                    None => bail!("{}: no answer came", rows.place_of(line)),
                },
                Err(error) => Err(error),
            };
            match said {
                Ok(said) => output::json(&with_abstention(&said, abstain)?)?,
                Err(error) if args.strict => {
                    steps.finish();
                    return Err(error);
                }
                Err(error) => {
                    failed += 1;
                    output::json(&json!({ "line": line, "error": output::chain(&error) }))?;
                }
            }
            done += 1;
        }
        let rate = done as f64 / began.elapsed().as_secs_f64().max(1e-9);
        steps.show(&format!("{} rows, {rate:.0}/s", output::thousands(done)));
    }
    steps.finish();
    if failed > 0 {
        output::note(&format!(
            "{} of {} rows failed; each has its error in its place (--strict ends at the first)",
            output::thousands(failed),
            output::thousands(done)
        ));
    }
    if rows.is_broken() {
        bail!("{}: could not be read to its end", input.display());
    }
    if done > 0 && failed == done {
        bail!("{}: no row could be answered", input.display());
    }
    Ok(())
}

/// The answers of rows that go together; where one fails, each by itself.
fn together<T, A>(rows: &[T], answer: impl Fn(&[T]) -> TaskResult<Vec<A>>) -> Vec<TaskResult<A>> {
    match answer(rows) {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(_) => rows
            .chunks(1)
            .filter_map(|row| match answer(row) {
                Ok(mut answers) => answers.pop().map(Ok),
                Err(error) => Some(Err(error)),
            })
            .collect(),
    }
}

/// An answer as JSON, whose numbers have as many digits as f32 has; and, if that was asked, whether
/// its confidence is too low to go without a person.
#[derive(Serialize)]
pub struct Judged<'a, A> {
    #[serde(flatten)]
    answer: &'a A,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_a_person: Option<bool>,
}

/// The answer; with `abstain`, judged.
pub fn with_abstention<A: Serialize>(answer: &A, abstain: Option<f32>) -> Result<Judged<'_, A>> {
    let needs_a_person = match abstain {
        None => None,
        Some(threshold) => Some(needs_a_person(&serde_json::to_value(answer)?, threshold)),
    };
    Ok(Judged {
        answer,
        needs_a_person,
    })
}

fn needs_a_person(answer: &Value, threshold: f32) -> bool {
    if let Some(words) = answer["words"].as_array() {
        let sure = |word: &Value| word["confidence"].as_f64() >= Some(f64::from(threshold));
        return !words.iter().all(sure);
    }
    let best = &answer["answers"][0]["confidence"];
    let confidence = answer.get("confidence").unwrap_or(best).as_f64();
    let unsure = confidence.is_none_or(|c| c < f64::from(threshold));
    unsure || answer["no_answer"] == true
}

/// The sentence for people about an answer that is not sure enough.
pub fn unsure(confidence: f32, abstain: Option<f32>) -> Option<String> {
    let threshold = abstain.filter(|threshold| confidence < *threshold)?;
    Some(format!(
        "needs a person: {:.1}% is below {:.1}%",
        100.0 * confidence,
        100.0 * threshold
    ))
}
