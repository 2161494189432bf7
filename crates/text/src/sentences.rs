//! Sentence boundaries in prose, by rules.

use std::ops::Range;

/// Marks that end a sentence when white space follows.
const STOPS: &[char] = &['.', '!', '?', '…', '‽'];

/// Marks that end a sentence whatever follows, in scripts without spaces between words.
const FULL_WIDTH_STOPS: &[char] = &['。', '！', '？', '｡'];

/// Marks that may stand between a stop and the space, and belong to the sentence before.
const CLOSERS: &[char] = &['"', '\'', '”', '’', '»', ')', ']', '}', '」', '』', '）'];

/// Marks that may open the next sentence before its first word.
const OPENERS: &[char] = &[
    '"', '\'', '“', '‘', '„', '«', '(', '[', '{', '¿', '¡', '—', '–', '-', '*', '_',
];

/// Abbreviations that a name or a number follows: their full stop never ends a sentence.
const BEFORE_NAMES: &[&str] = &[
    "adm", "approx", "brig", "ca", "capt", "cf", "cmdr", "col", "cpl", "det", "dr", "fig", "figs",
    "fr", "gen", "gov", "hon", "insp", "lieut", "lt", "ltc", "maj", "messrs", "mlle", "mme", "mr",
    "mrs", "ms", "mt", "nos", "pp", "pres", "prof", "pvt", "rep", "rev", "sec", "sen", "sgt",
    "supt", "v", "viz", "vol", "vols", "vs",
];

/// Abbreviations that may end a sentence: they do where a word follows that seldom is a name.
const ANYWHERE: &[&str] = &[
    "al", "apr", "assn", "aug", "ave", "blvd", "bros", "co", "corp", "dec", "dept", "dist", "ed",
    "eds", "esp", "est", "etc", "feb", "ft", "inc", "jan", "jr", "jul", "jun", "lb", "lbs", "ltd",
    "mar", "misc", "mfg", "nov", "oct", "op", "oz", "rd", "sep", "sept", "sr", "st", "ste", "univ",
];

/// Abbreviations only where a number follows.
const BEFORE_NUMBERS: &[&str] = &[
    "art", "c", "ch", "chap", "ff", "no", "p", "par", "pt", "sect", "ver",
];

/// Dotted abbreviations that never end a sentence.
const DOTTED: &[&str] = &["e.g", "i.e", "c.f", "v.s"];

/// Words that open a sentence far more often than they are names.
const STARTERS: &[&str] = &[
    "a",
    "according",
    "after",
    "all",
    "also",
    "although",
    "among",
    "an",
    "and",
    "another",
    "as",
    "at",
    "because",
    "before",
    "both",
    "but",
    "by",
    "despite",
    "during",
    "each",
    "even",
    "finally",
    "following",
    "for",
    "from",
    "furthermore",
    "he",
    "her",
    "here",
    "his",
    "how",
    "however",
    "if",
    "in",
    "indeed",
    "instead",
    "it",
    "its",
    "later",
    "many",
    "meanwhile",
    "more",
    "moreover",
    "most",
    "my",
    "nevertheless",
    "no",
    "not",
    "now",
    "of",
    "on",
    "once",
    "one",
    "other",
    "others",
    "our",
    "over",
    "several",
    "she",
    "since",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "then",
    "there",
    "therefore",
    "these",
    "they",
    "this",
    "those",
    "though",
    "through",
    "thus",
    "to",
    "today",
    "two",
    "under",
    "unlike",
    "until",
    "we",
    "what",
    "when",
    "where",
    "whereas",
    "which",
    "while",
    "who",
    "why",
    "with",
    "within",
    "without",
    "yet",
    "you",
    "your",
];

/// The longest word that is looked at before a full stop, in bytes: beyond it there is no
/// abbreviation, and the bound keeps the whole linear.
const WORD_BYTES: usize = 48;

