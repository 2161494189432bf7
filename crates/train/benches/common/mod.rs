//! A pretraining step on random ids, for the bench and for `examples/step.rs`.

use std::error::Error;

use albert_checkpoint::AlbertConfig;
use albert_model::{AlbertForPreTraining, Cpu, Precision, PretrainBatch};
use albert_train::optim::{AdamW, AdamWConfig, Gradients, Optimizer};
use albert_train::random::{Random, SplitMix64};

/// Rows before they are on the device.
pub struct Rows {
    ids: Vec<Vec<u32>>,
    types: Vec<Vec<u32>>,
    masked: Vec<(usize, usize, u32)>,
    order: Vec<u32>,
}

impl Rows {
    /// `rows` rows of `length` random ids, 15% of the positions masked.
    pub fn draw(vocab_size: usize, rows: usize, length: usize, random: &mut SplitMix64) -> Rows {
        let mut draw = |below: usize| random.below(below) as u32;
        let ids: Vec<Vec<u32>> = (0..rows)
            .map(|_| (0..length).map(|_| 5 + draw(vocab_size - 5)).collect())
            .collect();
        let masked = (0..rows * length * 15 / 100).map(|i| {
            let (row, position) = (i % rows, (i / rows) * 6 % length);
            (row, position, ids[row][position])
        });
        Rows {
            masked: masked.collect(),
            types: vec![vec![0; length]; rows],
            order: (0..rows).map(|_| draw(2)).collect(),
            ids,
        }
    }
}

/// A model and its optimiser between steps.
pub struct Trained {
    /// The model's shape.
    pub config: AlbertConfig,
    /// `None` only after a step that failed.
    model: Option<AlbertForPreTraining<Cpu>>,
    optimizer: AdamW<Cpu>,
}

impl Trained {
    /// Random weights of a preset's shape.
    pub fn new(preset: &str) -> Result<Trained, Box<dyn Error>> {
        let config = AlbertConfig::preset(preset).ok_or("no such preset")?;
        let model = AlbertForPreTraining::<Cpu>::init(&config, 0, &Default::default())?;
        Ok(Trained {
            config,
            model: Some(model),
            optimizer: AdamW::new(AdamWConfig::default()),
        })
    }

    /// One step: forward pass, both losses, backward pass, clipping, AdamW.
    pub fn step(&mut self, rows: &Rows, precision: Precision) -> Result<(), Box<dyn Error>> {
        let model = self.model.take().ok_or("the step before failed")?;
        let model = model.with_precision(precision);
        let Rows {
            ids,
            types,
            masked,
            order,
        } = rows;
        let batch = PretrainBatch::from_rows(ids, types, masked, order, &Default::default())?;
        let output = model.forward(&batch, None)?;
        let mut sum = Gradients::new();
        sum.add(&model, output.loss.backward());
        drop(output);
        let (mean, _norm) = sum.take_clipped(1.0)?;
        self.model = Some(self.optimizer.step(model, mean, 1e-5)?);
        Ok(())
    }
}
