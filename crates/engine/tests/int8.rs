//! What 8-bit integers in the layers cost in accuracy.

use std::path::Path;

use albert_checkpoint::LayerModule;
use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Precision, What};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The cosine of two vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The least cosine of a token's states in int8 with those in f32, over all layers.
fn least_cosine(checkpoint: &Checkpoint) -> f64 {
    let [exact, quantized] = [Precision::F32, Precision::Int8].map(|precision| {
        let options = EngineOptions {
            precision,
            ..EngineOptions::default()
        };
        let engine = Engine::load(checkpoint, options).unwrap();
        assert_eq!(engine.precision(), precision);
        engine
    });
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (vocab, longest) = (
        exact.config().vocab_size,
        exact.config().max_position_embeddings,
    );
    let mut batch = Batch::new();
    for length in [1, 5, 17, 40] {
        let draw = |_| rng.random_range(0..vocab as u32);
        let ids: Vec<u32> = (0..length.min(longest)).map(draw).collect();
        batch.push(&ids, None).unwrap();
    }
    let what = What {
        hidden_states: true,
        ..What::default()
    };
    let states = |engine: &Engine| engine.forward(&batch, &what).unwrap().hidden_states;
    let hidden = exact.config().hidden_size;
    let (exact, quantized) = (states(&exact), states(&quantized));
    let skipped = checkpoint.config().int8_skip_modules.len();
    let quantizes = skipped < LayerModule::ALL.len();
    assert_eq!(
        exact.last() != quantized.last(),
        quantizes,
        "{skipped} skipped"
    );
    let layers = exact.iter().zip(&quantized);
    let tokens = layers.flat_map(|(a, b)| a.chunks(hidden).zip(b.chunks(hidden)));
    tokens.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min)
}

#[test]
fn states_in_int8_point_where_those_in_f32_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Of a few dozen numbers a state, each rounding weighs more than of hundreds.
    for (folder, bound) in [
        ("golden/engine/base", 0.995),
        ("golden/engine/base_groups3_inner2", 0.995),
        ("models/mini", 0.999),
        ("models/sentiment", 0.999),
        ("models/nli", 0.999),
        ("models/qa", 0.999),
        ("models/intents", 0.999),
        ("models/sentences", 0.999),
        ("models/slots", 0.999),
    ] {
        let least = least_cosine(&Checkpoint::open(&root.join(folder)).unwrap());
        println!("{folder}: {least}");
        assert!(least >= bound, "{folder}: {least}");
    }
}

#[test]
fn what_is_skipped_is_as_exact_as_in_f32() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/engine/base");
    let mut checkpoint = Checkpoint::open(Path::new(golden)).unwrap();
    let whole = least_cosine(&checkpoint);
    for module in LayerModule::ALL {
        let others = LayerModule::ALL.map(|other| (other != module).then_some(other));
        let others: Vec<_> = others.into_iter().flatten().collect();
        checkpoint.skip_in_int8(&others);
        let alone = least_cosine(&checkpoint);
        assert!(
            whole < alone && alone < 1.0,
            "{module}: {alone}, all {whole}"
        );
    }
    checkpoint.skip_in_int8(&LayerModule::ALL);
    assert!(least_cosine(&checkpoint) > 1.0 - 1e-12);
}