/// Splits text into sentences: byte ranges in order, without the white space between them.
///
/// Rules for English prose as in Wikipedia, news and books: a stop, closing quotes and brackets, then
/// white space and a word that is not in lower case. Full stops of titles (`Mr.`), initials
/// (`J. R. R. Tolkien`), dotted abbreviations (`U.S.`, `e.g.`), and numbers before an item do not
/// end a sentence, unless what follows says so (`the U.S. The`). A blank line always does; a single
/// line break counts as a space. Time is linear in the length of the text.
///
/// ```
/// let text = "Dr. J. Smith paid $3.50 (approx.) in the U.S. on Jan. 5. \"Why?\" he asked.";
/// let sentences: Vec<_> = albert_text::sentences(text).into_iter().map(|s| &text[s]).collect();
/// assert_eq!(
///     sentences,
///     ["Dr. J. Smith paid $3.50 (approx.) in the U.S. on Jan. 5.", "\"Why?\" he asked."],
/// );
/// ```
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = skip(text, 0, char::is_whitespace);
    let mut at = start;
    while let Some(c) = text[at..].chars().next() {
        let next = at + c.len_utf8();
        if c.is_whitespace() {
            let gap = skip(text, at, char::is_whitespace);
            if text[at..gap].bytes().filter(|&byte| byte == b'\n').count() > 1 {
                close(&mut found, start, at);
                start = gap;
            }
            at = gap;
        } else if FULL_WIDTH_STOPS.contains(&c) {
            let end = skip(text, next, |c| {
                FULL_WIDTH_STOPS.contains(&c) || CLOSERS.contains(&c)
            });
            close(&mut found, start, end);
            start = skip(text, end, char::is_whitespace);
            at = start;
        } else if STOPS.contains(&c) {
            let stops = skip(text, at, |c| STOPS.contains(&c));
            let end = skip_references(text, skip(text, stops, |c| CLOSERS.contains(&c)));
            let gap = skip(text, end, char::is_whitespace);
            let ends = gap > end && gap < text.len() && {
                let single = &text[at..stops] == ".";
                ends_sentence(&text[start..at], single, &text[gap..])
            };
            if ends {
                close(&mut found, start, end);
                start = gap;
                at = gap;
            } else {
                at = end;
            }
        } else {
            at = next;
        }
    }
    close(&mut found, start, text.trim_end().len());
    found
}

/// Adds `start..end` unless it is empty.
fn close(found: &mut Vec<Range<usize>>, start: usize, end: usize) {
    if start < end {
        found.push(start..end);
    }
}

/// The first place from `at` on where `passed` does not hold.
fn skip(text: &str, at: usize, passed: impl Fn(char) -> bool) -> usize {
    text[at..]
        .find(|c| !passed(c))
        .map_or(text.len(), |length| at + length)
}

/// Passes over note numbers such as `[12]`.
fn skip_references(text: &str, mut at: usize) -> usize {
    while let Some(rest) = text[at..].strip_prefix('[') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 4 || rest.as_bytes().get(digits) != Some(&b']') {
            break;
        }
        at += digits + 2;
    }
    at
}

/// Whether a sentence ends between `before` (without its stop) and `after`, which follows white
/// space. `single` says that the stop is one full stop.
fn ends_sentence(before: &str, single: bool, after: &str) -> bool {
    let opening = after.trim_start_matches(OPENERS);
    let Some(first) = opening.chars().next() else {
        return true;
    };
    if first.is_lowercase() {
        return false;
    }
    if !single {
        return true;
    }
    let word = last_word(before);
    if word.is_empty() {
        return true;
    }
    let number = first.is_ascii_digit();
    let starter = || {
        let length = opening
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(opening.len());
        is_in(STARTERS, &opening[..length])
    };
    // From the word backwards: from the front, every stop would go over a long run of openers again.
    let in_front = &before[..before.len() - word.len()];
    if in_front.trim_end_matches(OPENERS).is_empty()
        && (word.bytes().all(|byte| byte.is_ascii_digit()) || word.len() == 1)
    {
        // The number of an item, or an initial that opens the sentence.
        return false;
    }
    let mut letters = word.chars();
    if let (Some(letter), None) = (letters.next(), letters.next())
        && letter.is_uppercase()
    {
        // An initial; or the end of `he and I`, or of `World War I. The`.
        let previous = || last_word(before[..before.len() - letter.len_utf8()].trim_end());
        return (letter == 'I' && previous().chars().all(char::is_lowercase)) || starter();
    }
    if word.contains('.') && is_dotted(word) {
        return !is_in(DOTTED, word) && starter();
    }
    if is_in(BEFORE_NAMES, word) {
        return false;
    }
    if is_in(ANYWHERE, word) {
        return starter();
    }
    !(number && is_in(BEFORE_NUMBERS, word))
}

