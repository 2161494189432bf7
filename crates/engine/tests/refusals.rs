//! What the engine refuses, and how it says so.

use std::path::Path;

use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Error, RowError, What};

fn engine() -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine/pretraining");
    Engine::load(
        &Checkpoint::open(&folder).unwrap(),
        EngineOptions::default(),
    )
    .unwrap()
}

fn message(rows: &[(&[u32], Option<&[u32]>)]) -> String {
    let mut batch = Batch::new();
    for (ids, types) in rows {
        batch.push(ids, *types).unwrap();
    }
    engine()
        .forward(&batch, &What::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn ids_and_types_the_model_does_not_have() {
    assert_eq!(
        message(&[(&[2, 3], None), (&[2, 5, 97], None)]),
        "row 1: position 2: id 97 is outside the vocabulary of 97 pieces"
    );
    assert_eq!(
        message(&[(&[2, 3], Some(&[0, 1])), (&[2, 5], Some(&[0, 2]))]),
        "row 1: position 1: type id 2 is outside the model's 2 types"
    );
    assert_eq!(
        message(&[(&[u32::MAX], None)]),
        "row 0: position 0: id 4294967295 is outside the vocabulary of 97 pieces"
    );
}

#[test]
fn rows_too_long_or_empty_or_uneven() {
    assert_eq!(
        message(&[(&[2; 40], None), (&[2; 41], None)]),
        "row 1: the row has 41 tokens, the model has positions for 40"
    );
    let mut batch = Batch::new();
    batch.push(&[2, 3], None).unwrap();
    assert!(matches!(
        batch.push(&[], None),
        Err(Error::Row {
            row: 1,
            source: RowError::Empty
        })
    ));
    let error = batch.push(&[2, 3], Some(&[0])).unwrap_err().to_string();
    assert_eq!(error, "row 1: the row has 2 ids but 1 type ids");
    assert_eq!(
        (batch.rows(), batch.tokens(), batch.row(0)),
        (1, 2, 0..2),
        "unchanged by errors"
    );
}

#[test]
fn positions_outside_the_batch_and_no_threads() {
    let mut batch = Batch::new();
    batch.push(&[2, 3], None).unwrap();
    let what = What {
        head: true,
        masked_lm_positions: Some(vec![1, 2]),
        ..What::default()
    };
    let error = engine().forward(&batch, &what).unwrap_err().to_string();
    assert_eq!(
        error,
        "masked-LM position 2 is outside the batch of 2 tokens"
    );

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine/base");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let Err(error) = Engine::load(
        &checkpoint,
        EngineOptions {
            threads: Some(0),
            ..EngineOptions::default()
        },
    ) else {
        panic!("an engine without threads");
    };
    assert_eq!(
        error.to_string(),
        "a thread pool needs at least one thread, 0 were asked for"
    );
}
