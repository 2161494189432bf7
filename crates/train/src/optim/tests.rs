//! Ten steps of loss against PyTorch in float64 (`golden/model`), and resuming.

use std::path::{Path, PathBuf};
// The tests mix errors.
use std::result::Result;

use albert_checkpoint::Checkpoint;
use albert_model::{AlbertForPreTraining, Cpu, PretrainBatch};
use serde_json::Value;

use super::state::{Flat, Slot};
use super::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/model")
        .join(part)
}

fn json(part: &str) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&std::fs::read(golden(part))?)?)
}

fn model() -> Result<AlbertForPreTraining<Cpu>, Box<dyn std::error::Error>> {
    let checkpoint = Checkpoint::open(&golden("pretraining"))?;
    Ok(AlbertForPreTraining::load(
        &checkpoint,
        &Default::default(),
    )?)
}

pub(crate) fn batch() -> Result<PretrainBatch<Cpu>, Box<dyn std::error::Error>> {
    let json = json("batch.json")?;
    let rows = |name: &str| serde_json::from_value::<Vec<Vec<u32>>>(json[name].clone());
    let masked: Vec<(usize, usize, u32)> = serde_json::from_value(json["masked"].clone())?;
    let order: Vec<u32> = serde_json::from_value(json["order"].clone())?;
    let (ids, types) = (rows("ids")?, rows("type_ids")?);
    let device = Default::default();
    Ok(PretrainBatch::from_rows(
        &ids, &types, &masked, &order, &device,
    )?)
}

/// One step; returns the model, both losses and the gradient's norm before it.
fn step<O: Optimizer<Cpu>>(
    model: AlbertForPreTraining<Cpu>,
    optimizer: &mut O,
    batch: &PretrainBatch<Cpu>,
    learning_rate: f64,
) -> Result<(AlbertForPreTraining<Cpu>, [f64; 3]), Box<dyn std::error::Error>> {
    let output = model.forward(batch, None)?;
    let masked_lm: f32 = output.masked_lm_loss.into_scalar();
    let order: f32 = output.order_loss.into_scalar();
    let mut gradients = Gradients::new();
    gradients.add(&model, output.loss.backward());
    let (mean, norm) = gradients.take_clipped(1.0)?;
    let model = optimizer.step(model, mean, learning_rate)?;
    Ok((model, [masked_lm.into(), order.into(), norm]))
}

fn ten_steps(name: &str, mut optimizer: impl Optimizer<Cpu>) -> TestResult {
    let expected = json("steps.json")?;
    let learning_rate = expected["learning_rates"][name].as_f64().ok_or("a rate")?;
    // Both rules divide a gradient by its own size, so that elements near 0 step by their
    // rounding. PyTorch's own f32 so leaves float64 by shares of up to 3.9e-6 (`pytorch_f32` in
    // the file); the order of our sums is another, which allows as much again and a little more.
    let tolerance = 1e-5;
    let mut model = model()?;
    let batch = batch()?;
    for (index, expected) in expected[name].as_array().ok_or("steps")?.iter().enumerate() {
        let (next, found) = step(model, &mut optimizer, &batch, learning_rate)?;
        model = next;
        for (key, found) in ["masked_lm", "order", "norm"].into_iter().zip(found) {
            let expected = expected[key].as_f64().ok_or(key)?;
            let share = (found - expected).abs() / expected;
            assert!(
                share <= tolerance,
                "{name} {index} {key}: {found}, not {expected}: {share}"
            );
        }
    }
    Ok(())
}

#[test]
fn lamb_follows_googles_formula() -> TestResult {
    ten_steps("lamb", Lamb::new(LambConfig::default()))
}

#[test]
fn adamw_follows_pytorch() -> TestResult {
    ten_steps("adamw", AdamW::new(AdamWConfig::default()))
}

fn resumes<O: Optimizer<Cpu>>(fresh: impl Fn() -> O) -> TestResult {
    let batch = batch()?;
    let mut straight = (model()?, fresh());
    for _ in 0..3 {
        straight.0 = step(straight.0, &mut straight.1, &batch, 0.01)?.0;
    }
    let mut resumed = fresh();
    resumed.restore(straight.1.state()?, &straight.0.parameters())?;
    assert_eq!(resumed.state()?, straight.1.state()?);
    assert_eq!(resumed.state()?.steps, 3);
    let tensors = straight.0.tensors().into_iter();
    let mut model = model()?.with_tensors(tensors.map(|(name, _, v)| (name, v)).collect())?;
    for _ in 0..2 {
        straight.0 = step(straight.0, &mut straight.1, &batch, 0.01)?.0;
        model = step(model, &mut resumed, &batch, 0.01)?.0;
    }
    assert_eq!(model.tensors(), straight.0.tensors());
    assert_eq!(resumed.state()?, straight.1.state()?);
    Ok(())
}

