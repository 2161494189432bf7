//! A graphics card gives the same run as the processor, up to rounding.
//!
//! Built with the feature `cuda` or `wgpu` only. Where there is no such device the test says that it was
//! skipped.

use std::sync::atomic::AtomicBool;

use albert_model::{TrainingBackend, check_device};
use albert_train::pretrain;

use crate::common::*;

/// Rows of several lengths, so that some are padded, and dropout, whose masks padding must not move.
const FORTY_STEPS: &str = r#"
    seed = 3
    [model]
    preset = "tiny"
    hidden_dropout_prob = 0.1
    attention_probs_dropout_prob = 0.1
    [[stage]]
    length = 32
    batch = 16
    steps = 20
    [[stage]]
    length = 48
    batch = 8
    both_orders = true
    order_weight = 2.0
    steps = 20
    [optimizer]
    kind = "lamb"
    rate = 2e-3
    [schedule]
    warmup_steps = 5
    [report]
    dev_share = 0.1
    dev_examples = 8
    evaluate_steps = 20
    report_steps = 1
"#;

/// The devices multiply in TF32, whose factors have 11 bits: a logit of a few units is off by some
/// thousandths, the mean loss over a batch by less, and each step moves on from there.
const LOSSES: f64 = 5e-3;

fn losses_equal<B: TrainingBackend>(device: &B::Device) {
    if let Err(error) = check_device::<B>(device) {
        println!("skipped: {error}");
        return;
    }
    let home = Home::new();
    run(&home.options("processor", FORTY_STEPS)).expect("a run on the processor");
    let options = home.options("device", FORTY_STEPS);
    let outcome = pretrain::<B>(&options, device, &AtomicBool::new(false), &mut ());
    assert!(outcome.expect("a run on the device").finished);
    let losses = |name: &str| -> Vec<f64> {
        let rows = metrics(&home.path(name));
        let column = rows[0].iter().position(|field| field == "loss");
        let column = column.expect("a column `loss`");
        let loss = |row: &Vec<String>| row[column].parse().expect("a loss");
        rows[1..].iter().map(loss).collect()
    };
    let (ours, theirs) = (losses("device"), losses("processor"));
    assert_eq!((ours.len(), theirs.len()), (40, 40));
    for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(
            (ours - theirs).abs() < LOSSES,
            "step {step}: {ours} on the device, {theirs} on the processor"
        );
    }
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_gives_the_losses_of_the_processor() {
    losses_equal::<albert_model::Cuda>(&albert_model::CudaDevice::new(0));
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_gives_the_losses_of_the_processor() {
    losses_equal::<albert_model::Wgpu>(&Default::default());
}
