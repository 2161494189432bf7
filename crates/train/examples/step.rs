//! Times pretraining steps on random ids, on request, as `bench/peers/training.py` does.
//!
//! Reads lines `PRESET ROWS LENGTH PRECISION STEPS` (`f32` or `bf16`) and answers each with that
//! many times in milliseconds: forward pass, both losses, backward pass, clipping, AdamW.
//! `bench/run-training` runs it beside PyTorch; by hand:
//!
//! `echo mini 32 64 bf16 10 | cargo run --release -p albert-train --example step`

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use albert_model::Precision;
use albert_train::random::SplitMix64;

#[path = "../benches/common/mod.rs"]
mod common;

use common::{Rows, Trained};

fn main() -> Result<(), Box<dyn Error>> {
    let mut models: HashMap<String, Trained> = HashMap::new();
    let mut random = SplitMix64::new(0);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[preset, rows, length, precision, steps] = fields.as_slice() else {
            return Err("a line is PRESET ROWS LENGTH PRECISION STEPS".into());
        };
        let (rows, length) = (rows.parse()?, length.parse()?);
        let precision = match precision {
            "f32" => Precision::F32,
            "bf16" => Precision::Bf16,
            other => return Err(format!("unknown precision {other}").into()),
        };
        let mut trained = match models.remove(preset) {
            Some(trained) => trained,
            None => Trained::new(preset)?,
        };
        let mut times = Vec::new();
        for _ in 0..steps.parse::<usize>()? {
            let drawn = Rows::draw(trained.config.vocab_size, rows, length, &mut random);
            let start = Instant::now();
            trained.step(&drawn, precision)?;
            times.push(format!("{:.3}", 1e3 * start.elapsed().as_secs_f64()));
        }
        models.insert(preset.to_owned(), trained);
        println!("{}", times.join(" "));
    }
    Ok(())
}
