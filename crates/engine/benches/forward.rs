//! Forward passes at the base shape: 12 layers, hidden 768, random weights, fresh random ids each
//! time, every position of the last layer and the pooler's output.
//!
//! `cargo bench -p albert-engine --bench forward`; `bench/inference` has the same beside PyTorch and ONNX
//! Runtime.

use std::sync::LazyLock;

use albert_checkpoint::{DType, SaveTensor, save};
use albert_engine::{AlbertConfig, Batch, Checkpoint, Engine, EngineOptions, What};
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    divan::main();
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = AlbertConfig::preset("base").expect("the preset `base`");
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = config
        .parameters()
        .into_iter()
        .map(|spec| {
            let data = (0..spec.elements())
                .map(|_| rng.random_range(-0.04..0.04))
                .collect();
            (spec.name, spec.shape, data)
        })
        .collect();
    let views: Vec<SaveTensor<'_>> = tensors
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("base");
    save(&folder, &config, &views, DType::F32, &[]).expect("a checkpoint");
    let checkpoint = Checkpoint::open(&folder).expect("the checkpoint");
    Engine::load(&checkpoint, EngineOptions::default()).expect("an engine")
});

/// Rows and their length.
#[divan::bench(args = [(1, 16), (1, 128), (8, 128), (1, 384), (4, 384)], sample_count = 20)]
fn forward(bencher: Bencher<'_, '_>, (rows, length): (usize, usize)) {
    let engine = &*ENGINE;
    let vocab = engine.config().vocab_size as u32;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let what = What {
        last_hidden_state: true,
        pooled: true,
        ..What::default()
    };
    bencher
        .counter(ItemsCount::new(rows * length))
        .with_inputs(|| {
            let mut batch = Batch::new();
            for _ in 0..rows {
                let ids: Vec<u32> = (0..length).map(|_| rng.random_range(5..vocab)).collect();
                batch.push(&ids, None).expect("a row");
            }
            batch
        })
        .bench_local_values(|batch| engine.forward(&batch, &what).expect("a forward pass"));
}
