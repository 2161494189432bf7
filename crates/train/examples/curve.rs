//! Trains on batches from a file and prints each step's loss; `golden/train/curve.py` holds the
//! losses against PyTorch's.
//!
//! `cargo run --release -p albert-train --example curve -- CHECKPOINT BATCHES RATE`
//!
//! BATCHES is a safetensors file of 32-bit integers: `ids`, `types`, `labels` (-1 where nothing is
//! asked) `[steps, rows, length]` and `order` `[steps, rows]`.

use std::error::Error;
use std::path::Path;

use albert_checkpoint::Checkpoint;
use albert_model::{AlbertForPreTraining, Cpu, PretrainBatch};
use albert_train::optim::{AdamW, AdamWConfig, Gradients, Optimizer};
use safetensors::SafeTensors;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, batches, rate] = arguments.as_slice() else {
        return Err("usage: curve CHECKPOINT BATCHES RATE".into());
    };
    let rate: f64 = rate.parse()?;
    let bytes = std::fs::read(batches)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let integers = |name: &str| -> Result<(Vec<usize>, Vec<i32>), Box<dyn Error>> {
        let tensor = file.tensor(name)?;
        let (words, _) = tensor.data().as_chunks::<4>();
        let values = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
        Ok((tensor.shape().to_vec(), values))
    };
    let (shape, ids) = integers("ids")?;
    let (_, types) = integers("types")?;
    let (_, labels) = integers("labels")?;
    let (_, order) = integers("order")?;
    let [steps, rows, length] = shape[..] else {
        return Err("`ids` must be [steps, rows, length]".into());
    };

    let device = Default::default();
    let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
    let mut model = AlbertForPreTraining::<Cpu>::load(&checkpoint, &device)?;
    let mut optimizer = AdamW::<Cpu>::new(AdamWConfig::default());
    for step in 0..steps {
        let range = step * rows * length..(step + 1) * rows * length;
        let matrix = |values: &[i32]| -> Vec<Vec<u32>> {
            let row = |row: &[i32]| row.iter().map(|&id| id as u32).collect();
            values[range.clone()].chunks(length).map(row).collect()
        };
        let masked: Vec<(usize, usize, u32)> = labels[range.clone()]
            .iter()
            .enumerate()
            .filter(|(_, label)| **label >= 0)
            .map(|(i, &label)| (i / length, i % length, label as u32))
            .collect();
        let order: Vec<u32> = order[step * rows..(step + 1) * rows]
            .iter()
            .map(|&label| label as u32)
            .collect();
        let batch =
            PretrainBatch::from_rows(&matrix(&ids), &matrix(&types), &masked, &order, &device)?;
        let output = model.forward(&batch, None)?;
        println!("{}", output.loss.clone().inner().into_scalar());
        let mut gradients = Gradients::new();
        gradients.add(&model, output.loss.backward());
        let (gradients, _) = gradients.take_clipped(1.0)?;
        model = optimizer.step(model, gradients, rate)?;
    }
    Ok(())
}