#[test]
fn a_resumed_run_has_the_same_bits() -> TestResult {
    resumes(|| Lamb::new(LambConfig::default()))?;
    resumes(|| AdamW::new(AdamWConfig::default()))
}

#[test]
fn moments_that_do_not_fit_are_named() -> TestResult {
    let (batch, mut adamw) = (batch()?, AdamW::<Cpu>::new(AdamWConfig::default()));
    let (model, _) = step(model()?, &mut adamw, &batch, 0.01)?;
    let (good, parameters) = (adamw.state()?, model.parameters());
    let name = "albert.pooler.weight";
    let error = |state: OptimizerState| -> Result<String, Box<dyn std::error::Error>> {
        let mut fresh = AdamW::<Cpu>::new(AdamWConfig::default());
        let error = fresh.restore(state, &parameters).err().ok_or("accepted")?;
        assert_eq!(
            fresh.state()?,
            OptimizerState::default(),
            "nothing is restored"
        );
        Ok(error.to_string())
    };
    let mut missing = good.clone();
    missing.moments.remove(name);
    assert!(error(missing)?.contains("`albert.pooler.weight` are missing after 1 steps"));
    let mut short = good.clone();
    short.moments.entry(name.into()).or_default().second.pop();
    let message = error(short)?;
    assert!(
        message.contains(name) && message.contains("the second has"),
        "{message}"
    );
    let mut foreign = good;
    foreign
        .moments
        .insert("elsewhere".into(), Moments::default());
    assert!(error(foreign)?.contains("`elsewhere` belong to no parameter"));
    Ok(())
}

#[test]
fn accumulated_gradients_are_a_mean() -> TestResult {
    let (model, batch) = (model()?, batch()?);
    let gradients =
        || -> albert_model::Result<_> { Ok(model.forward(&batch, None)?.loss.backward()) };
    let mut once = Gradients::new();
    once.add(&model, gradients()?);
    let mut thrice = Gradients::new();
    for _ in 0..3 {
        thrice.add(&model, gradients()?);
    }
    assert_eq!((once.passes(), thrice.passes()), (1, 3));
    let ((once, norm), (thrice, same)) = (once.take_clipped(1.0)?, thrice.take_clipped(1.0)?);
    // Two sums and a product, each off by half a unit of rounding.
    assert!((norm / same - 1.0).abs() < 1e-6, "{norm} {same}");
    assert!(
        norm > 1.0 && (once.norm()? - 1.0).abs() < 1e-6,
        "{}",
        once.norm()?
    );
    let name = "albert.pooler.weight";
    let (once, thrice) = (once.values(name), thrice.values(name));
    let (Some(once), Some(thrice)) = (once, thrice) else {
        return Err("the pooler has no gradient".into());
    };
    for (a, b) in once.iter().zip(&thrice) {
        assert!((a - b).abs() <= 1e-6, "{a} {b}");
    }
    Ok(())
}

#[test]
fn clipping_on_the_device_is_clipping() -> TestResult {
    let (model, batch) = (model()?, batch()?);
    let gradients = || -> Result<Gradients<Cpu>, Box<dyn std::error::Error>> {
        let mut sum = Gradients::new();
        for _ in 0..3 {
            sum.add(&model, model.forward(&batch, None)?.loss.backward());
        }
        Ok(sum)
    };
    let one = || Flat::<Cpu>::from_data([1.0_f32], &Default::default());
    // The norm lies between the two limits.
    for limit in [1.0, 1e3] {
        let (host, norm) = gradients()?.take_clipped(limit)?;
        let (device, found) = gradients()?.take_clipped_on_device(limit, one());
        let found = f64::from(found.into_scalar());
        // Sums of up to a few thousand squares, each in 32 bits: some 64 units of rounding.
        assert!((found / norm - 1.0).abs() < 1e-5, "{found} {norm}");
        for parameter in model.parameters() {
            let name = &parameter.name;
            let (host, device) = (host.values(name), device.values(name));
            let (host, device) = (host.ok_or("no gradient")?, device.ok_or("no gradient")?);
            for (a, b) in host.iter().zip(&device) {
                assert!((a - b).abs() <= 1e-5 * a.abs(), "{name}: {a} {b}");
            }
        }
    }
    // One bad number in one tensor, or a bad loss, and every gradient is zero.
    let name = "albert.pooler.bias";
    let mut bad = gradients()?;
    let gradient = bad.by_name.remove(name).ok_or("no gradient")?;
    let mut values = gradient.into_data().to_vec::<f32>()?;
    values[1] = f32::NAN;
    let values = Flat::<Cpu>::from_data(values.as_slice(), &Default::default());
    bad.by_name.insert(name.into(), values);
    let infinite = one() * f32::INFINITY;
    for (mut bad, loss, whole) in [(bad, one(), false), (gradients()?, infinite, true)] {
        let (device, norm) = bad.take_clipped_on_device(1.0, loss);
        assert_eq!(norm.into_scalar().is_finite(), whole);
        for parameter in model.parameters() {
            let values = device.values(&parameter.name).ok_or("no gradient")?;
            assert!(
                values.iter().all(|&value| value == 0.0),
                "{}",
                parameter.name
            );
        }
    }
    Ok(())
}

