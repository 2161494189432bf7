//! Serves timings of the forward pass to `bench/comparison`.
//!
//! `latency FOLDER [THREADS [f32|int8]]` loads the ALBERT in FOLDER and prints `ready`. It then reads lines
//! `BATCH LENGTH ITERATIONS` and answers each with that many times in milliseconds: one forward
//! pass each, on fresh random ids, every position of the last layer and the pooler's output.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Precision, What};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args
        .next()
        .ok_or("usage: latency FOLDER [THREADS [f32|int8]]")?;
    let threads = args.next().map(|threads| threads.parse()).transpose()?;
    let precision = match args.next().as_deref() {
        None | Some("f32") => Precision::F32,
        Some("int8") => Precision::Int8,
        Some(other) => return Err(format!("`{other}` is neither f32 nor int8").into()),
    };
    let engine = Engine::load(
        &Checkpoint::open(Path::new(&folder))?,
        EngineOptions { threads, precision },
    )?;
    let vocab = u32::try_from(engine.config().vocab_size)?;
    let what = What {
        last_hidden_state: true,
        pooled: true,
        ..What::default()
    };

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let numbers: Vec<usize> = line?
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [rows, length, iterations] = numbers[..] else {
            return Err("a request is BATCH LENGTH ITERATIONS".into());
        };
        let mut times = Vec::new();
        for _ in 0..iterations {
            let mut batch = Batch::new();
            for _ in 0..rows {
                let ids: Vec<u32> = (0..length).map(|_| rng.random_range(5..vocab)).collect();
                batch.push(&ids, None)?;
            }
            let start = Instant::now();
            std::hint::black_box(engine.forward(&batch, &what)?);
            times.push(format!("{:.4}", start.elapsed().as_secs_f64() * 1e3));
        }
        writeln!(out, "{}", times.join(" "))?;
        out.flush()?;
    }
    Ok(())
}
