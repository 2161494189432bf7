//! Spans of made-up logits.

use std::path::Path;

use albert_tasks::features::{Window, best_spans, first_alike, null_score, question};
use albert_tasks::text::{Encoding, Tokenizer};

fn tokenizer() -> Tokenizer {
    Tokenizer::from_folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini")).unwrap()
}

/// Logits of 0, but for some places of some windows.
fn logits(rows: &[Encoding], places: &[(usize, usize, f32)]) -> Vec<Vec<f32>> {
    let mut logits: Vec<Vec<f32>> = rows.iter().map(|row| vec![0.0; row.len()]).collect();
    for &(window, place, logit) in places {
        logits[window][place] = logit;
    }
    logits
}

fn windows<'a>(
    rows: &'a [Encoding],
    start: &'a [Vec<f32>],
    end: &'a [Vec<f32>],
) -> Vec<Window<'a>> {
    let sides = start.iter().zip(end);
    rows.iter()
        .zip(sides)
        .map(|(encoding, (start, end))| Window {
            encoding,
            start,
            end,
        })
        .collect()
}

/// Where the piece that begins at a character of the context stands.
fn place(row: &Encoding, character: usize) -> usize {
    (0..row.len())
        .find(|&i| row.type_ids[i] == 1 && !row.special[i] && row.offsets[i].1 > character)
        .unwrap()
}

#[test]
fn texts_that_say_the_same_are_one() {
    let texts = ["Rome", "in Rome", " rome", "Paris", "ROME "].map(str::to_owned);
    assert_eq!(first_alike(&texts), [0, 1, 0, 3, 0]);
}

#[test]
fn the_best_span_lies_in_the_context_and_is_short_enough() {
    let tokenizer = tokenizer();
    let context = "One two three four five six seven.";
    let rows = question(&tokenizer, "What is it?", context, 64, 8).unwrap();
    let row = &rows[0];
    let (two, five, seven) = (place(row, 4), place(row, 19), place(row, 28));
    // The greatest logits are at [CLS] and in the question: no part of the context.
    let start = logits(
        &rows,
        &[(0, 0, 99.0), (0, 2, 50.0), (0, five, 5.0), (0, two, 4.0)],
    );
    let end = logits(
        &rows,
        &[(0, 0, 99.0), (0, two, 9.0), (0, five, 1.0), (0, seven, 3.0)],
    );
    let windows = windows(&rows, &start, &end);
    let best = best_spans(&windows, 3, 30);
    // Five to two runs backwards; two to two scores 13.
    assert_eq!((best[0].start, best[0].end, best[0].score), (4, 7, 13.0));
    assert_eq!((best[1].start, best[1].end), (19, 33));
    assert_eq!(null_score(&windows), 198.0);
    let short = best_spans(&windows, 3, 1);
    assert!(
        short
            .iter()
            .all(|span| !context[span.start..span.end].contains(' '))
    );
    assert!(best_spans(&windows, 0, 30).is_empty());
}

#[test]
fn a_span_that_two_windows_hold_counts_once() {
    let tokenizer = tokenizer();
    let context = "alpha beta gamma delta ".repeat(30);
    let rows = question(&tokenizer, "Which?", &context, 40, 16).unwrap();
    assert!(rows.len() > 3);
    // The last whole word of the first window is in the second too.
    let shared = rows[1].offsets[place(&rows[1], 0)].1 + 1;
    let first = place(&rows[0], shared);
    let second = place(&rows[1], shared);
    assert_eq!(rows[0].offsets[first], rows[1].offsets[second]);
    let places = [(0, first, 5.0), (1, second, 6.0)];
    let (start, end) = (logits(&rows, &places), logits(&rows, &places));
    let best = best_spans(&windows(&rows, &start, &end), 2, 5);
    assert_eq!((best[0].window, best[0].score), (1, 12.0));
    assert!(best[1].start >= best[0].end || best[1].end <= best[0].start);
}
