//! Times one pretraining step of a preset on random ids: forward, backward, optimiser.
//!
//! `cargo run --release -p albert-model --example step -- [PRESET] [ROWS] [LENGTH] [f32|bf16]`

use std::time::{Duration, Instant};

use albert_checkpoint::AlbertConfig;
use albert_model::{AlbertForPreTraining, Cpu, Precision, PretrainBatch};

#[path = "../../train/src/optim/mod.rs"]
mod optim;
use optim::{Gradients, Lamb, LambConfig, Optimizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize, default: &str| {
        let given = arguments.get(index).cloned();
        given.unwrap_or_else(|| default.to_owned())
    };
    let preset = text(0, "mini");
    let (rows, length): (usize, usize) = (text(1, "32").parse()?, text(2, "64").parse()?);
    let config = AlbertConfig::preset(&preset).ok_or("no such preset")?;
    let device = Default::default();
    let precision = match text(3, "f32").as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("unknown precision {other}").into()),
    };
    let model = AlbertForPreTraining::<Cpu>::init(&config, 0, &device)?;
    let mut model = model.with_precision(precision);
    let mut optimizer = Lamb::new(LambConfig::default());

    let mut state = 1_u32;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below as u32
    };
    let ids: Vec<Vec<u32>> = (0..rows)
        .map(|_| (0..length).map(|_| draw(config.vocab_size)).collect())
        .collect();
    let types = vec![vec![0; length]; rows];
    let masked: Vec<(usize, usize, u32)> = (0..rows * length * 15 / 100)
        .map(|i| (i % rows, (i / rows) * 6 % length, draw(config.vocab_size)))
        .collect();
    let order: Vec<u32> = (0..rows).map(|_| draw(2)).collect();
    let batch = PretrainBatch::from_rows(&ids, &types, &masked, &order, &device)?;

    let mut best = [Duration::MAX; 4];
    for step in 0..12 {
        let start = Instant::now();
        let output = model.forward(&batch, None)?;
        let loss: f32 = output.loss.clone().into_scalar();
        let forward = start.elapsed();
        let gradients = output.loss.backward();
        let backward = start.elapsed();
        let mut sum = Gradients::new();
        sum.add(&model, gradients);
        drop((output.masked_lm_logits, output.order_logits, output.masked_lm_loss, output.order_loss));
        let (mean, norm) = sum.take_clipped(1.0);
        model = optimizer.step(model, mean, 1e-3);
        let whole = start.elapsed();
        let times = [forward, backward - forward, whole - backward, whole];
        best = std::array::from_fn(|i| best[i].min(times[i]));
        println!("step {step}: {whole:?}, loss {loss:.4}, gradient norm {norm:.3}");
    }
    let [forward, backward, optimizer, whole] = best.map(|time| time.as_secs_f64() * 1e3);
    println!("best, ms: forward {forward:.1}, backward {backward:.1}, optimiser {optimizer:.1}");
    let rate = (rows * length) as f64 / whole * 1e3;
    println!("{preset}, {rows} x {length}: {whole:.1} ms a step, {rate:.0} tokens/s");
    Ok(())
}
