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

use albert_checkpoint::AlbertConfig;
use albert_model::{AlbertForPreTraining, Cpu, Precision, PretrainBatch};
use albert_train::optim::{AdamW, AdamWConfig, Gradients, Optimizer};
use albert_train::random::{Random, SplitMix64};

/// A model and its optimiser between steps.
struct Trained {
    config: AlbertConfig,
    model: AlbertForPreTraining<Cpu>,
    optimizer: AdamW<Cpu>,
}

impl Trained {
    fn new(preset: &str) -> Result<Self, Box<dyn Error>> {
        let config = AlbertConfig::preset(preset).ok_or("no such preset")?;
        let model = AlbertForPreTraining::<Cpu>::init(&config, 0, &Default::default())?;
        Ok(Self {
            config,
            model,
            optimizer: AdamW::new(AdamWConfig::default()),
        })
    }

    /// One step on fresh random ids with 15% of the positions masked; milliseconds.
    fn step(
        self,
        (rows, length): (usize, usize),
        precision: Precision,
        random: &mut SplitMix64,
    ) -> Result<(Self, f64), Box<dyn Error>> {
        let Self {
            config,
            model,
            mut optimizer,
        } = self;
        let mut draw = |below: usize| random.below(below);
        let mut ids = || 5 + draw(config.vocab_size - 5) as u32;
        let rows_of_ids: Vec<Vec<u32>> = (0..rows)
            .map(|_| (0..length).map(|_| ids()).collect())
            .collect();
        let masked: Vec<(usize, usize, u32)> = (0..rows * length * 15 / 100)
            .map(|i| {
                (
                    i % rows,
                    (i / rows) * 6 % length,
                    rows_of_ids[i % rows][(i / rows) * 6 % length],
                )
            })
            .collect();
        let types = vec![vec![0; length]; rows];
        let order: Vec<u32> = (0..rows).map(|_| draw(2) as u32).collect();

        let start = Instant::now();
        let model = model.with_precision(precision);
        let batch =
            PretrainBatch::from_rows(&rows_of_ids, &types, &masked, &order, &Default::default())?;
        let output = model.forward(&batch, None)?;
        let mut sum = Gradients::new();
        sum.add(&model, output.loss.backward());
        drop(output);
        let (mean, _norm) = sum.take_clipped(1.0);
        let model = optimizer.step(model, mean, 1e-5);
        let took = 1e3 * start.elapsed().as_secs_f64();
        Ok((
            Self {
                config,
                model,
                optimizer,
            },
            took,
        ))
    }
}

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
        let shape = (rows.parse()?, length.parse()?);
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
            let (next, took) = trained.step(shape, precision, &mut random)?;
            times.push(format!("{took:.3}"));
            trained = next;
        }
        models.insert(preset.to_owned(), trained);
        println!("{}", times.join(" "));
    }
    Ok(())
}
