//! Expectation maximisation and pruning of a Unigram vocabulary.

use rayon::prelude::*;

use super::lattice::{Model, Scratch};
use super::words::Corpus;
use super::{TrainProgress, UnigramOptions, seeds};
use crate::{Error, Result};

/// Parts that the words are counted in, each with sums of its own that are added in this order: a
/// fixed number, so that rounding does not depend on the number of threads.
const PARTS: usize = 16;

/// Expected uses below which a piece is dropped in an M step (SentencePiece's threshold).
const RARE: f64 = 0.5;

/// Learns `target` pieces with their log probabilities, likeliest first: expectation maximisation
/// over all segmentations, dropping in rounds the pieces whose loss hurts the likelihood least (Kudo
/// 2018, section 3.2). Single letters always stay.
pub(super) fn learn(
    corpus: &Corpus,
    options: &UnigramOptions,
    target: usize,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<Vec<(String, f64)>> {
    let mut pieces = seeds::seeds(
        corpus,
        options.max_piece_length,
        options.seed_size.max(target),
    );
    let sum: f64 = pieces.iter().map(|(_, count)| count).sum();
    pieces
        .iter_mut()
        .for_each(|(_, count)| *count = (*count / sum).ln());

    // A tenth more than wanted survives the rounds; the last cut is by probability.
    let enough = target + target / 10;
    loop {
        for _ in 0..options.sub_iterations {
            progress(TrainProgress::Estimating {
                pieces: pieces.len(),
                target,
            });
            let uses = expected_uses(corpus, &pieces);
            pieces = maximise(pieces, &uses);
        }
        if pieces.len() <= enough {
            break;
        }
        let keep = enough.max((pieces.len() as f64 * options.shrinking_factor) as usize);
        pieces = prune(corpus, pieces, keep);
    }

    if pieces.len() < target {
        return Err(Error::VocabularyTooLarge {
            vocab_size: options.vocab_size,
            possible: options.vocab_size - target + pieces.len(),
        });
    }
    // Letters first, so that the cut spares them; then by probability, ties by spelling.
    pieces.sort_by(|a, b| {
        (a.0.len() > 1)
            .cmp(&(b.0.len() > 1))
            .then(b.1.total_cmp(&a.1))
            .then(a.0.cmp(&b.0))
    });
    pieces.truncate(target);
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(pieces
        .into_iter()
        .map(|(piece, score)| (corpus.spell(&piece), score))
        .collect())
}

/// Runs `work` on the words in `PARTS` parts and adds up their tables in order.
fn sum_parts(
    corpus: &Corpus,
    pieces: usize,
    work: impl Fn(&[u32], f64, &mut Scratch, &mut [f64]) + Sync,
) -> Vec<f64> {
    let size = corpus.words.len().div_ceil(PARTS).max(1);
    let parts: Vec<Vec<f64>> = corpus
        .words
        .par_chunks(size)
        .map(|words| {
            let mut scratch = Scratch::default();
            let mut sums = vec![0.0; pieces];
            for (word, count) in words {
                work(word, *count as f64, &mut scratch, &mut sums);
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; pieces];
    for part in parts {
        sums.iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// E step: the expected uses of each piece.
fn expected_uses(corpus: &Corpus, pieces: &[(Vec<u32>, f64)]) -> Vec<f64> {
    let model = Model::new(pieces);
    sum_parts(corpus, pieces.len(), |word, count, scratch, uses| {
        model.add_expected(word, count, scratch, uses);
    })
}

/// M step: new log probabilities, with a sparse prior (digamma instead of the logarithm, after Liang
/// and Klein 2007). Rare pieces leave, letters stay.
fn maximise(pieces: Vec<(Vec<u32>, f64)>, uses: &[f64]) -> Vec<(Vec<u32>, f64)> {
    let kept: Vec<(Vec<u32>, f64)> = pieces
        .into_iter()
        .zip(uses)
        .filter(|((piece, _), uses)| **uses >= RARE || piece.len() == 1)
        .map(|((piece, _), uses)| (piece, uses.max(RARE)))
        .collect();
    let log_sum = digamma(kept.iter().map(|(_, uses)| uses).sum());
    kept.into_iter()
        .map(|(piece, uses)| (piece, digamma(uses) - log_sum))
        .collect()
}

/// Keeps the `keep` pieces whose loss would cost the most likelihood, each judged as if its uses in
/// the best segmentations went to the best segmentation of the piece itself without it.
fn prune(corpus: &Corpus, pieces: Vec<(Vec<u32>, f64)>, keep: usize) -> Vec<(Vec<u32>, f64)> {
    let model = Model::new(&pieces);
    let uses = sum_parts(corpus, pieces.len(), |word, count, scratch, uses| {
        model.best(word, None, scratch, |piece| uses[piece as usize] += count);
    });
    let sum: f64 = uses.iter().sum();
    let log_sum = sum.ln();
    let losses: Vec<f64> = (0..pieces.len())
        .into_par_iter()
        .map_init(Scratch::default, |scratch, id| {
            if pieces[id].0.len() == 1 {
                return f64::INFINITY;
            }
            if uses[id] == 0.0 {
                return f64::NEG_INFINITY;
            }
            let mut instead = Vec::new();
            if !model.best(&pieces[id].0, Some(id as u32), scratch, |piece| {
                instead.push(piece)
            }) {
                return f64::INFINITY;
            }
            let log_sum_without = (sum + uses[id] * (instead.len() as f64 - 1.0)).ln();
            let without: f64 = instead
                .iter()
                .map(|&piece| (uses[piece as usize] + uses[id]).ln() - log_sum_without)
                .sum();
            uses[id] * (uses[id].ln() - log_sum - without)
        })
        .collect();
    let mut order: Vec<usize> = (0..pieces.len())
        .filter(|&id| losses[id] > f64::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]).then(a.cmp(&b)));
    order.truncate(keep);
    let mut kept = vec![false; pieces.len()];
    order.iter().for_each(|&id| kept[id] = true);
    pieces
        .into_iter()
        .zip(kept)
        .filter(|(_, kept)| *kept)
        .map(|(piece, _)| piece)
        .collect()
}

/// The derivative of ln Γ, by recurrence to x ≥ 7 and its asymptotic series there.
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 7.0 {
        result -= x.recip();
        x += 1.0;
    }
    let y = x.recip().powi(2);
    result + x.ln() - 0.5 / x - y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y / 240.0)))
}

#[cfg(test)]
mod tests {
    use super::digamma;

    #[test]
    fn digamma_has_its_known_values() {
        // ψ(1) = -γ, ψ(1/2) = -γ - 2 ln 2, and ψ(x + 1) = ψ(x) + 1/x. The series' next term is
        // y^5/132 < 3e-11 at x = 7.
        const GAMMA: f64 = 0.577_215_664_901_532_9;
        assert!((digamma(1.0) + GAMMA).abs() < 1e-10);
        assert!((digamma(0.5) + GAMMA + 2.0 * 2.0_f64.ln()).abs() < 1e-10);
        assert!((digamma(1e6 + 1.0) - digamma(1e6) - 1e-6).abs() < 1e-10);
    }
}
