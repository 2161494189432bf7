//! Pairs are whole and consecutive, and their looks say nothing about their order.

use super::*;
use crate::corpus::Owned;
use crate::random::SplitMix64;
use crate::vocabulary::tests::toy;

const RULES: PairRules = PairRules {
    length: 64,
    short_share: 0.1,
    both_orders: false,
    task: SentenceTask::Order,
};

/// Documents of sentences with lengths as uneven as in real text: headings, common sentences,
/// and some that are longer than a row. Every sentence ends in the full stop, piece 5.
pub(crate) fn synthetic(documents: usize, seed: u64) -> Corpus {
    let mut random = SplitMix64::new(seed);
    let mut corpus = Owned::new(1000);
    for _ in 0..documents {
        let sentences: Vec<Vec<u32>> = (0..1 + random.below(30))
            .map(|_| {
                let len = match random.below(20) {
                    0..3 => 1 + random.below(4),
                    19 => 60 + random.below(60),
                    _ => 8 + random.below(40),
                };
                let mut sentence: Vec<u32> = (0..len)
                    .map(|_| 6 + 2 * random.below(400) as u32 + u32::from(random.below(3) == 0))
                    .collect();
                sentence.push(5);
                sentence
            })
            .collect();
        corpus.push(&sentences);
    }
    corpus.into()
}

fn pairs(corpus: &Corpus, rules: &PairRules, passes: u64) -> Vec<(Group, Pair)> {
    let vocabulary = toy(400);
    let documents: Vec<u32> = (0..corpus.documents() as u32).collect();
    (0..passes)
        .flat_map(|pass| {
            plan(corpus, &documents, &vocabulary, rules, 1, pass)
                .into_iter()
                .map(move |g| (pass, g))
        })
        .map(|(pass, group)| {
            let mut random = stream(1, Purpose::Example, pass, group.sentence.into());
            (group, pair(corpus, &vocabulary, &group, &mut random))
        })
        .collect()
}

#[test]
fn pairs_are_consecutive_text_of_one_document() {
    let corpus = synthetic(200, 1);
    let mut whole = 0;
    let all = pairs(&corpus, &RULES, 2);
    for (group, pair) in &all {
        assert!(!pair.a.is_empty() && !pair.b.is_empty());
        assert!(pair.a.len() + pair.b.len() <= usize::from(group.target));
        let first = group.sentence as usize;
        let sentences = first..first + usize::from(group.count);
        let inside = (0..corpus.documents()).any(|document| {
            let document = corpus.document(document);
            document.start <= sentences.start && sentences.end <= document.end
        });
        assert!(inside, "a group stays inside its document");
        let text = corpus.sentence_pieces(sentences);
        let (one, two) = if pair.swapped {
            (&pair.b, &pair.a)
        } else {
            (&pair.a, &pair.b)
        };
        if pair.cut {
            assert!(
                !one.contains(&5) && !two.contains(&5),
                "cut segments have no sentence end"
            );
            let at = |part: &[u32]| text.windows(part.len()).position(|window| window == part);
            assert!(at(one).is_some() && at(two).is_some());
        } else {
            whole += 1;
            assert_eq!([&one[..], &two[..]].concat(), text);
            assert_eq!((one.last(), two.last()), (Some(&5), Some(&5)));
        }
    }
    assert!(
        whole * 2 > all.len(),
        "{whole} of {} are of whole sentences",
        all.len()
    );
}

#[test]
fn most_text_is_used() {
    let corpus = synthetic(300, 2);
    let documents: Vec<u32> = (0..300).collect();
    let used: usize = plan(&corpus, &documents, &toy(400), &RULES, 1, 0)
        .iter()
        .map(|group| usize::from(group.pieces))
        .sum();
    // Left out: cut ends of sentences that do not fit a row, and headings beside them.
    assert!(
        used as f64 > 0.75 * corpus.pieces() as f64,
        "{used} of {}",
        corpus.pieces()
    );
}

#[test]
fn one_sentence_documents_are_split_inside() {
    let mut corpus = Owned::new(1000);
    corpus.push(&[vec![6, 8, 10, 12, 14, 5]]);
    corpus.push(&[vec![6, 8, 5]]);
    let all = pairs(&corpus.into(), &RULES, 1);
    assert_eq!(all.len(), 1, "three words have no inside to split");
    let Pair { a, b, cut, .. } = &all[0].1;
    let mut both = [&a[..], b].concat();
    both.sort_unstable();
    assert!(*cut && both == [8, 10, 12, 14]);
}

#[test]
fn words_are_never_split() {
    // Words of one to ninety pieces: many stretches have room for one word alone, or for none.
    let mut random = SplitMix64::new(12);
    let mut corpus = Owned::new(1000);
    for _ in 0..2000 {
        let mut sentence = Vec::new();
        for _ in 0..4 + random.below(6) {
            sentence.push(6 + 2 * random.below(400) as u32);
            let inner = [0, 2, 30, 90][random.below(4)];
            sentence.extend((0..random.below(inner + 1)).map(|_| 7));
        }
        sentence.push(5);
        corpus.push(&[sentence]);
    }
    let all = pairs(&corpus.into(), &RULES, 1);
    assert!(all.len() > 500 && all.len() < 2000, "{}", all.len());
    for (_, pair) in &all {
        let begins = |segment: &[u32]| segment.first().is_some_and(|id| id % 2 == 0);
        assert!(begins(&pair.a) && begins(&pair.b), "{pair:?}");
        assert!(pair.a.len() + pair.b.len() <= 61);
    }
    // A lone word that fills the row leaves nothing to split.
    let mut corpus = Owned::new(1000);
    let long = [vec![6, 8], vec![7; 80], vec![10], vec![7; 80], vec![12, 5]].concat();
    corpus.push(&[long]);
    assert!(pairs(&corpus.into(), &RULES, 1).is_empty());
}

