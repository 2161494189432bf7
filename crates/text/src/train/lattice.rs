//! The ways to segment a word: expected uses of pieces, and the best path.

use crate::trie::Trie;

/// Nats a letter that every path of a word is raised by, so that products of probabilities stay
/// within f64. A letter costs between about 1 nat (inside long pieces) and 18 (alone and rare): over
/// 48 letters the sum is within e^±600, and f64 holds e^±708.
const LIFT: f64 = 6.0;

/// Candidate pieces with their log probabilities, searchable from any place of a word.
pub(super) struct Model {
    trie: Trie,
    log_probs: Vec<f64>,
    /// exp(log probability + LIFT × letters).
    lifted: Vec<f64>,
}

/// A piece from one place in a word to another.
#[derive(Clone, Copy)]
struct Edge {
    from: u32,
    to: u32,
    piece: u32,
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    edges: Vec<Edge>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    best: Vec<(f64, u32, u32)>,
}

impl Model {
    /// `pieces` ascending by spelling.
    pub fn new(pieces: &[(Vec<u32>, f64)]) -> Self {
        let keys: Vec<(&[u32], u32)> = pieces
            .iter()
            .zip(0..)
            .map(|((piece, _), id)| (piece.as_slice(), id))
            .collect();
        Self {
            trie: Trie::new(&keys),
            log_probs: pieces.iter().map(|(_, score)| *score).collect(),
            lifted: pieces
                .iter()
                .map(|(piece, score)| (score + LIFT * piece.len() as f64).exp())
                .collect(),
        }
    }

    fn edges(&self, word: &[u32], edges: &mut Vec<Edge>) {
        edges.clear();
        for from in 0..word.len() {
            let mut node = Trie::ROOT;
            for (to, &letter) in (from as u32 + 1..).zip(&word[from..]) {
                let Some(child) = self.trie.child(node, letter) else {
                    break;
                };
                node = child;
                if let Some(piece) = self.trie.value(node) {
                    edges.push(Edge {
                        from: from as u32,
                        to,
                        piece,
                    });
                }
            }
        }
    }

    /// Adds `count` times the expected uses of each piece in `word`, over all its segmentations.
    /// Returns `count` times the word's log likelihood.
    pub fn add_expected(
        &self,
        word: &[u32],
        count: f64,
        scratch: &mut Scratch,
        uses: &mut [f64],
    ) -> f64 {
        let Scratch {
            edges,
            forward,
            backward,
            ..
        } = scratch;
        self.edges(word, edges);
        forward.clear();
        forward.resize(word.len() + 1, 0.0);
        backward.clone_from(forward);
        forward[0] = 1.0;
        backward[word.len()] = 1.0;
        for edge in edges.iter() {
            forward[edge.to as usize] +=
                forward[edge.from as usize] * self.lifted[edge.piece as usize];
        }
        for edge in edges.iter().rev() {
            backward[edge.from as usize] +=
                backward[edge.to as usize] * self.lifted[edge.piece as usize];
        }
        let total = forward[word.len()];
        let scale = count / total;
        for edge in edges.iter() {
            let piece = edge.piece as usize;
            uses[piece] += scale
                * forward[edge.from as usize]
                * self.lifted[piece]
                * backward[edge.to as usize];
        }
        count * (total.ln() - LIFT * word.len() as f64)
    }

    /// Calls `visit` for each piece of the likeliest segmentation, last first. `without` may not
    /// be used. False if there is no segmentation.
    pub fn best(
        &self,
        word: &[u32],
        without: Option<u32>,
        scratch: &mut Scratch,
        mut visit: impl FnMut(u32),
    ) -> bool {
        let Scratch { edges, best, .. } = scratch;
        self.edges(word, edges);
        best.clear();
        best.resize(word.len() + 1, (f64::NEG_INFINITY, 0, 0));
        best[0].0 = 0.0;
        for edge in edges.iter().filter(|edge| Some(edge.piece) != without) {
            let score = best[edge.from as usize].0 + self.log_probs[edge.piece as usize];
            if score > best[edge.to as usize].0 {
                best[edge.to as usize] = (score, edge.from, edge.piece);
            }
        }
        let mut at = word.len();
        if best[at].0 == f64::NEG_INFINITY {
            return false;
        }
        while at > 0 {
            let (_, from, piece) = best[at];
            visit(piece);
            at = from as usize;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> (Vec<(Vec<u32>, f64)>, Model) {
        let pieces: Vec<(Vec<u32>, f64)> = [
            (vec![0], 0.2),
            (vec![0, 1], 0.1),
            (vec![0, 1, 0], 0.25),
            (vec![1], 0.3),
            (vec![1, 0], 0.15),
        ]
        .map(|(piece, p): (Vec<u32>, f64)| (piece, p.ln()))
        .into();
        let model = Model::new(&pieces);
        (pieces, model)
    }

    /// All segmentations with their probabilities.
    fn all(pieces: &[(Vec<u32>, f64)], word: &[u32]) -> Vec<(Vec<usize>, f64)> {
        if word.is_empty() {
            return vec![(Vec::new(), 1.0)];
        }
        let mut found = Vec::new();
        for (id, (piece, score)) in pieces.iter().enumerate() {
            if let Some(rest) = word.strip_prefix(piece.as_slice()) {
                for (mut tail, p) in all(pieces, rest) {
                    tail.insert(0, id);
                    found.push((tail, p * score.exp()));
                }
            }
        }
        found
    }

    #[test]
    fn expectations_equal_an_enumeration() {
        let (pieces, model) = model();
        let word = [0, 1, 0, 1, 1, 0, 0];
        let paths = all(&pieces, &word);
        let total: f64 = paths.iter().map(|(_, p)| p).sum();
        let mut expected = vec![0.0; pieces.len()];
        for (path, p) in &paths {
            path.iter().for_each(|&id| expected[id] += 3.0 * p / total);
        }
        let mut uses = vec![0.0; pieces.len()];
        let log = model.add_expected(&word, 3.0, &mut Scratch::default(), &mut uses);
        // Sums of some twenty products in f64: rounding stays far below this.
        assert!((log - 3.0 * total.ln()).abs() < 1e-12);
        for (a, b) in uses.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-12, "{uses:?} {expected:?}");
        }
    }

    #[test]
    fn the_best_path_is_the_likeliest() {
        let (pieces, model) = model();
        let word = [0, 1, 0, 1, 0];
        for without in [None, Some(2)] {
            let paths = all(&pieces, &word);
            let allowed = |path: &[usize]| without.is_none_or(|id| !path.contains(&id));
            let (best, _) = paths
                .iter()
                .filter(|(path, _)| allowed(path))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            let mut path = Vec::new();
            let without = without.map(|id| id as u32);
            assert!(model.best(&word, without, &mut Scratch::default(), |id| {
                path.push(id as usize)
            }));
            path.reverse();
            assert_eq!(path, *best);
        }
    }
}
