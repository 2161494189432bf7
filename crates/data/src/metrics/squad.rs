//! Answers against answers, as SQuAD's official scripts score them (Rajpurkar et al. 2016, 2018).

use std::collections::HashMap;

/// A text as the scripts compare it: lower case, without ASCII punctuation, without the words
/// `a`, `an` and `the`, single spaces.
pub fn normalize_answer(text: &str) -> String {
    let lower = text.to_lowercase();
    let bare: String = lower
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    // The scripts take articles out between word boundaries: letters, digits and `_` make words,
    // and `_` went with the punctuation.
    let mut kept = String::with_capacity(bare.len());
    let mut word = String::new();
    for character in bare.chars().chain(['\n']) {
        if character.is_alphanumeric() || is_mark_of_word(character) {
            word.push(character);
            continue;
        }
        let article = matches!(word.as_str(), "a" | "an" | "the");
        kept.push_str(if article { " " } else { &word });
        kept.push(character);
        word.clear();
    }
    kept.split(is_python_space)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether Python's `\w` takes a character that Rust does not call alphanumeric: none that
/// matters beside an article, but for the underscore.
fn is_mark_of_word(character: char) -> bool {
    character == '_'
}

/// What Python's `str.split` splits at: Unicode white space and four separators of ASCII.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn words(text: &str) -> Vec<String> {
    let normal = normalize_answer(text);
    let words = normal.split(' ').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// 1 if the answer equals one of the right ones, else 0. Where nothing is right, as in SQuAD
/// 2.0's questions without an answer, an answer of no words is.
pub fn squad_exact(answer: &str, right: &[&str]) -> f64 {
    let normal = normalize_answer(answer);
    let hit = match right {
        [] => normal.is_empty(),
        right => right.iter().any(|r| normalize_answer(r) == normal),
    };
    f64::from(hit)
}

/// The greatest F1 of the answer's words against a right answer's.
pub fn squad_f1(answer: &str, right: &[&str]) -> f64 {
    match right {
        [] => squad_exact(answer, right),
        right => right.iter().map(|r| f1(answer, r)).fold(0.0, f64::max),
    }
}

fn f1(answer: &str, right: &str) -> f64 {
    let (answer, right) = (words(answer), words(right));
    if answer.is_empty() || right.is_empty() {
        return f64::from(answer == right);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &right {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for word in &answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let precision = f64::from(shared) / answer.len() as f64;
    let recall = f64::from(shared) / right.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// What was said to a question that may have no answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    /// [`squad_exact`] or [`squad_f1`] of the best answer.
    pub score: f64,
    /// How strongly the model finds that there is none.
    pub no_answer: f64,
    /// Whether there is one.
    pub has_answer: bool,
}

/// The best mean score that a threshold of `no_answer` gives, and the threshold: what exceeds it
/// counts as no answer. `find_best_thresh` of SQuAD 2.0's script; its starting threshold 0 is given
/// where answering nothing is best.
pub fn best_threshold(said: &[Answered]) -> (f64, f64) {
    let mut order: Vec<&Answered> = said.iter().collect();
    order.sort_by(|a, b| a.no_answer.total_cmp(&b.no_answer));
    let nothing: f64 = said.iter().map(|s| f64::from(!s.has_answer)).sum();
    let mut sum = nothing;
    let mut best = (sum, 0.0);
    for said in order {
        sum += match said.has_answer {
            true => said.score,
            // An empty answer was right.
            false => -1.0,
        };
        if sum > best.0 {
            best = (sum, said.no_answer);
        }
    }
    (best.0 / said.len().max(1) as f64, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_and_punctuation_do_not_count() {
        for (text, expected) in [
            ("The  U.S. Army!", "us army"),
            ("an apple a day", "apple day"),
            ("Theatre", "theatre"),
            ("the-end", "theend"),
            ("a\u{a0}b", "b"),
            ("", ""),
        ] {
            assert_eq!(normalize_answer(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_best_right_answer_counts() {
        let right = ["the Eiffel Tower", "Paris"];
        assert_eq!(squad_exact("Eiffel tower.", &right), 1.0);
        assert_eq!(squad_f1("tower", &right), 2.0 / 3.0);
        assert_eq!(squad_f1("Rome", &right), 0.0);
        // Nothing is right but saying nothing.
        assert_eq!((squad_f1("", &[]), squad_f1("Rome", &[])), (1.0, 0.0));
    }

    #[test]
    fn the_best_threshold_divides_answers_from_none() {
        let said = |no_answer, score, has_answer| Answered {
            score,
            no_answer,
            has_answer,
        };
        let all = [
            said(3.0, 0.0, false),
            said(-2.0, 1.0, true),
            said(1.0, 0.0, false),
            said(-1.0, 0.5, true),
        ];
        assert_eq!(best_threshold(&all), (3.5 / 4.0, -1.0));
        // Nothing but questions without an answer: answering nothing is best.
        let none = [said(-3.0, 0.0, false), said(1.0, 0.0, false)];
        assert_eq!(best_threshold(&none), (1.0, 0.0));
    }
}
