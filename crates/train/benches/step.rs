//! Pretraining steps on random ids: forward pass, both losses, backward pass, clipping, AdamW, in
//! positions a second (divan prints them as `item/s`).
//!
//! `cargo bench -p albert-train --bench step`; `bench/run-training` has the same beside PyTorch.

mod common;

use albert_model::Precision;
use albert_train::random::SplitMix64;
use common::{Rows, Trained};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Preset, rows and their length.
const SHAPES: [(&str, usize, usize); 2] = [("base", 8, 128), ("mini", 32, 64)];

#[divan::bench(args = SHAPES, sample_count = 5, sample_size = 1)]
fn f32(bencher: Bencher<'_, '_>, shape: (&str, usize, usize)) {
    step(bencher, shape, Precision::F32);
}

#[divan::bench(args = SHAPES, sample_count = 5, sample_size = 1)]
fn bf16(bencher: Bencher<'_, '_>, shape: (&str, usize, usize)) {
    step(bencher, shape, Precision::Bf16);
}

fn step(
    bencher: Bencher<'_, '_>,
    (preset, rows, length): (&str, usize, usize),
    precision: Precision,
) {
    let mut trained = Trained::new(preset).expect("a model");
    let vocab_size = trained.config.vocab_size;
    let mut random = SplitMix64::new(0);
    let mut draw = || Rows::draw(vocab_size, rows, length, &mut random);
    // The first step also makes the moments.
    trained.step(&draw(), precision).expect("a step");
    bencher
        .counter(ItemsCount::new(rows * length))
        .with_inputs(draw)
        .bench_local_values(|rows| trained.step(&rows, precision).expect("a step"));
}
