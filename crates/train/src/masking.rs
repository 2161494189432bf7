//! Masks over n-grams of whole words (Lan et al. 2019, section 4.1).

use crate::random::Random;
use crate::vocabulary::Vocabulary;

/// What share of a row is masked, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskRules {
    /// The share of a row's pieces to predict.
    pub share: f64,
    /// The longest n-gram, in words; n-grams of n words have weight 1/n.
    pub max_words: usize,
    /// Of the pieces to predict, the share replaced by `[MASK]`.
    pub replaced: f64,
    /// Of the pieces to predict, the share replaced by a random ordinary piece. The rest stay.
    pub random: f64,
}

/// A row ready for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedRow {
    /// `[CLS] A [SEP] B [SEP]`, some of it masked.
    pub ids: Vec<u32>,
    /// How many of `ids` have type 0: `[CLS]`, A and the first `[SEP]`.
    pub first_segment: usize,
    /// Positions to predict, in order.
    pub positions: Vec<usize>,
    /// The pieces that were there.
    pub labels: Vec<u32>,
}

/// Lays out two segments as `[CLS] A [SEP] B [SEP]` and masks them.
///
/// Whole words are taken until the share is reached: n-grams begin at words in random order, and
/// where the n-gram drawn would overlap another, run into the other segment or exceed the share,
/// a shorter one is tried. A row without room for one word within the share has its shortest word
/// masked, so that every row has something to predict. Of the pieces taken, each is replaced or
/// left by its own draw.
pub fn mask_pair(
    a: &[u32],
    b: &[u32],
    vocabulary: &Vocabulary,
    rules: &MaskRules,
    random: &mut impl Random,
) -> MaskedRow {
    let Row {
        mut ids,
        first_segment,
        words,
        in_a,
    } = Row::new(a, b, vocabulary);
    let budget = ((a.len() + b.len()) as f64 * rules.share).round().max(1.0) as usize;
    let taken = choose_words(&words, in_a, budget, rules.max_words, random);

    let (mut positions, mut labels) = (Vec::new(), Vec::new());
    for (word, _) in words.iter().zip(taken).filter(|(_, taken)| *taken) {
        for (position, id) in (word.0..).zip(&mut ids[word.0..word.1]) {
            positions.push(position);
            labels.push(*id);
            let draw = random.unit();
            if draw < rules.replaced {
                *id = vocabulary.mask;
            } else if draw < rules.replaced + rules.random && !vocabulary.ordinary().is_empty() {
                *id = vocabulary.ordinary()[random.below(vocabulary.ordinary().len())];
            }
        }
    }
    MaskedRow {
        ids,
        first_segment,
        positions,
        labels,
    }
}

/// Lays out two segments as [`mask_pair`] does and masks them as [`score`](mod@crate::score) does:
/// 15% of the words whatever their length, every one of their pieces `[MASK]`.
pub fn mask_pair_for_scoring(
    a: &[u32],
    b: &[u32],
    vocabulary: &Vocabulary,
    random: &mut impl Random,
) -> MaskedRow {
    let Row {
        mut ids,
        first_segment,
        mut words,
        ..
    } = Row::new(a, b, vocabulary);
    draw_scored_words(&mut words, random);
    words.sort_unstable();
    let positions: Vec<usize> = words.into_iter().flat_map(|(from, to)| from..to).collect();
    let labels = positions
        .iter()
        .map(|&position| std::mem::replace(&mut ids[position], vocabulary.mask))
        .collect();
    MaskedRow {
        ids,
        first_segment,
        positions,
        labels,
    }
}

/// Keeps the words that are masked for scoring: of w words the first
/// m = max(1, floor(0.15 w + 0.5)) of a shuffle that stops after them, in its order.
pub(crate) fn draw_scored_words<T>(words: &mut Vec<T>, random: &mut impl Random) {
    let masked = ((0.15 * words.len() as f64 + 0.5).floor() as usize).max(1);
    let masked = masked.min(words.len());
    for i in 0..masked {
        let j = i + random.below(words.len() - i);
        words.swap(i, j);
    }
    words.truncate(masked);
}

