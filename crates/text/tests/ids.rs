//! The encoder for much text gives the ids that encoding text by text gives.

mod common;
#[path = "common/spiece.rs"]
mod spiece;

use std::path::Path;

use albert_text::{IdEncoder, Tokenizer, sentences};
use proptest::prelude::*;

fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let mut all = vec![
        (
            "small",
            Tokenizer::from_bytes(spiece::small_model(), Path::new("small.model")).unwrap(),
        ),
        ("mini", Tokenizer::from_file(common::shipped()).unwrap()),
    ];
    if let Some(data) = common::data() {
        let official = Tokenizer::from_file(data.join("tokenizer/spiece.model")).unwrap();
        all.push(("official", official));
    }
    all
}

fn check(name: &str, tokenizer: &Tokenizer, encoder: &mut IdEncoder<'_>, text: &str) {
    let mut ids = vec![7];
    encoder.encode(text, &mut ids).unwrap();
    let expected = tokenizer.tokens(text, false).unwrap().ids;
    assert_eq!(ids[0], 7, "what was there stays");
    assert_eq!(ids[1..], expected, "{name}: {text:?}");
}

#[test]
fn awkward_texts_have_the_same_ids() {
    let long = "antidisestablishmentarianism".repeat(20);
    let texts = [
        "",
        " ",
        "   ",
        "a",
        " a ",
        "a  b",
        "the\tworld\nis  wide ",
        "[MASK] <pad>[SEP] <unk> [cls]",
        "2,000, 1,000,000, 3, x,",
        "``a'' ' ' '' '''' `` `",
        "Mr. O'Neil's",
        "\u{301}",
        "a \u{301} b",
        "e\u{301} \u{301}e",
        "¨ a ¨ b",
        "a\u{a0}b \u{a0} c",
        "\u{3000}x \u{200b}y",
        "▁ ▁▁ a▁b ▁",
        "日本語 テキスト 。",
        "ΑΣ 𝚺 ΑΣ. 𝚺𝚺",
        "ﬁ ﬂ ½ ²",
        "İstanbul",
        ".... ...... ,,,,,, ------",
        "aaaa aaaaa aaaaaa hahahaha 1111111 0000000000",
        "http://example.com/a/b?c=d&e=f",
        "\0 a\0b",
        "\u{feff}a",
        "🎉 🎉🎉 a🎉",
        "é è ê",
        &long,
    ];
    for (name, tokenizer) in tokenizers() {
        let mut encoder = IdEncoder::new(&tokenizer);
        // Twice: words met, then words remembered.
        for text in texts.iter().chain(&texts) {
            check(name, &tokenizer, &mut encoder, text);
        }
        check(name, &tokenizer, &mut encoder, &texts.join(" "));
        check(
            name,
            &tokenizer,
            &mut encoder,
            &"hahaha aaaaa .....x ".repeat(3_000),
        );
    }
}

#[test]
fn random_texts_have_the_same_ids() {
    let tokenizers = tokenizers();
    let mut encoders: Vec<IdEncoder<'_>> =
        tokenizers.iter().map(|(_, t)| IdEncoder::new(t)).collect();
    let texts = "([!-~]{0,6} |[a-dA-D ]|[a-z]{1,5} |[0-9,.]{1,6} |['`\"]|[aeΣσ\u{301}é¨\u{a0}▁½ﬁ] ?|\\PC|\\s){0,40}";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000));
    let encoders = std::cell::RefCell::new(&mut encoders);
    runner
        .run(&texts, |text| {
            for ((name, tokenizer), encoder) in
                tokenizers.iter().zip(encoders.borrow_mut().iter_mut())
            {
                check(name, tokenizer, encoder, &text);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn real_text_has_the_same_ids() {
    let Some(data) = common::data() else { return };
    let tokenizers = tokenizers();
    for file in ["wikipedia", "books"] {
        let path = data.join(format!("pretrain/{file}.jsonl.zst"));
        let mut reader = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
        let mut bytes = vec![0; 12_000_000];
        std::io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for (name, tokenizer) in &tokenizers {
            let mut encoder = IdEncoder::new(tokenizer);
            let mut seen = 0;
            for line in text.lines() {
                for sentence in sentences(line) {
                    check(name, tokenizer, &mut encoder, &line[sentence]);
                    seen += 1;
                }
            }
            assert!(seen > 10_000, "{file}: {seen} sentences");
        }
    }
}
