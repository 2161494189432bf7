//! Times the forward and the backward pass of pretraining a preset on random ids.
//!
//! `cargo run --release -p albert-model --example passes -- [PRESET] [ROWS] [LENGTH] [f32|bf16]`

use std::time::{Duration, Instant};

use albert_checkpoint::AlbertConfig;
use albert_model::{AlbertForPreTraining, Cpu, Precision, PretrainBatch};

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
    let model = model.with_precision(precision);

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

    let mut best = [Duration::MAX; 3];
    for _ in 0..12 {
        let start = Instant::now();
        let output = model.forward(&batch, None)?;
        let loss: f32 = output.loss.clone().into_scalar();
        let forward = start.elapsed();
        let gradients = output.loss.backward();
        let whole = start.elapsed();
        drop(gradients);
        let times = [forward, whole - forward, whole];
        best = std::array::from_fn(|i| best[i].min(times[i]));
        println!("loss {loss:.4}, {whole:?}");
    }
    let [forward, backward, whole] = best.map(|time| time.as_secs_f64() * 1e3);
    let rate = (rows * length) as f64 / whole * 1e3;
    println!(
        "{preset}, {rows} x {length}: forward {forward:.1} ms, backward {backward:.1} ms, \
         {rate:.0} tokens/s"
    );
    Ok(())
}