/// Two segments laid out, unmasked, and their words.
struct Row {
    ids: Vec<u32>,
    first_segment: usize,
    words: Vec<(usize, usize)>,
    /// How many of the words are in the first segment.
    in_a: usize,
}

impl Row {
    fn new(a: &[u32], b: &[u32], vocabulary: &Vocabulary) -> Row {
        let mut ids = Vec::with_capacity(a.len() + b.len() + 3);
        ids.push(vocabulary.cls);
        ids.extend(a);
        ids.push(vocabulary.sep);
        let first_segment = ids.len();
        ids.extend(b);
        ids.push(vocabulary.sep);
        let mut words = word_spans(a, 1, vocabulary);
        let in_a = words.len();
        words.extend(word_spans(b, first_segment, vocabulary));
        Row {
            ids,
            first_segment,
            words,
            in_a,
        }
    }
}

/// The first and the past-the-last position of every word of a segment that begins at `offset`.
fn word_spans(pieces: &[u32], offset: usize, vocabulary: &Vocabulary) -> Vec<(usize, usize)> {
    let starts = vocabulary.word_starts(pieces);
    let ends = starts.iter().skip(1).copied().chain([pieces.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(s, e)| (s + offset, e + offset))
        .collect()
}

/// Which words to predict: n-grams, together at most `budget` pieces (or one word).
fn choose_words(
    words: &[(usize, usize)],
    in_a: usize,
    budget: usize,
    max_words: usize,
    random: &mut impl Random,
) -> Vec<bool> {
    let mut taken = vec![false; words.len()];
    let mut order: Vec<usize> = (0..words.len()).collect();
    random.shuffle(&mut order);
    let mut left = budget;
    for &start in &order {
        if left == 0 {
            break;
        }
        let segment_end = if start < in_a { in_a } else { words.len() };
        let drawn = draw_ngram(max_words, random).min(segment_end - start);
        for n in (1..=drawn).rev() {
            let ngram = start..start + n;
            let pieces = words[start + n - 1].1 - words[start].0;
            if pieces <= left && !taken[ngram.clone()].iter().any(|&word| word) {
                taken[ngram].fill(true);
                left -= pieces;
                break;
            }
        }
    }
    if left == budget {
        let shortest = order
            .iter()
            .copied()
            .min_by_key(|&i| words[i].1 - words[i].0);
        if let Some(shortest) = shortest {
            taken[shortest] = true;
        }
    }
    taken
}

/// A number of words n in `1..=max`, with weight 1/n.
fn draw_ngram(max: usize, random: &mut impl Random) -> usize {
    let total: f64 = (1..=max).map(|n| 1.0 / n as f64).sum();
    let mut draw = random.unit() * total;
    for n in 1..max {
        draw -= 1.0 / n as f64;
        if draw < 0.0 {
            return n;
        }
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, SplitMix64, stream};
    use crate::vocabulary::tests::toy;

    const RULES: MaskRules = MaskRules {
        share: 0.15,
        max_words: 3,
        replaced: 0.8,
        random: 0.1,
    };

    /// A segment of words of one to four pieces.
    fn segment(pieces: usize, random: &mut impl Random) -> Vec<u32> {
        (0..pieces)
            .map(|_| 6 + 2 * random.below(400) as u32 + u32::from(random.below(3) == 0))
            .collect()
    }

    #[test]
    fn shares_are_as_asked_for() {
        let vocabulary = toy(400);
        let (mut pieces, mut predicted, mut masked, mut kept) = (0, 0, 0, 0);
        for i in 0..4000 {
            let mut random = stream(3, Purpose::Example, 0, i);
            let a = segment(20 + random.below(60), &mut random);
            let b = segment(20 + random.below(60), &mut random);
            let row = mask_pair(&a, &b, &vocabulary, &RULES, &mut random);
            assert_eq!(row.ids.len(), a.len() + b.len() + 3);
            assert_eq!((row.ids[0], row.ids[row.first_segment - 1]), (2, 3));
            assert!(
                row.positions.is_sorted(),
                "positions are in order, each once"
            );
            pieces += a.len() + b.len();
            predicted += row.positions.len();
            for (&position, &label) in row.positions.iter().zip(&row.labels) {
                assert!(label > 5, "special pieces are never predicted");
                let now = row.ids[position];
                masked += usize::from(now == 4);
                kept += usize::from(now == label);
                assert!(now == 4 || now >= 5, "replaced by an ordinary piece");
            }
        }
        // Rounding and words that no longer fit cost a little of the 15%.
        let share = predicted as f64 / pieces as f64;
        assert!((0.145..=0.151).contains(&share), "{share}");
        // About 59,000 draws: five standard deviations are 0.0082 and 0.0062. A random piece
        // equals its label once in 800 times.
        let of = |n: usize| n as f64 / predicted as f64;
        assert!((of(masked) - 0.8).abs() < 0.0082, "{}", of(masked));
        assert!((of(kept) - 0.1).abs() < 0.0065, "{}", of(kept));
    }

    #[test]
    fn whole_words_are_masked() {
        let vocabulary = toy(400);
        let rules = MaskRules {
            replaced: 1.0,
            random: 0.0,
            ..RULES
        };
        for i in 0..500 {
            let mut random = stream(4, Purpose::Example, 0, i);
            let a = segment(40, &mut random);
            let b = segment(30, &mut random);
            let row = mask_pair(&a, &b, &vocabulary, &rules, &mut random);
            let hidden = |position: usize| row.ids[position] == 4;
            for (segment, offset) in [(&a, 1), (&b, row.first_segment)] {
                for (start, end) in word_spans(segment, offset, &vocabulary) {
                    let masks = (start..end).filter(|&position| hidden(position)).count();
                    assert!(masks == 0 || masks == end - start, "a word is masked whole");
                }
            }
        }
    }

    #[test]
    fn scoring_masks_a_share_of_the_words_whatever_their_length() {
        let vocabulary = toy(400);
        for i in 0..500 {
            let mut random = stream(6, Purpose::Example, 0, i);
            let (a, b) = (segment(60, &mut random), segment(50, &mut random));
            let row = mask_pair_for_scoring(&a, &b, &vocabulary, &mut random);
            assert!(row.positions.is_sorted() && row.positions.iter().all(|&p| row.ids[p] == 4));
            let mut unmasked = row.ids.clone();
            for (&position, &label) in row.positions.iter().zip(&row.labels) {
                unmasked[position] = label;
            }
            assert_eq!(unmasked, [&[2], &a[..], &[3], &b, &[3]].concat());
            let mut spans = word_spans(&a, 1, &vocabulary);
            spans.extend(word_spans(&b, row.first_segment, &vocabulary));
            let masks = |span: &(usize, usize)| {
                row.ids[span.0..span.1]
                    .iter()
                    .filter(|&&id| id == 4)
                    .count()
            };
            let masked = spans
                .iter()
                .filter(|span| masks(span) == span.1 - span.0)
                .count();
            assert!(
                spans
                    .iter()
                    .all(|span| masks(span) == 0 || masks(span) == span.1 - span.0)
            );
            assert_eq!(masked, (0.15 * spans.len() as f64 + 0.5) as usize);
        }
    }

    #[test]
    fn ngrams_have_weights_one_half_third() {
        let mut random = SplitMix64::new(1);
        let mut counts = [0.0; 3];
        for _ in 0..110_000 {
            counts[draw_ngram(3, &mut random) - 1] += 1.0;
        }
        // Five standard deviations of a count of 60,000 in 110,000 are 826.
        for (count, expected) in counts.iter().zip([60_000.0, 30_000.0, 20_000.0]) {
            assert!(f64::abs(count - expected) < 826.0, "{counts:?}");
        }
    }

    #[test]
    fn a_short_row_still_predicts_one_word() {
        let row = mask_pair(&[6, 7, 7], &[8], &toy(10), &RULES, &mut SplitMix64::new(2));
        assert_eq!(row.labels, [8]);
    }

    #[test]
    fn masks_are_drawn_afresh_in_every_pass() {
        let vocabulary = toy(400);
        let a = segment(60, &mut SplitMix64::new(9));
        let row = |pass| {
            let mut random = stream(0, Purpose::Example, pass, 5);
            mask_pair(&a, &a, &vocabulary, &RULES, &mut random)
        };
        assert_eq!(row(0), row(0));
        assert_ne!(row(0).positions, row(1).positions);
    }
}
