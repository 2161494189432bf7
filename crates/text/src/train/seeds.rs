//! The candidates that training starts from.

use super::words::Corpus;

/// Collects candidates: every letter, and of the substrings of words those that occur most often
/// times their length. A substring that always stands inside the same longer one is left to that.
///
/// Returned with their counts, ascending by spelling.
pub(super) fn seeds(corpus: &Corpus, max_length: usize, seed_size: usize) -> Vec<(Vec<u32>, f64)> {
    let mut letters = vec![0_u64; corpus.alphabet.len()];
    // Every suffix of every word, sorted: equal substrings are neighbours.
    let mut suffixes: Vec<(u32, u8)> = Vec::new();
    for (index, (word, count)) in corpus.words.iter().enumerate() {
        for (at, &letter) in word.iter().enumerate() {
            letters[letter as usize] += count;
            suffixes.push((index as u32, at as u8));
        }
    }
    let suffix = |&(word, at): &(u32, u8)| {
        let rest = &corpus.words[word as usize].0[at as usize..];
        // One letter past the longest candidate tells whether that one stands inside a longer.
        &rest[..rest.len().min(max_length + 1)]
    };
    suffixes.sort_unstable_by(|a, b| suffix(a).cmp(suffix(b)).then(a.cmp(b)));

    let mut found = Vec::new();
    // Open substrings of the current suffix, from short to long: length and count so far. Only
    // lengths where neighbours part, or a word ends, are opened: the inner nodes of a suffix tree.
    let mut open: Vec<(usize, u64)> = Vec::new();
    for (at, here) in suffixes.iter().enumerate() {
        let text = suffix(here);
        let count = corpus.words[here.0 as usize].1;
        let next: &[u32] = suffixes.get(at + 1).map_or(&[], suffix);
        let common = text.iter().zip(next).take_while(|(a, b)| a == b).count();
        // This suffix itself is a candidate as a whole.
        match open.last_mut() {
            Some(last) if last.0 == text.len() => last.1 += count,
            _ => open.push((text.len(), count)),
        }
        while let Some(&(length, count)) = open.last() {
            if length <= common {
                break;
            }
            open.pop();
            if (2..=max_length).contains(&length) && count > 1 {
                found.push((count * length as u64, here.0, here.1, length as u8));
            }
            match open.last_mut() {
                Some(last) if last.0 >= common => last.1 += count,
                _ if common > 0 => open.push((common, count)),
                _ => {}
            }
        }
    }

    // Ties by spelling, so that the choice does not hang on the order of collection.
    let spelling = |&(_, word, at, length): &(u64, u32, u8, u8)| {
        &corpus.words[word as usize].0[at as usize..][..length as usize]
    };
    found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| spelling(a).cmp(spelling(b))));
    found.truncate(seed_size.saturating_sub(letters.len()));
    let mut seeds: Vec<(Vec<u32>, f64)> = found
        .iter()
        .map(|candidate| (spelling(candidate).to_vec(), candidate.0 as f64))
        .collect();
    seeds.extend(
        letters
            .iter()
            .zip(0..)
            .map(|(&count, letter)| (vec![letter], count as f64)),
    );
    seeds.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    seeds
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn counts_substrings_as_a_plain_count_does() {
        let words: HashMap<String, u64> = [
            ("banana", 3),
            ("ananas", 2),
            ("bandana", 1),
            ("nab", 5),
            ("b", 2),
        ]
        .map(|(word, count)| (word.to_owned(), count))
        .into();
        let mut plain: BTreeMap<String, u64> = BTreeMap::new();
        for (word, count) in &words {
            for from in 0..word.len() {
                for to in from + 1..=word.len() {
                    *plain.entry(word[from..to].to_owned()).or_default() += count;
                }
            }
        }
        let corpus = Corpus::new(words, 1.0);
        let seeds = seeds(&corpus, 4, 1000);
        assert!(seeds.len() > corpus.alphabet.len());
        for (piece, score) in &seeds {
            let piece = corpus.spell(piece);
            assert_eq!(
                *score,
                (plain[&piece] * piece.len() as u64) as f64,
                "{piece}"
            );
        }
        // What always stands in the same longer substring is left out; what does not, is not.
        let spelled: Vec<String> = seeds.iter().map(|(piece, _)| corpus.spell(piece)).collect();
        assert!(spelled.contains(&"ana".to_owned()) && spelled.contains(&"nab".to_owned()));
        assert!(
            !spelled.contains(&"dan".to_owned()),
            "dan always continues to dana"
        );
    }
}
