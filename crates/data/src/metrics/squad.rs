//! Answers against answers, as SQuAD's official scripts score them (Rajpurkar et al. 2016, 2018).

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

/// A text as the scripts compare it: lower case, without ASCII punctuation, without the words
/// `a`, `an` and `the`, single spaces.
pub fn normalize_answer(text: &str) -> String {
    let lower = text.to_lowercase();
    let bare: String = lower
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    let mut kept = String::with_capacity(bare.len());
    let mut word = String::new();
    for character in bare.chars().chain(['\n']) {
        if is_word(character) {
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

/// Python's `\w` but for the underscore, which is punctuation: letters and numbers. What Rust calls
/// alphanumeric has vowel signs and circled letters besides.
fn is_word(character: char) -> bool {
    character.is_alphanumeric()
        && !is_combining_mark(character)
        && !matches!(character,
            '\u{24b6}'..='\u{24e9}'
            | '\u{1f130}'..='\u{1f149}'
            | '\u{1f150}'..='\u{1f169}'
            | '\u{1f170}'..='\u{1f189}')
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

/// The right answers that have words; where none has, as in SQuAD 2.0's questions without an answer,
/// an answer of no words is right.
fn with_words<'a>(right: &[&'a str]) -> Vec<&'a str> {
    let has_words = |answer: &&&str| !normalize_answer(answer).is_empty();
    let kept: Vec<&str> = right.iter().filter(has_words).copied().collect();
    if kept.is_empty() { vec![""] } else { kept }
}

/// 1 if the answer equals one of the right ones, else 0. Where nothing is right, as in SQuAD
/// 2.0's questions without an answer, an answer of no words is.
pub fn squad_exact(answer: &str, right: &[&str]) -> f64 {
    let normal = normalize_answer(answer);
    let right = with_words(right);
    f64::from(right.iter().any(|r| normalize_answer(r) == normal))
}

/// The greatest F1 of the answer's words against a right answer's; of texts without words 1 where
/// both are, else 0.
pub fn squad_f1(answer: &str, right: &[&str]) -> f64 {
    let right = with_words(right);
    right.iter().map(|r| f1(answer, r)).fold(0.0, f64::max)
}

/// SQuAD's official scripts, which differ in answers without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadScript {
    /// That of 1.1: such an answer equals another, and has an F1 of 0.
    V1,
    /// That of 2.0: [`squad_exact`] and [`squad_f1`].
    V2,
}

impl SquadScript {
    /// 1 if the answer equals one of the right ones, else 0.
    pub fn exact(self, answer: &str, right: &[&str]) -> f64 {
        let normal = normalize_answer(answer);
        match self {
            SquadScript::V1 => f64::from(right.iter().any(|r| normalize_answer(r) == normal)),
            SquadScript::V2 => squad_exact(answer, right),
        }
    }

    /// The greatest F1 of the answer's words against a right answer's.
    pub fn f1(self, answer: &str, right: &[&str]) -> f64 {
        match self {
            SquadScript::V1 if words(answer).is_empty() => 0.0,
            SquadScript::V1 | SquadScript::V2 => squad_f1(answer, right),
        }
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
    fn the_scripts_differ_in_answers_without_words() {
        let of = |script: SquadScript, answer, right: &[&str]| {
            (script.exact(answer, right), script.f1(answer, right))
        };
        for (answer, right, first, second) in [
            ("the", &["The", "an end"][..], (1.0, 0.0), (0.0, 0.0)),
            ("", &["a"], (1.0, 0.0), (1.0, 1.0)),
            ("end", &["a"], (0.0, 0.0), (0.0, 0.0)),
            ("the end", &["an end", "the"], (1.0, 1.0), (1.0, 1.0)),
        ] {
            assert_eq!(
                of(SquadScript::V1, answer, right),
                first,
                "{answer} {right:?}"
            );
            assert_eq!(
                of(SquadScript::V2, answer, right),
                second,
                "{answer} {right:?}"
            );
        }
    }

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
