//! SentencePiece's best segmentation by a Unigram model, to the same rounding.

use super::SPACE;
use super::proto::{Kind, Piece};
use crate::ids::Certainty;
use crate::trie::Trie;

/// What an unknown character costs beyond the rarest piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A piece from one place in the normalised text to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub from: usize,
    pub to: usize,
    pub id: u32,
}

#[derive(Debug)]
pub(super) struct Unigram {
    trie: Trie,
    /// Scores by id. Sums are f32 as in SentencePiece 0.2.3: between near ties their rounding decides.
    scores: Vec<f32>,
    unknown_score: f32,
    /// The greatest magnitude of a score.
    largest: f32,
    /// Whether no piece has U+2581 anywhere but at its beginning.
    splits_at_spaces: bool,
    unk: u32,
}

/// The best way to a place: its score, where its last piece starts, and that piece.
#[derive(Clone, Copy)]
struct Best {
    score: f32,
    from: u32,
    id: u32,
}

/// A place that no piece has reached yet.
const UNREACHED: Best = Best {
    score: 0.0,
    from: u32::MAX,
    id: 0,
};

impl Unigram {
    pub fn new(pieces: &[Piece]) -> Result<Self, String> {
        let mut unknown = None;
        let mut min_score = f32::MAX;
        // Starts at the least positive number, as in SentencePiece.
        let mut max_score = f32::MIN_POSITIVE;
        let mut keys: Vec<(Vec<u32>, u32)> = Vec::with_capacity(pieces.len());
        for (id, piece) in (0..).zip(pieces) {
            match piece.kind {
                Kind::Normal => {
                    min_score = min_score.min(piece.score);
                    max_score = max_score.max(piece.score);
                }
                Kind::Unknown if unknown.is_some() => {
                    return Err("two pieces are marked as unknown".to_owned());
                }
                Kind::Unknown => unknown = Some(id),
                _ => {}
            }
            if matches!(piece.kind, Kind::Normal | Kind::UserDefined) {
                keys.push((piece.text.chars().map(u32::from).collect(), id));
            }
        }
        let unk = unknown.ok_or("no piece is marked as unknown")?;
        if keys.is_empty() {
            return Err("there are no pieces for text in it".to_owned());
        }
        keys.sort();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!(
                "pieces {} and {} are the same",
                twice[0].1, twice[1].1
            ));
        }
        let splits_at_spaces = keys
            .iter()
            .all(|(key, _)| !key[1.min(key.len())..].contains(&u32::from(SPACE)));
        let scores: Vec<f32> = pieces
            .iter()
            .map(|piece| match piece.kind {
                // A bonus that makes it always the best choice among negative scores.
                Kind::UserDefined => (f64::from(piece.text.len() as f32 * max_score) - 0.1) as f32,
                _ => piece.score,
            })
            .collect();
        let unknown_score = min_score - UNKNOWN_PENALTY;
        let largest = scores
            .iter()
            .fold(unknown_score.abs(), |most, score| most.max(score.abs()));
        Ok(Self {
            trie: Trie::new(&keys),
            scores,
            unknown_score,
            largest,
            splits_at_spaces,
            unk,
        })
    }

    /// Whether a segment that starts before U+2581 ends before it.
    pub fn splits_at_spaces(&self) -> bool {
        self.splits_at_spaces
    }

    /// The id that stands for unknown characters.
    pub fn unk(&self) -> u32 {
        self.unk
    }

    /// The best segmentation, runs of unknown characters as one segment.
    pub fn segments(&self, text: &[char]) -> Vec<Segment> {
        let mut best = vec![UNREACHED; text.len() + 1];
        for from in 0..text.len() {
            let so_far = best[from].score;
            let mut single = false;
            let mut node = Trie::ROOT;
            for (to, &c) in (from + 1..).zip(&text[from..]) {
                let Some(child) = self.trie.child(node, u32::from(c)) else {
                    break;
                };
                node = child;
                let Some(id) = self.trie.value(node) else {
                    continue;
                };
                let score = self.scores[id as usize] + so_far;
                let place = &mut best[to];
                if place.from == u32::MAX || score > place.score {
                    *place = Best {
                        score,
                        from: from as u32,
                        id,
                    };
                }
                single |= to == from + 1;
            }
            if !single {
                let score = self.unknown_score + so_far;
                let place = &mut best[from + 1];
                if place.from == u32::MAX || score > place.score {
                    *place = Best {
                        score,
                        from: from as u32,
                        id: self.unk,
                    };
                }
            }
        }
        self.way_back(text.len(), |to| (best[to].from as usize, best[to].id))
    }

    /// The segments of the way that ends at `to`, by the last step to each place.
    fn way_back(&self, mut to: usize, step: impl Fn(usize) -> (usize, u32)) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        while to > 0 {
            let (from, id) = step(to);
            match segments.last_mut() {
                Some(last) if id == self.unk && last.id == self.unk => last.from = from,
                _ => segments.push(Segment { from, to, id }),
            }
            to = from;
        }
        segments.reverse();
        segments
    }

    /// The best segmentation of a word, U+2581 before it, and how sure it is that
    /// [`Unigram::segments`] finds the same one in a text.
    ///
    /// There, a sum is rounded to f32 at every step. Two ways to a place in the word have the sum
    /// before the word in common and at most `n` roundings each since, `n` being the word's length;
    /// a rounding is off by at most `s / 2^24` where no sum exceeds `s`. So the better one wins by
    /// rounded sums too if it is better by more than `2 n s / 2^24`, and half as much again is
    /// asked for. `s` is the sum before the word and at most `n` times the largest score.
    pub fn certain_segments(&self, word: &[char]) -> (Vec<Segment>, Certainty) {
        #[derive(Clone, Copy)]
        struct Way {
            score: f64,
            from: usize,
            id: u32,
            /// By how much it is better than the next best to the same place.
            lead: f64,
        }
        let mut best: Vec<Option<Way>> = vec![None; word.len() + 1];
        let offer = |best: &mut Vec<Option<Way>>, from: usize, to: usize, id, score: f32| {
            let so_far: f64 = best[from].map_or(0.0, |way| way.score);
            let score = so_far + f64::from(score);
            let way = |lead| Way {
                score,
                from,
                id,
                lead,
            };
            match &mut best[to] {
                None => best[to] = Some(way(f64::INFINITY)),
                Some(there) if score > there.score => *there = way(score - there.score),
                Some(there) => there.lead = there.lead.min(there.score - score),
            }
        };
        for from in 0..word.len() {
            let mut single = false;
            let mut node = Trie::ROOT;
            for (to, &c) in (from + 1..).zip(&word[from..]) {
                let Some(child) = self.trie.child(node, u32::from(c)) else {
                    break;
                };
                node = child;
                if let Some(id) = self.trie.value(node) {
                    offer(&mut best, from, to, id, self.scores[id as usize]);
                    single |= to == from + 1;
                }
            }
            if !single {
                offer(&mut best, from, from + 1, self.unk, self.unknown_score);
            }
        }
        let (mut weight, mut lead) = (0.0, f64::INFINITY);
        let segments = self.way_back(word.len(), |to| {
            best[to].map_or((to - 1, self.unk), |way| (way.from, way.id))
        });
        let mut to = word.len();
        while let Some(way) = best[to].filter(|_| to > 0) {
            let score = if way.id == self.unk {
                self.unknown_score
            } else {
                self.scores[way.id as usize]
            };
            weight += score.abs();
            lead = lead.min(way.lead);
            to = way.from;
        }
        let n = word.len() as f64;
        let mut limit = lead * f64::from(1 << 23) / (1.5 * n) - n * f64::from(self.largest);
        if segments.first().is_some_and(|first| first.id == self.unk) {
            // It would join an unknown piece before it.
            limit = -1.0;
        }
        let limit = if word.is_empty() {
            f32::INFINITY
        } else {
            limit as f32
        };
        (segments, Certainty { weight, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unigram(pieces: &[(&str, f32, Kind)]) -> Unigram {
        let pieces: Vec<Piece> = pieces
            .iter()
            .map(|&(text, score, kind)| Piece {
                text: text.to_owned(),
                score,
                kind,
            })
            .collect();
        Unigram::new(&pieces).unwrap()
    }

    fn spelled(unigram: &Unigram, text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        unigram
            .segments(&chars)
            .iter()
            .map(|s| chars[s.from..s.to].iter().collect())
            .collect()
    }

    #[test]
    fn the_likeliest_pieces_win_and_unknown_runs_join() {
        let unigram = unigram(&[
            ("<unk>", 0.0, Kind::Unknown),
            ("a", -1.0, Kind::Normal),
            ("b", -1.5, Kind::Normal),
            ("ab", -2.0, Kind::Normal),
            ("abab", -5.0, Kind::Normal),
            (".", 0.0, Kind::UserDefined),
            ("a.", -0.2, Kind::Normal),
        ]);
        assert_eq!(spelled(&unigram, "abab"), ["ab", "ab"]);
        assert_eq!(spelled(&unigram, "xyaz"), ["xy", "a", "z"]);
        // A user-defined symbol inside a longer piece is not forced: -0.2 beats -1.0 - 0.1.
        assert_eq!(spelled(&unigram, "a."), ["a."]);
        assert_eq!(spelled(&unigram, "b."), ["b", "."]);
        assert!(spelled(&unigram, "").is_empty());
    }

    #[test]
    fn models_without_what_encoding_needs_are_refused() {
        let piece = |text: &str, kind| Piece {
            text: text.to_owned(),
            score: -1.0,
            kind,
        };
        for pieces in [
            vec![piece("a", Kind::Normal)],
            vec![piece("<unk>", Kind::Unknown)],
            vec![piece("<unk>", Kind::Unknown), piece("<u>", Kind::Unknown)],
            vec![
                piece("<unk>", Kind::Unknown),
                piece("a", Kind::Normal),
                piece("a", Kind::Normal),
            ],
        ] {
            assert!(Unigram::new(&pieces).is_err(), "{pieces:?}");
        }
    }
}
