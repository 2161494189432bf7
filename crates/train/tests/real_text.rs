//! On real text: what is trained and what is scored leaks no order through lengths and cuts, and
//! `score` does what its protocol says. Needs `ALBERT_DATA`.

use std::collections::HashMap;
use std::path::PathBuf;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, DType};
use albert_model::{AlbertForPreTraining, Cpu};
use albert_tasks::engine::{Engine, EngineOptions};
use albert_text::Tokenizer;
use albert_train::corpus::{Corpus, Limits};
use albert_train::examples::{PairRules, SentenceTask, pair, plan};
use albert_train::random::{Purpose, stream};
use albert_train::vocabulary::Vocabulary;
use albert_train::{ScoreExample, ScoreOptions, score};

/// The folder of shared data, or `None` with a word on standard output.
fn data() -> Option<PathBuf> {
    let data = std::env::var_os("ALBERT_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: ALBERT_DATA is not set");
    }
    data
}

fn tokenizer(data: &std::path::Path) -> Tokenizer {
    Tokenizer::from_file(data.join("tokenizer/spiece.model")).expect("the official tokenizer")
}

/// A pair's looks in coarse steps: lengths, cuts, and whether a full stop ends either segment.
type Looks = [usize; 6];

fn looks(a: &[u32], b: &[u32], cut: bool, stop: u32) -> Looks {
    let ends = |segment: &[u32]| usize::from(segment.last() == Some(&stop));
    let coarse = |len: usize| len / 8;
    let longer = usize::from(a.len() > b.len()) + 2 * usize::from(a.len() < b.len());
    [
        coarse(a.len()),
        coarse(b.len()),
        longer,
        usize::from(cut),
        ends(a),
        ends(b),
    ]
}

/// How often the commoner order of the pairs that look alike, counted on every other pair, is
/// right on the rest; on the looks `keys` selects. As good as any classifier on so coarse features.
fn guessed(pairs: &[(Looks, bool)], keys: &[usize]) -> (f64, usize) {
    let half = |from: usize| pairs.iter().skip(from).step_by(2);
    let (train, test) = (half(0), half(1));
    let key = |looks: &Looks| -> Vec<usize> { keys.iter().map(|&i| looks[i]).collect() };
    let mut counts: HashMap<Vec<usize>, i64> = HashMap::new();
    for (looks, swapped) in train {
        *counts.entry(key(looks)).or_default() += if *swapped { 1 } else { -1 };
    }
    let guess = |looks: &Looks| counts.get(&key(looks)).copied().unwrap_or(0) > 0;
    let right = test
        .clone()
        .filter(|(looks, swapped)| guess(looks) == *swapped)
        .count();
    (right as f64 / test.len() as f64, test.len())
}

fn assert_no_leak(name: &str, pairs: &[(Looks, bool)]) {
    for keys in [
        &[0, 1, 2, 3, 4, 5][..],
        &[0],
        &[1],
        &[2],
        &[2, 3],
        &[0, 1],
        &[4, 5, 3],
    ] {
        let (right, n) = guessed(pairs, keys);
        println!("{name}: looks {keys:?} tell the order {right:.4} of the time, {n} pairs");
        // A fair coin is within 3.3 standard deviations but once in a thousand times.
        let bound = 3.3 * (0.25 / n as f64).sqrt();
        assert!(
            (right - 0.5).abs() < bound,
            "{name}: {keys:?}: {right} on {n} pairs"
        );
    }
}

#[test]
fn training_pairs_leak_no_order() {
    let Some(data) = data() else { return };
    let tokenizer = tokenizer(&data);
    let stop = tokenizer.piece_to_id(".").expect("the full stop");
    let vocabulary = Vocabulary::new(&tokenizer);
    for name in ["wikipedia", "wikinews", "books"] {
        let path = data.join(format!("pretrain/{name}.jsonl.zst"));
        let limits = Limits {
            max_documents: None,
            max_bytes: Some(4_000_000),
            drop_markup: true,
        };
        let corpus = Corpus::tokenise(&[path], &limits, &tokenizer, 2, &mut |_| Ok(()))
            .expect("a tokenised corpus");
        let documents: Vec<u32> = (0..corpus.documents() as u32).collect();
        for length in [64, 128] {
            let rules = PairRules {
                length,
                short_share: 0.1,
                both_orders: false,
                task: SentenceTask::Order,
            };
            let (mut pairs, mut cut, mut used) = (Vec::new(), 0, 0);
            let groups = plan(&corpus, &documents, &vocabulary, &rules, 1, 0);
            for group in &groups {
                let mut random = stream(1, Purpose::Example, 0, group.sentence.into());
                let pair = pair(&corpus, &vocabulary, group, &mut random);
                cut += usize::from(pair.cut);
                used += pair.a.len() + pair.b.len();
                pairs.push((looks(&pair.a, &pair.b, pair.cut, stop), pair.swapped));
            }
            let share = |part: usize, all: usize| part as f64 / all as f64;
            println!(
                "{name}, length {length}: {:.2} cut, {:.3} of the pieces used",
                share(cut, pairs.len()),
                share(used, corpus.pieces()),
            );
            assert_no_leak(&format!("{name}, length {length}"), &pairs);
        }
    }
}

