//! 1,000 random batchings and thread counts give each row the same bits.

use std::path::Path;

use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Outputs, Precision, What};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WHAT: What = What {
    hidden_states: false,
    last_hidden_state: true,
    pooled: true,
    head: true,
    masked_lm_positions: None,
    early_exit: None,
};

/// A golden checkpoint as an engine.
fn open(case: &str, precision: Precision, threads: usize) -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/engine")
        .join(case);
    let options = EngineOptions {
        threads: Some(threads),
        precision,
    };
    Engine::load(&Checkpoint::open(&folder).unwrap(), options).unwrap()
}

/// Everything that was computed of row `i`, as bits.
fn bits(outputs: &Outputs, i: usize) -> Vec<u32> {
    let rows = outputs.rows.len();
    let tokens = outputs.rows[rows - 1].end;
    let per_token = [&outputs.last_hidden_state, &outputs.masked_lm_logits]
        .into_iter()
        .flatten();
    let per_row = [&outputs.pooled, &outputs.sentence_order_logits]
        .into_iter()
        .flatten();
    let of_tokens = per_token.flat_map(|values| {
        let width = values.len() / tokens;
        &values[outputs.rows[i].start * width..outputs.rows[i].end * width]
    });
    let of_row = per_row.flat_map(|values| {
        let width = values.len() / rows;
        &values[i * width..][..width]
    });
    of_tokens
        .chain(of_row)
        .map(|value| value.to_bits())
        .collect()
}

#[test]
fn thousand_batchings() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    // Two models: one whose widths are off the kernels' tiles, one with all outputs.
    for (case, precision, trials) in [
        ("base_odd_tanh", Precision::F32, 400),
        ("pretraining", Precision::F32, 600),
        ("base_odd_tanh", Precision::Int8, 200),
        ("pretraining", Precision::Int8, 300),
    ] {
        let engines: Vec<Engine> = [1, 2, 3, 4, 7]
            .map(|threads| open(case, precision, threads))
            .into();
        let vocab = engines[0].config().vocab_size as u32;
        let rows: Vec<Vec<u32>> = (0..60)
            .map(|i| {
                let length = if i < 40 {
                    i + 1
                } else {
                    rng.random_range(1..=40)
                };
                (0..length).map(|_| rng.random_range(0..vocab)).collect()
            })
            .collect();
        let alone: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| {
                let mut batch = Batch::new();
                batch.push(row, None).unwrap();
                bits(&engines[0].forward(&batch, &WHAT).unwrap(), 0)
            })
            .collect();
        for _ in 0..trials {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.shuffle(&mut rng);
            order.truncate([1, 2, 3, 5, 8, 13, 40][rng.random_range(0..7)]);
            let mut batch = Batch::new();
            for i in &order {
                batch.push(&rows[*i], None).unwrap();
            }
            let engine = &engines[rng.random_range(0..engines.len())];
            let outputs = engine.forward(&batch, &WHAT).unwrap();
            for (place, i) in order.iter().enumerate() {
                assert!(
                    bits(&outputs, place) == alone[*i],
                    "{case}, {precision:?}: row {i} of {} tokens, at {place} of {order:?} on {} threads",
                    rows[*i].len(),
                    engine.threads()
                );
            }
        }
    }
}

/// The feed-forward part goes in blocks of tokens: batches across their edges too.
#[test]
fn large_batches() {
    let engine = open("pretraining", Precision::F32, 2);
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let rows: Vec<Vec<u32>> = (0..60)
        .map(|_| {
            (0..rng.random_range(1..=40))
                .map(|_| rng.random_range(0..97))
                .collect()
        })
        .collect();
    let mut batch = Batch::new();
    for row in &rows {
        batch.push(row, None).unwrap();
    }
    assert!(batch.tokens() > 1000);
    let together = engine.forward(&batch, &WHAT).unwrap();
    for (i, row) in rows.iter().enumerate() {
        let mut batch = Batch::new();
        batch.push(row, None).unwrap();
        let alone = engine.forward(&batch, &WHAT).unwrap();
        assert!(bits(&together, i) == bits(&alone, 0), "row {i}");
    }
}

/// Heads that look at few tokens have the last layer computed for these alone, to the same bits.
#[test]
fn tokens_that_no_head_looks_at_are_left_out() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let cases = [
        ("pretraining", Some(vec![3, 0, 17, 3])),
        ("pretraining", Some(vec![])),
        ("pretraining", None),
        ("masked_lm", Some(vec![5, 1])),
        ("masked_lm", Some(vec![])),
        ("sequence_classes3", None),
        ("multiple_choice", None),
        ("question", None),
        ("base_groups3_inner2", None),
    ];
    for precision in [Precision::F32, Precision::Int8] {
        for (case, positions) in cases.clone() {
            let engine = open(case, precision, 2);
            let mut batch = Batch::new();
            for length in [9, 1, 14] {
                let vocab = engine.config().vocab_size as u32;
                let ids: Vec<u32> = (0..length).map(|_| rng.random_range(0..vocab)).collect();
                batch.push(&ids, None).unwrap();
            }
            let mut what = What {
                head: true,
                pooled: true,
                masked_lm_positions: positions,
                ..What::default()
            };
            let few = engine.forward(&batch, &what).unwrap();
            what.last_hidden_state = true;
            let mut all = engine.forward(&batch, &what).unwrap();
            assert!(all.last_hidden_state.take().is_some() && few != Outputs::default());
            assert_eq!(few, all, "{case}, {precision:?}");
        }
    }
}

/// Forward passes at the same time do not touch each other's memory.
#[test]
fn concurrent_passes() {
    let engine = open("pretraining", Precision::F32, 2);
    let batch = |seed: u32| {
        let mut batch = Batch::new();
        let ids: Vec<u32> = (0..30).map(|i| (i * seed + seed) % 97).collect();
        batch.push(&ids, None).unwrap();
        batch
    };
    let expected: Vec<Vec<u32>> = (1..5)
        .map(|seed| bits(&engine.forward(&batch(seed), &WHAT).unwrap(), 0))
        .collect();
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let (engine, expected) = (&engine, &expected);
            scope.spawn(move || {
                for _ in 0..50 {
                    let outputs = engine.forward(&batch(seed), &WHAT).unwrap();
                    assert!(bits(&outputs, 0) == expected[seed as usize - 1]);
                }
            });
        }
    });
}
