//! Offsets of `spiece.model`: no reference has them, so they are proved by their properties.

mod common;
#[path = "common/spiece.rs"]
mod spiece;

use std::path::Path;

use albert_text::{Encoding, Tokenizer};
use proptest::prelude::*;

fn small() -> Tokenizer {
    Tokenizer::from_bytes(spiece::small_model(), Path::new("small.model")).unwrap()
}

/// The normalised characters of a text without spaces. Small sigma's two forms count as one: which it
/// takes hangs on the word around it.
fn visible(encoding: &Encoding) -> String {
    encoding
        .pieces()
        .concat()
        .replace('▁', "")
        .replace('ς', "σ")
}

/// Spans are in order and inside the text, and the text there normalises to the piece.
fn check(tokenizer: &Tokenizer, text: &str, parse_specials: bool) {
    let encoding = tokenizer.tokens(text, parse_specials).unwrap();
    let chars: Vec<char> = text.chars().collect();
    let pieces = encoding.pieces();
    let mut last = (0, 0);
    for (at, (&(start, end), piece)) in encoding.offsets.iter().zip(&pieces).enumerate() {
        assert!(
            start <= end && end <= chars.len(),
            "{text:?}: {start}..{end} of {}",
            chars.len()
        );
        assert!(
            last.0 <= start && last.1 <= end,
            "{text:?}: {last:?} before {start}..{end}"
        );
        // One character can give several pieces, such as a ligature; they share its span.
        let shared = |other: Option<&(usize, usize)>| {
            other.is_some_and(|&(from, to)| from < end && start < to)
        };
        let alone = !shared(at.checked_sub(1).and_then(|at| encoding.offsets.get(at)))
            && !shared(encoding.offsets.get(at + 1));
        assert!(alone || last == (start, end) || start < end, "{text:?}");
        let there: String = chars[start..end].iter().collect();
        let there = visible(&tokenizer.tokens(&there, parse_specials).unwrap());
        let piece = piece.replace('▁', "").replace('ς', "σ");
        if alone {
            assert_eq!(there, piece, "{text:?} at {start}..{end}");
        } else {
            assert!(
                there.contains(&piece),
                "{text:?} at {start}..{end}: {there:?} {piece:?}"
            );
        }
        last = (start, end);
    }
}

#[test]
fn spans_of_known_text() {
    let tokenizer = small();
    let spans = |text: &str| {
        let encoding = tokenizer.tokens(text, true).unwrap();
        let pieces: Vec<String> = encoding.pieces().iter().map(ToString::to_string).collect();
        pieces.into_iter().zip(encoding.offsets).collect::<Vec<_>>()
    };
    let wanted = |list: &[(&str, (usize, usize))]| {
        list.iter()
            .map(|&(piece, span)| (piece.to_owned(), span))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        spans(" the  World."),
        wanted(&[("▁the", (1, 4)), ("▁world", (6, 11)), (".", (11, 12))])
    );
    // A ligature's pieces share its place, a mark belongs to its letter, a doubled quote is one.
    assert_eq!(
        spans("a\u{301}b"),
        wanted(&[("▁", (0, 0)), ("a", (0, 2)), ("b", (2, 3))])
    );
    assert_eq!(
        spans("the ``\u{fb01}"),
        wanted(&[
            ("▁the", (0, 3)),
            ("▁", (3, 4)),
            ("\"", (4, 6)),
            ("fi", (6, 7))
        ]),
    );
    assert_eq!(
        spans("1, [MASK] zz"),
        wanted(&[
            ("▁1", (0, 1)),
            (",", (1, 2)),
            ("[MASK]", (3, 9)),
            ("▁", (10, 10)),
            ("zz", (10, 12))
        ]),
    );
    assert_eq!(
        spans("1,<UNK>"),
        wanted(&[("▁1", (0, 1)), (",", (1, 2)), ("<unk>", (2, 7))])
    );
}

/// Text full of what is hard: marks, ligatures, quotes, white space, control characters, scripts.
fn hard() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z]{1,4}".boxed(),
        2 => prop::sample::select(vec![
            " ", "  ", "\t", "\n", "\u{a0}", "\u{3000}", "\u{1d}", "\u{200b}", "▁", "``", "''", "'", "`",
            ".", ",", "1,", "2,000,", "\u{661},", "é", "e\u{301}", "\u{301}", "\u{fb01}", "\u{fb03}", "İ", "Σ",
            "\u{1d6ba}", "ß", "가", "\u{1100}\u{1161}", "日本", "\u{1f468}\u{200d}\u{1f469}", "\u{1f1e9}",
            "\u{feff}", "\u{ad}", "\0", "\u{7f}", "½", "\u{fdfa}", "…", "¨", "[MASK]", "[CLS]", "<pad>", "<UNK>",
            "–", "£", "ﾊﾞ", "\u{0344}",
        ]).prop_map(str::to_owned).boxed(),
        1 => "\\PC{1,3}".boxed(),
        1 => any::<char>().prop_map(String::from).boxed(),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn spans_of_a_small_model(text in hard(), parse_specials: bool) {
        check(&small(), &text, parse_specials);
    }

    #[test]
    fn spans_of_the_official_model(texts in prop::collection::vec(hard(), 20)) {
        let Some(data) = common::data() else { return Ok(()) };
        use std::sync::OnceLock;
        static OFFICIAL: OnceLock<Tokenizer> = OnceLock::new();
        let tokenizer = OFFICIAL.get_or_init(|| {
            Tokenizer::from_file(data.join("tokenizer/spiece.model")).unwrap()
        });
        for text in texts {
            check(tokenizer, &text, true);
            check(tokenizer, &text, false);
        }
    }
}

#[test]
fn spans_of_awkward_text_and_data() {
    let Some(data) = common::data() else { return };
    let tokenizer = Tokenizer::from_file(data.join("tokenizer/spiece.model")).unwrap();
    // A digit and its comma that are one character: both pieces have its place.
    let text = "sh\u{ad}\u{3000}\u{1f102}\u{2dc9}";
    check(&tokenizer, text, true);
    let encoding = tokenizer.tokens(text, true).unwrap();
    let shared = encoding.offsets.iter().filter(|&&span| span == (4, 5));
    assert_eq!(shared.count(), 2, "{:?}", encoding.offsets);
    for line in common::golden_lines("awkward.jsonl.zst") {
        if line.get("text").is_some() {
            check(&tokenizer, &common::line_text(&line), true);
        }
    }
    let files: serde_json::Value =
        serde_json::from_str(&common::text(&common::golden("data.json"))).unwrap();
    for entry in files.as_array().unwrap() {
        for text in common::picked(&data, entry).iter().step_by(10) {
            check(&tokenizer, text, true);
        }
    }
}
