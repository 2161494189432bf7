//! Runs learn, and stop at what is not finite.

use std::sync::atomic::AtomicBool;

use albert_checkpoint::Checkpoint;
use albert_model::Cpu;
use albert_train::{DevScores, Error, Progress, pretrain};

use crate::common::*;

#[test]
fn a_run_learns_and_leaves_a_checkpoint_with_its_curves() {
    struct Evaluations(Vec<DevScores>);
    impl Progress for Evaluations {
        fn evaluated(&mut self, _step: u64, scores: &DevScores) {
            self.0.push(*scores);
        }
    }
    let home = Home::new();
    let options = home.options(
        "run",
        r#"
        [model]
        preset = "tiny"
        initializer_range = 0.1
        [[stage]]
        length = 48
        batch = 16
        epochs = 40
        [optimizer]
        kind = "adamw"
        rate = 5e-3
        [schedule]
        warmup_steps = 20
        [report]
        dev_share = 0.1
        dev_examples = 64
        evaluate_steps = 50
        dtype = "f16"
        "#,
    );
    let mut seen = Evaluations(Vec::new());
    pretrain::<Cpu>(
        &options,
        &Default::default(),
        &AtomicBool::new(false),
        &mut seen,
    )
    .expect("a finished run");
    let (first, last) = (seen.0[0], seen.0[seen.0.len() - 1]);
    assert!(
        last.masked_lm_loss < first.masked_lm_loss - 0.5,
        "{first:?} {last:?}"
    );
    assert!(
        last.masked_lm_accuracy > first.masked_lm_accuracy,
        "{first:?} {last:?}"
    );

    let checkpoint = Checkpoint::open(&options.output).expect("a checkpoint");
    assert_eq!(checkpoint.config().vocab_size, 56);
    assert!(checkpoint.tokenizer_file().is_some());
    let curves = std::fs::read_to_string(options.output.join("curves.svg")).expect("curves");
    assert!(curves.contains("masked-LM accuracy") && curves.ends_with("</svg>\n"));
    let rows = metrics(&options.output);
    assert!(rows.len() > 5 && rows.iter().all(|row| row.len() == rows[0].len()));

    // Another run may begin with these weights.
    let mut next = home.options("next", TWELVE_STEPS);
    next.recipe.model.initializer_range = None;
    next.recipe.start_from = Some(options.output.clone());
    next.recipe.stage.truncate(1);
    next.recipe.stage[0].steps = Some(1);
    let outcome = run(&next).expect("a finished run");
    let loss = outcome.dev.expect("an evaluation").masked_lm_loss;
    // Fresh weights begin at about ln 56 = 4.0.
    assert!(loss < 3.5, "{loss}");
}

#[test]
fn tied_parts_stay_the_same_and_others_part() {
    let home = Home::new();
    let tensors = |output: &str| {
        let folder = home.path(output);
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        move |group: usize, tensor: &str| {
            let group = format!("albert.encoder.albert_layer_groups.{group}.albert_layers.0");
            let tensor = checkpoint.tensor(&format!("{group}.{tensor}"));
            tensor.expect("a tensor").to_f32().to_vec()
        }
    };
    let recipe = |tied: &str| {
        let model = format!("[model]\nnum_hidden_groups = 2\n{tied}");
        TWELVE_STEPS.replace("[model]", &model)
    };
    for (tied, same, other) in [
        ("attention", "attention.LayerNorm.weight", "ffn.weight"),
        ("ffn", "ffn_output.weight", "attention.key.weight"),
    ] {
        let options = home.options(tied, &recipe(&format!("tied = \"{tied}\"")));
        run(&options).expect("a finished run");
        let tensor = tensors(tied);
        assert_eq!(tensor(0, same), tensor(1, same), "{tied}");
        assert_ne!(tensor(0, other), tensor(1, other), "{tied}");
    }
    // A run cannot begin with parts that differ.
    let mut next = home.options("next", &recipe("tied = \"attention\""));
    next.recipe.start_from = Some(home.path("ffn"));
    let error = run(&next).expect_err("weights that differ").to_string();
    assert!(
        error.contains("albert_layer_groups.1.") && error.contains("`model.tied`"),
        "{error}"
    );
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let home = Home::new();
    let recipe = TWELVE_STEPS
        .replace("rate = 2e-3", "rate = 1e30")
        .replace("lamb", "adamw");
    // A guard skips what it may first.
    let guarded = home.options("guarded", &format!("{recipe}[guard]\nmost_skips = 3"));
    let error = run(&guarded).expect_err("a rate of 1e30");
    let Error::TooManySpikes { count, spike, .. } = &error else {
        panic!("{error}")
    };
    assert!(*count == 3 && spike.step > 2 && spike.examples.len() >= 4);
    let spikes = std::fs::read_to_string(guarded.output.join("spikes.jsonl")).expect("spikes");
    assert_eq!(spikes.lines().count(), 3);

    let options = home.options("run", &format!("{recipe}[guard]\nskip = false"));
    let error = run(&options).expect_err("a rate of 1e30");
    let Error::NotFinite {
        step,
        pass,
        examples,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(*step > 0 && *pass == 0 && examples.len() >= 8);
    let message = error.to_string();
    assert!(
        message.contains(" at step ") && message.contains("examples "),
        "{message}"
    );
    // The last checkpoint is whole and finite.
    let checkpoint = Checkpoint::open(&options.output).expect("the last checkpoint");
    let bias = checkpoint.tensor("albert.pooler.bias").expect("a tensor");
    assert!(bias.to_f32().iter().all(|value| value.is_finite()));
}