/// The letters, digits and inner full stops at the end of `text`.
fn last_word(text: &str) -> &str {
    let mut from = text.len().saturating_sub(WORD_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = &text[from..];
    let start = tail
        .char_indices()
        .rev()
        .find(|(_, c)| !(c.is_alphanumeric() || *c == '.'))
        .map_or(0, |(at, c)| at + c.len_utf8());
    tail[start..].trim_start_matches('.')
}

/// Whether a word is one or two letters, a full stop, and so on: `U.S`, `p.m`, `Ph.D`.
fn is_dotted(word: &str) -> bool {
    word.split('.').all(|part| {
        (1..=2).contains(&part.chars().count()) && part.chars().all(char::is_alphabetic)
    })
}

/// Whether a lower-case list has the word, whatever its case.
fn is_in(list: &[&str], word: &str) -> bool {
    word.len() <= WORD_BYTES && list.contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks that the text splits where `|` stands.
    fn check(marked: &str) {
        let wanted: Vec<&str> = marked.split('|').collect();
        let text = wanted.join(" ");
        let found: Vec<&str> = sentences(&text)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn plain_prose() {
        check("One sentence.|Another one!|A third?|And the last");
        check("It rained...|Then it stopped.");
        check("Wait... for it.");
        check("Was it?!|Yes, it was!!!|Good.");
        check("In 1990.|1991 was better.");
    }

    #[test]
    fn titles_and_initials() {
        check("Mr. Smith met Mrs. Jones.|Dr. Who came.");
        check("J. R. R. Tolkien wrote it.|George W. Bush did not.");
        check("T. S. Eliot was born in St. Louis.|He left.");
        check("It was Samuel L. Jackson.|He played it.");
        check("Lt. Col. Brown and Gen. Grant spoke.|Prof. X listened.");
        check("She and I. Nobody else.".replacen(". N", ".|N", 1).as_str());
        check("He fought in World War I.|The war ended.");
        check("Martin Luther King Jr. spoke.|Sammy Davis Jr.|He sang.");
    }

    #[test]
    fn dotted_abbreviations() {
        check("He moved to the U.S. in 1990.|She stayed in the U.K. for a year.");
        check("He moved to the U.S.|The move was hard.");
        check("The U.S. Army came at 5 p.m.|It left at 6 a.m. Tuesday.");
        check("Some fruit, e.g. Apples, i.e. Malus, is good.|So is tea.");
        check("She has a Ph.D. from Yale.|He has none.");
        check("Washington, D.C. is a city.|So is Rome.");
    }

    #[test]
    fn other_abbreviations() {
        check("See vol. 3, pp. 12 and Fig. 4 for more.|No. 5 is here.");
        check("Apple Inc. Chief Tim Cook spoke.|Apple Inc.|The company grew.");
        check("Apples, pears, etc. are fruit.|Smith et al. Found nothing.");
        check(
            "Roe v. Wade and Brown vs. Board were heard on Jan. 5.|It ended in Dec.|It was over.",
        );
        check("He said no.|Nobody heard it.");
        check("It was built c. 1900.|It burned.");
    }

    #[test]
    fn numbers_and_addresses() {
        check("Pi is 3.14 and e is 2.72.|Both are irrational.");
        check("Go to example.com. Now".replacen(". N", ".|N", 1).as_str());
        check("It cost $5.|He paid.");
        check("1. First item.|2. Second item.");
        check("It has 1,000 people.|In 2000, 900.");
    }

    #[test]
    fn quotes_and_brackets() {
        check("\"Go away.\"|He went.");
        check("\"Why?\" he asked.|“Because.”|She left.");
        check("(It was late.)|He slept.|[He did.]|So be it.");
        check("He was late (approx. 5 min.) again.|“Again!”|‘Yes.’");
        check("It is true.[1]|It is false.[2][13]|It is.");
        check("He said 'no.'|Then he left.");
    }

    #[test]
    fn other_scripts_and_blank_lines() {
        let text = "今日は雨です。明日は？「はい。」Text.";
        let found: Vec<&str> = sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["今日は雨です。", "明日は？", "「はい。」", "Text."]);
        let text = "A heading\n\nA line that\nis broken. Next\n \n\n";
        let found: Vec<&str> = sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["A heading", "A line that\nis broken.", "Next"]);
    }

    #[test]
    fn nothing_and_blanks_have_no_sentences() {
        for text in ["", " ", "\n\n\t\u{3000}"] {
            assert!(sentences(text).is_empty(), "{text:?}");
        }
        assert_eq!(sentences(".").first(), Some(&(0..1)));
    }

    #[test]
    fn a_million_stops_take_no_time() {
        let openers = "-".repeat(500_000);
        for unit in [
            ". ",
            "A. ",
            "(",
            "\" ",
            "[1]",
            ".(",
            "Mr. ",
            "…\n",
            "e.g.",
            ". \u{301}",
        ] {
            let stops = unit.repeat(1_000_000 / unit.len());
            // Also as one sentence that opens with a long run of marks, if it is one.
            for text in [&stops, &[&openers, " ", &stops].concat()] {
                let start = std::time::Instant::now();
                assert!(!sentences(text).is_empty());
                // Quadratic behaviour would take minutes; the bound only has to tell it apart.
                assert!(
                    start.elapsed().as_secs() < 5,
                    "{unit:?}: {:?}",
                    start.elapsed()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn sentences_cover_all_but_white_space(text in "([a-zA-Z.!?\"'()\\[\\]0-9 \n。é\u{301}]|\\PC|\\s){0,80}") {
            let mut at = 0;
            for range in sentences(&text) {
                prop_assert!(text[at..range.start].trim().is_empty());
                prop_assert!(!range.is_empty());
                let sentence = &text[range.clone()];
                prop_assert_eq!(sentence.trim(), sentence);
                at = range.end;
            }
            prop_assert!(text[at..].trim().is_empty());
        }
    }
}
