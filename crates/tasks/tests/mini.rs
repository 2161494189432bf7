//! The tasks over the model that ships.

use std::path::Path;
use std::sync::Arc;

use albert_tasks::engine::{Batch, Checkpoint, Engine, EngineOptions, What};
use albert_tasks::text::{EncodeOptions, Tokenizer};
use albert_tasks::{Error, FillMask, SentenceOrder, open, tokenizer_of};

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn mini() -> (Arc<Engine>, Arc<Tokenizer>) {
    open(&repository().join("models/mini"), EngineOptions::default()).unwrap()
}

#[test]
fn filling_is_the_softmax_of_the_masked_lm_head() {
    let (engine, tokenizer) = mini();
    let text = "The [MASK] was born in [MASK].";
    let encoding = tokenizer.encode(text, &EncodeOptions::default()).unwrap();
    let mut batch = Batch::new();
    batch.push(&encoding.ids, None).unwrap();
    let what = What {
        head: true,
        ..What::default()
    };
    let logits = engine
        .forward(&batch, &what)
        .unwrap()
        .masked_lm_logits
        .unwrap();
    let vocabulary = engine.config().vocab_size;

    let fill = FillMask::new(engine, tokenizer.clone()).unwrap();
    let answer = &fill.fill(&[text], 4).unwrap()[0];
    let masks = (0..encoding.ids.len()).filter(|&i| encoding.ids[i] == tokenizer.specials().mask);
    for (position, mask) in masks.zip(&answer.masks) {
        let row = &logits[position * vocabulary..(position + 1) * vocabulary];
        let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        for candidate in &mask.candidates {
            let expected = f64::from(row[candidate.id as usize]).exp() / total;
            // The probability is stored in 32 bits: a relative rounding of 6e-8.
            assert!((f64::from(candidate.probability) / expected - 1.0).abs() < 1e-6);
        }
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(row[mask.candidates[0].id as usize], best);
    }
    assert_eq!(answer.masks.len(), 2);
    assert_eq!(answer.masks[0].offsets, (4, 10));
}

#[test]
fn a_mask_is_filled_alike_in_whatever_list_of_texts_it_stands() {
    let (engine, tokenizer) = mini();
    let fill = FillMask::new(engine, tokenizer).unwrap();
    let texts = [
        "A [MASK].",
        "The river [MASK] through the old town.",
        "[MASK] [MASK] [MASK]",
    ];
    let together = fill.fill(&texts, 5).unwrap();
    for (text, answer) in texts.iter().zip(together) {
        assert_eq!(fill.fill(&[text], 5).unwrap()[0], answer);
    }
}

#[test]
fn masks_of_a_long_text_share_windows_and_keep_their_places() {
    let (engine, tokenizer) = mini();
    let fill = FillMask::new(engine, tokenizer).unwrap();
    let text = "the [MASK] of ".repeat(700);
    let answer = &fill.fill(&[&text], 1).unwrap()[0];
    assert!(answer.windowed);
    assert_eq!(answer.masks.len(), 700);
    for (number, mask) in answer.masks.iter().enumerate() {
        assert_eq!(mask.offsets, (14 * number + 4, 14 * number + 10));
    }
}

#[test]
fn judging_twice_gives_the_same_bits_and_special_pieces_are_plain_text() {
    let (engine, tokenizer) = mini();
    let order = SentenceOrder::new(engine, tokenizer).unwrap();
    let first = order.judge("He was born.", "He died.").unwrap();
    assert_eq!(first, order.judge("He was born.", "He died.").unwrap());
    assert!(matches!(
        order.judge("\u{200b} ", "He died."),
        Err(Error::BlankText(_))
    ));
    // Read as a separator it would leave the first text without pieces of its own.
    assert!(order.judge("[SEP]", "He died.").is_ok());
}

#[test]
fn folders_without_the_head_or_the_tokenizer_are_refused() {
    let golden = |case: &str| Checkpoint::open(&repository().join("golden/engine").join(case));
    let (_, tokenizer) = mini();
    let load = |case: &str| {
        Arc::new(Engine::load(&golden(case).unwrap(), EngineOptions::default()).unwrap())
    };
    let Err(error) = FillMask::new(load("question"), tokenizer.clone()) else {
        panic!("a question head fills no masks");
    };
    assert!(
        error.to_string().contains("AlbertForQuestionAnswering"),
        "{error}"
    );
    let Err(error) = SentenceOrder::new(load("masked_lm"), tokenizer) else {
        panic!("a masked-LM head judges no order");
    };
    assert!(error.to_string().contains("sentence-order"), "{error}");
    let error = tokenizer_of(&golden("base").unwrap()).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}
