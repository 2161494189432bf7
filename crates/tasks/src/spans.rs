//! From the logits of beginnings and ends to parts of a context.

use std::collections::HashMap;

use albert_text::Encoding;

/// Spans among which an answer's probability is told, at least.
pub const CANDIDATES: usize = 20;

/// So many of the best beginnings and ends of a window are combined (as the official code's
/// `n_best_size`).
const BEST_OF_WINDOW: usize = 20;

/// A row of a question and a part of its context, with the logits of its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The row.
    pub encoding: &'a Encoding,
    /// The logit of each token as the answer's first.
    pub start: &'a [f32],
    /// The logit of each token as its last.
    pub end: &'a [f32],
}

/// A part of a context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The first character.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
    /// The sum of both logits.
    pub score: f32,
    /// The window that it was found in.
    pub window: usize,
}

/// The best spans over all windows, best first: at most `at_most`, of at most `max_pieces` pieces,
/// none of which overlap.
pub fn best_spans(windows: &[Window<'_>], at_most: usize, max_pieces: usize) -> Vec<Span> {
    let mut found = Vec::new();
    for (number, window) in windows.iter().enumerate() {
        candidates(window, number, max_pieces, &mut found);
    }
    // Of equals the first in the text, whatever the order of the windows.
    found.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then((a.start, a.end).cmp(&(b.start, b.end)))
    });
    let mut best: Vec<Span> = Vec::new();
    for span in found {
        if best.len() == at_most {
            break;
        }
        if best
            .iter()
            .all(|b| span.end <= b.start || b.end <= span.start)
        {
            best.push(span);
        }
    }
    best
}

/// For each text the place of the first that says the same, case and white space around it aside.
pub fn first_alike(texts: &[String]) -> Vec<usize> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let place =
        |(i, text): (usize, &String)| *places.entry(text.trim().to_lowercase()).or_insert(i);
    texts.iter().enumerate().map(place).collect()
}

/// The score of there being no answer: the least over windows of the logits at `[CLS]` (SQuAD
/// 2.0, as transformers).
pub fn null_score(windows: &[Window<'_>]) -> f32 {
    let scores = windows.iter().map(|window| window.start[0] + window.end[0]);
    scores.fold(f32::INFINITY, f32::min)
}

fn candidates(window: &Window<'_>, number: usize, max_pieces: usize, found: &mut Vec<Span>) {
    let encoding = window.encoding;
    let of_context = |&i: &usize| {
        let (start, end) = encoding.offsets[i];
        encoding.type_ids[i] == 1 && !encoding.special[i] && end > start
    };
    let best = |logits: &[f32]| -> Vec<usize> {
        let mut places: Vec<usize> = (0..encoding.len()).filter(of_context).collect();
        places.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        places.truncate(BEST_OF_WINDOW);
        places
    };
    let ends = best(window.end);
    for start in best(window.start) {
        for &end in &ends {
            let (first, last) = (encoding.offsets[start].0, encoding.offsets[end].1);
            if end >= start && end - start < max_pieces && last > first {
                found.push(Span {
                    start: first,
                    end: last,
                    score: window.start[start] + window.end[end],
                    window: number,
                });
            }
        }
    }
}