#[test]
fn scored_pairs_follow_the_protocol_and_leak_no_order() {
    let Some(data) = data() else { return };
    let tokenizer = tokenizer(&data);
    let stop = tokenizer.piece_to_id(".").expect("the full stop");
    let home = tempfile::tempdir().expect("a temporary folder");

    // Which model scores does not matter here: the smallest.
    let mut config = AlbertConfig::preset("tiny").expect("the preset");
    config.architecture = Architecture::PreTraining;
    config.vocab_size = tokenizer.vocab_size();
    config.max_position_embeddings = 128;
    let model = AlbertForPreTraining::<Cpu>::init(&config, 0, &Default::default()).expect("init");
    model
        .save(home.path(), DType::F32, &[])
        .expect("a saved model");
    let checkpoint = Checkpoint::open(home.path()).expect("a checkpoint");
    let engine = Engine::load(&checkpoint, EngineOptions::default()).expect("an engine");

    let path = home.path().join("rows.jsonl");
    let options = ScoreOptions {
        limit: Some(60),
        examples: Some(path.clone()),
    };
    let corpus = data.join("pretrain/heldout.jsonl.zst");
    let score = score(&engine, &tokenizer, &corpus, &options, &mut |_| {}).expect("a score");
    let rows: Vec<ScoreExample> = std::fs::read_to_string(path)
        .expect("the rows")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();

    assert_eq!(score.documents, 60);
    assert_eq!(
        score.masked,
        rows.iter().map(|row| row.labels.len()).sum::<usize>()
    );
    // An untrained model guesses among all pieces alike: ln 30,000, give or take its small noise.
    assert!(
        (score.masked_lm_loss - 30_000f64.ln()).abs() < 0.1,
        "{}",
        score.masked_lm_loss
    );
    let bits = score.masked_bits_per_character;
    assert!(
        (2.0..6.0).contains(&bits),
        "some 3 to 5 characters a piece of 14.9 bits: {bits}"
    );

    let (mut words, mut masked_words) = (0, 0);
    let mut pairs = Vec::new();
    for row in &rows {
        assert!(row.input_ids.len() <= 128);
        let mut ids = row.input_ids.clone();
        for (&position, &label) in row.masked_positions.iter().zip(&row.labels) {
            assert_eq!(row.input_ids[position], 4, "every masked piece is [MASK]");
            ids[position] = label;
        }
        // Words of the text, and whether all or none of their pieces are masked.
        let mut previous = None;
        for (&id, &shown) in ids.iter().zip(&row.input_ids).skip(1) {
            if [2, 3].contains(&id) {
                previous = None;
                continue;
            }
            let hidden = shown == 4;
            if previous.is_none() || tokenizer.is_word_start(id) {
                words += 1;
                masked_words += usize::from(hidden);
            } else {
                assert_eq!(previous, Some(hidden), "a word is masked whole");
            }
            previous = Some(hidden);
        }
        if let Some(label) = row.sentence_order_label {
            let middle = ids.iter().position(|&id| id == 3).expect("a separator");
            let (a, b) = (&ids[1..middle], &ids[middle + 1..ids.len() - 1]);
            pairs.push((looks(a, b, false, stop), label == 1));
        }
    }
    assert_eq!(pairs.len(), score.pairs);
    let share = f64::from(masked_words as u32) / f64::from(words as u32);
    // Rounding to whole words in rows of some 100: within half a percent of 15%.
    assert!((share - 0.15).abs() < 0.005, "{share}");
    assert_no_leak("score", &pairs);
}