/// Everything about a pair that is no language: lengths, cuts, last and first pieces by kind.
fn looks(pair: &Pair) -> Vec<f64> {
    let (a, b) = (pair.a.len() as f64, pair.b.len() as f64);
    let stop = |piece: Option<&u32>| f64::from(piece == Some(&5));
    let starts = |piece: Option<&u32>| f64::from(piece.is_some_and(|id| id % 2 == 0));
    vec![
        a / 64.0,
        b / 64.0,
        f64::from(a > b),
        f64::from(a < b),
        (a - b).abs() / 64.0,
        f64::from(pair.cut),
        stop(pair.a.last()),
        stop(pair.b.last()),
        starts(pair.a.first()),
        starts(pair.b.first()),
        starts(pair.a.last()),
        starts(pair.b.last()),
    ]
}

/// How often the best of many simple classifiers, chosen on one half, is right on the other.
fn guessed(pairs: &[Pair]) -> (f64, usize) {
    let rows: Vec<(Vec<f64>, bool)> = pairs
        .iter()
        .map(|pair| (looks(pair), pair.swapped))
        .collect();
    let (train, test) = rows.split_at(rows.len() / 2);
    let features = train[0].0.len();
    // Decision stumps at deciles, and the same on the product of two features.
    let value = |row: &[f64], i: usize, j: usize| if i == j { row[i] } else { row[i] - row[j] };
    let mut best = (0.0, 0, 0, 0.0, false);
    for i in 0..features {
        for j in 0..features {
            let mut sorted: Vec<f64> = train.iter().map(|(row, _)| value(row, i, j)).collect();
            sorted.sort_by(f64::total_cmp);
            for decile in 1..10 {
                let threshold = sorted[sorted.len() * decile / 10];
                let right = train
                    .iter()
                    .filter(|(row, swapped)| (value(row, i, j) >= threshold) == *swapped)
                    .count() as f64
                    / train.len() as f64;
                for (score, flip) in [(right, false), (1.0 - right, true)] {
                    if score > best.0 {
                        best = (score, i, j, threshold, flip);
                    }
                }
            }
        }
    }
    let (_, i, j, threshold, flip) = best;
    let stump = test
        .iter()
        .filter(|(row, swapped)| ((value(row, i, j) >= threshold) != flip) == *swapped)
        .count();
    let logistic = logistic(train, test);
    (stump.max(logistic) as f64 / test.len() as f64, test.len())
}

/// Right answers on `test` of a logistic regression fitted to `train`.
fn logistic(train: &[(Vec<f64>, bool)], test: &[(Vec<f64>, bool)]) -> usize {
    let mut weights = vec![0.0; train[0].0.len() + 1];
    let output = |weights: &[f64], row: &[f64]| {
        weights[row.len()] + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()
    };
    for _ in 0..200 {
        let mut gradient = vec![0.0; weights.len()];
        for (row, swapped) in train {
            let error = 1.0 / (1.0 + (-output(&weights, row)).exp()) - f64::from(*swapped);
            gradient
                .iter_mut()
                .zip(row)
                .for_each(|(g, x)| *g += error * x);
            gradient[row.len()] += error;
        }
        for (weight, slope) in weights.iter_mut().zip(gradient) {
            *weight -= 2.0 * slope / train.len() as f64;
        }
    }
    test.iter()
        .filter(|(row, swapped)| (output(&weights, row) > 0.0) == *swapped)
        .count()
}

#[test]
fn lengths_and_cuts_tell_nothing() {
    for length in [32, 64, 128] {
        let rules = PairRules { length, ..RULES };
        let all: Vec<Pair> = pairs(&synthetic(2500, 3), &rules, 1)
            .into_iter()
            .map(|(_, pair)| pair)
            .collect();
        let (right, tests) = guessed(&all);
        // A fair coin is within 0.5 +- 3.3 standard deviations but once in a thousand times.
        let bound = 3.3 * (0.25 / tests as f64).sqrt();
        assert!(
            (right - 0.5).abs() < bound,
            "length {length}: {right} on {tests} pairs"
        );
    }
}

#[test]
fn the_classifier_sees_a_leak_where_there_is_one() {
    // The common way: fill past the limit, then cut the tail of the longer segment.
    let corpus = synthetic(1500, 4);
    let mut random = SplitMix64::new(8);
    let mut all = Vec::new();
    for document in 0..corpus.documents() {
        let mut rest = corpus.document(document);
        while rest.len() > 1 {
            let start = rest.start;
            let mut pieces = 0;
            while !rest.is_empty() && pieces < 61 {
                pieces += corpus.sentence_len(rest.start);
                rest.start += 1;
            }
            if rest.start - start < 2 {
                continue;
            }
            let middle = start + 1 + random.below(rest.start - start - 1);
            let mut a = corpus.sentence_pieces(start..middle);
            let mut b = corpus.sentence_pieces(middle..rest.start);
            while a.len() + b.len() > 61 {
                if a.len() > b.len() {
                    a.pop()
                } else {
                    b.pop()
                };
            }
            let swapped = random.coin();
            let (a, b) = if swapped { (b, a) } else { (a, b) };
            all.push(Pair {
                a,
                b,
                swapped,
                cut: false,
            });
        }
    }
    let (right, _) = guessed(&all);
    assert!(
        right > 0.6,
        "the classifier is too weak to be trusted: {right}"
    );
}
