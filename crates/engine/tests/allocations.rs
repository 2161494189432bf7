//! What a forward pass takes of memory once there was another as long.

use std::alloc::System;
use std::path::Path;

use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Precision, What};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for &length in lengths {
        batch.push(&vec![7; length], None).unwrap();
    }
    batch
}

#[test]
fn later_passes_take_memory_for_what_they_give_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/sentiment");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let hidden = checkpoint.config().hidden_size;
    let what = What {
        head: true,
        ..What::default()
    };
    for precision in [Precision::F32, Precision::Int8] {
        let options = EngineOptions {
            threads: Some(2),
            precision,
        };
        let engine = Engine::load(&checkpoint, options).unwrap();
        let run = |lengths: &[usize]| {
            let batch = batch(lengths);
            let region = Region::new(ALLOCATOR);
            engine.forward(&batch, &what).unwrap();
            region.change()
        };
        let first = run(&[512, 300, 200]).bytes_allocated;
        assert!(first > 4_000_000, "{first} bytes for a long batch's states");
        for lengths in [
            &[512, 300, 200][..],
            &[1; 40],
            &[3, 500, 80],
            &[64],
            &[200, 300, 512],
        ] {
            // A thread that had nothing to do before may still need memory of its own.
            let passes = (0..10).map(|_| run(lengths));
            let least = passes.min_by_key(|change| change.bytes_allocated).unwrap();
            // What the pooler reads and gives, and for each row its range and its logits.
            let bytes = lengths.len() * (2 * hidden * size_of::<f32>() + 64) + 1024;
            assert!(
                least.bytes_allocated <= bytes && least.allocations <= 12,
                "{precision:?}, {lengths:?}: {least:?}, where {bytes} bytes are enough"
            );
        }
    }
}