#[test]
fn on_the_device_the_rules_are_the_kernels() -> TestResult {
    use albert_kernels::training::optim::{self, AdamWFactors, LambFactors};

    let tensor = |values: &[f32]| Flat::<Cpu>::from_data(values, &Default::default());
    // More than a block of the kernels, of all sizes, with zeros among them.
    let values = |salt: u32, scale: f32| -> Vec<f32> {
        let value = |i: u32| ((i.wrapping_mul(salt) % 2001) as f32 - 1000.0) * scale;
        (0..20_000).map(value).collect()
    };
    let (weight, gradient) = (values(2_654_435_761, 4e-5), values(40_503, 1e-6));
    let (first, second) = (values(69_069, 2e-6), values(12_345, 1e-6));
    let second: Vec<f32> = second.iter().map(|v| v * v).collect();
    // Half a dozen operations, half a unit each; a difference of near numbers keeps the units of
    // the larger, so that they are measured by the weight's 0.04.
    let near = |what: &str, kernel: &[f32], device: Flat<Cpu>, scale: f32| -> TestResult {
        for (a, b) in kernel.iter().zip(device.into_data().to_vec::<f32>()?) {
            assert!((a - b).abs() <= 1e-6 * (a.abs() + scale), "{what}: {a} {b}");
        }
        Ok(())
    };
    for adapted in [true, false] {
        let config = LambConfig::default();
        let decay = if adapted { config.weight_decay } else { 0.0 };
        let factors = LambFactors {
            beta_1: 0.9,
            rest_1: 0.1,
            beta_2: 0.999,
            rest_2: 0.001,
            epsilon: 1e-6,
            weight_decay: decay as f32,
            learning_rate: 1e-3,
            adapted,
        };
        let (mut w, mut g, mut m, mut v) = (
            weight.clone(),
            gradient.clone(),
            first.clone(),
            second.clone(),
        );
        optim::lamb(factors, &mut w, &mut g, &mut m, &mut v);
        let slot = Slot::<Cpu> {
            weight: tensor(&weight),
            gradient: tensor(&gradient),
            first: tensor(&first),
            second: tensor(&second),
        };
        let slot = lamb::on_device(config, decay, 1e-3, adapted, slot);
        near("LAMB's weight", &w, slot.weight, 0.04)?;
        near("LAMB's first", &m, slot.first, 1e-3)?;
        near("LAMB's second", &v, slot.second, 1e-6)?;
    }
    let config = AdamWConfig::default();
    let factors = AdamWFactors {
        beta_1: 0.9,
        rest_1: 0.1,
        beta_2: 0.999,
        rest_2: 0.001,
        epsilon: 1e-8,
        keep: 0.999,
        step_size: 1e-3,
        root_correction: 0.5,
    };
    let (mut w, mut m, mut v) = (weight.clone(), first.clone(), second.clone());
    optim::adamw(factors, &mut w, &gradient, &mut m, &mut v);
    let slot = Slot::<Cpu> {
        weight: tensor(&weight),
        gradient: tensor(&gradient),
        first: tensor(&first),
        second: tensor(&second),
    };
    let slot = adamw::on_device(config, 0.999, 1e-3, 0.5, slot);
    near("AdamW's weight", &w, slot.weight, 0.04)?;
    near("AdamW's first", &m, slot.first, 1e-3)?;
    near("AdamW's second", &v, slot.second, 1e-6)
}

#[test]
fn norms_and_biases_are_excluded() {
    let layer = "albert.encoder.albert_layer_groups.0.albert_layers.0";
    for part in [
        "attention.LayerNorm.weight",
        "full_layer_layer_norm.weight",
        "ffn.bias",
    ] {
        assert!(is_excluded(&format!("{layer}.{part}")), "{part}");
    }
    for part in ["attention.query.weight", "ffn_output.weight"] {
        assert!(!is_excluded(&format!("{layer}.{part}")), "{part}");
    }
    assert!(is_excluded("predictions.bias"));
    assert!(!is_excluded("albert.embeddings.word_embeddings.weight"));
}
