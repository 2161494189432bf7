//! Tags against tags, by the spans that they make: as seqeval in its default mode, which is that of
//! CoNLL's `conlleval`.

use std::collections::{BTreeMap, HashSet};

/// A stretch of words of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The kind: the tag behind `B-` or `I-`.
    pub kind: String,
    /// The first word.
    pub start: usize,
    /// The last word.
    pub end: usize,
}

/// Precision, recall and F1 of spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanScores {
    /// The share of the spans found that are right.
    pub precision: f64,
    /// The share of the right spans that are found.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// F1 of each kind.
    pub by_kind: BTreeMap<String, f64>,
}

/// The prefix of a tag and its kind: `B-city` is `B` and `city`; a tag without a dash is of the kind
/// `_`, as seqeval says.
fn parts(tag: &str) -> (char, &str) {
    let prefix = tag.chars().next().unwrap_or('O');
    match tag.split_once('-') {
        Some((_, kind)) => (prefix, kind),
        None => (prefix, "_"),
    }
}

/// The spans of a sentence's tags. An `I-` that goes on from nothing of its kind begins a span.
pub fn spans<S: AsRef<str>>(tags: &[S]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut before = ('O', "");
    let end = ("O", tags.len());
    let tags = tags.iter().map(AsRef::as_ref).zip(0..);
    for (tag, place) in tags.chain([end]) {
        let (prefix, kind) = match tag {
            "O" => ('O', ""),
            tag => parts(tag),
        };
        let changes = kind != before.1;
        let closed = matches!(before.0, 'E' | 'S');
        if before.0 != 'O' && (matches!(prefix, 'B' | 'O' | 'S') || changes || closed) {
            spans.extend(open.take().map(|(start, kind)| Span {
                kind: kind.to_owned(),
                start,
                end: place - 1,
            }));
        }
        let begins = matches!(prefix, 'B' | 'S')
            || (prefix != 'O' && (matches!(before.0, 'O' | 'E' | 'S') || changes));
        if begins {
            open = Some((place, kind));
        }
        before = (prefix, kind);
    }
    spans
}

/// Scores of the spans of many sentences together: seqeval's `f1_score` and its fellows.
pub fn span_scores<S: AsRef<str>>(guesses: &[Vec<S>], labels: &[Vec<S>]) -> SpanScores {
    let all = |sentences: &[Vec<S>]| -> HashSet<(usize, Span)> {
        let numbered = sentences.iter().enumerate();
        numbered
            .flat_map(|(i, tags)| spans(tags).into_iter().map(move |span| (i, span)))
            .collect()
    };
    let (guessed, wanted) = (all(guesses), all(labels));
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (_, span) in &guessed {
        counts.entry(&span.kind).or_default()[0] += 1;
    }
    for (_, span) in &wanted {
        counts.entry(&span.kind).or_default()[1] += 1;
    }
    for (_, span) in guessed.intersection(&wanted) {
        counts.entry(&span.kind).or_default()[2] += 1;
    }
    let sum = |i: usize| counts.values().map(|count| count[i]).sum::<usize>();
    let [precision, recall, f1] = scores([sum(0), sum(1), sum(2)]);
    let by_kind = counts.iter();
    let by_kind = by_kind.map(|(&kind, &count)| (kind.to_owned(), scores(count)[2]));
    SpanScores {
        precision,
        recall,
        f1,
        by_kind: by_kind.collect(),
    }
}

/// Precision, recall and F1 of how many were guessed, wanted, and both.
fn scores([guessed, wanted, both]: [usize; 3]) -> [f64; 3] {
    let ratio = |part: usize, whole: usize| match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    };
    let (precision, recall) = (ratio(both, guessed), ratio(both, wanted));
    let sum = precision + recall;
    let f1 = if sum == 0.0 {
        0.0
    } else {
        2.0 * precision * recall / sum
    };
    [precision, recall, f1]
}

/// The share of words whose tag is right: seqeval's `accuracy_score`.
pub fn tag_accuracy<S: AsRef<str>>(guesses: &[Vec<S>], labels: &[Vec<S>]) -> f64 {
    let pairs = || guesses.iter().flatten().zip(labels.iter().flatten());
    let right = pairs().filter(|(a, b)| a.as_ref() == b.as_ref()).count();
    right as f64 / pairs().count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_where_nothing_of_its_kind_was() {
        let tags = ["I-a", "I-a", "B-a", "O", "I-b", "I-a", "B-c"];
        let found: Vec<(String, usize, usize)> = spans(&tags)
            .into_iter()
            .map(|span| (span.kind, span.start, span.end))
            .collect();
        let span = |kind: &str, start, end| (kind.to_owned(), start, end);
        let expected = [
            span("a", 0, 1),
            span("a", 2, 2),
            span("b", 4, 4),
            span("a", 5, 5),
            span("c", 6, 6),
        ];
        assert_eq!(found, expected);
        assert!(spans::<&str>(&[]).is_empty());
    }

    #[test]
    fn scores_count_whole_spans() {
        let labels = [vec!["B-a", "I-a", "O", "B-b"]];
        let guesses = [vec!["B-a", "I-a", "O", "O"]];
        let scores = span_scores(&guesses, &labels);
        assert_eq!((scores.precision, scores.recall), (1.0, 0.5));
        assert_eq!(scores.f1, 2.0 / 3.0);
        assert_eq!(scores.by_kind["b"], 0.0);
        assert_eq!(tag_accuracy(&guesses, &labels), 0.75);
    }
}
