//! Single steps on batches made bad: what the guard keeps from the weights, and that a device that
//! is read late computes what the processor does.

use albert_model::Cpu;
use albert_text::{UnigramOptions, train_unigram};

use super::*;
use crate::batches::Prepared;
use crate::guard::Reason;
use crate::metrics::Sums;
use crate::peers::Alone;
use crate::pretrain::{PretrainOptions, prepare};
use crate::recipe::Recipe;

/// A folder with a corpus and its tokenizer.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    let animals = ["cat", "dog", "bird", "horse", "fish", "mouse", "cow"];
    let places = ["house", "garden", "river", "field", "road"];
    let story = |i: usize| {
        let (animal, place) = (animals[i % 7], places[i % 5]);
        format!(
            "One day the {animal} went to the {place}. At the {place} it met a {}. \
             Then both went home. In the end the {animal} was happy.",
            animals[(i * 3 + 1) % 7]
        )
    };
    let text: Vec<String> = (0..200).map(story).collect();
    std::fs::write(home.path().join("corpus.txt"), text.join("\n\n")).expect("a corpus");
    let options = UnigramOptions {
        vocab_size: 56,
        ..UnigramOptions::default()
    };
    let tokenizer = train_unigram(text.into_iter(), &options, &mut |_| {}).expect("a tokenizer");
    tokenizer.save(home.path()).expect("a saved tokenizer");
    home
}

/// No dropout and one rate: a step does not depend on its number.
const STEADY: &str = r#"
    [model]
    preset = "tiny"
    [[stage]]
    length = 48
    batch = 8
    steps = 1000
    [optimizer]
    kind = "adamw"
    rate = 1e-3
    [schedule]
    decay = "none"
    [guard]
    window = 24
    warmup_steps = 16
    most_skips = 4
"#;

fn run(home: &Path, output: &str, recipe: &str) -> Run<'static, Cpu> {
    let tokenizer = home.join("tokenizer.json").display().to_string();
    let options = PretrainOptions {
        recipe: Recipe::parse(&format!("tokenizer = {tokenizer:?}\n{recipe}")).expect("a recipe"),
        corpus: vec![home.join("corpus.txt")],
        output: home.join(output),
        resume: false,
        cache: None,
        threads: Some(2),
    };
    prepare::<Cpu>(
        &options,
        &Alone,
        &Default::default(),
        &AtomicBool::new(false),
        &mut (),
    )
    .expect("a run before its first step")
}

/// Takes a step for every batch, or for as many as make one.
fn steps(run: &mut Run<'static, Cpu>, batches: &[HostBatch]) -> Result<()> {
    let stop = AtomicBool::new(false);
    let passes = run.sources.recipe.stage[0].accumulation;
    let mut batches = batches.iter().cloned().map(Ok);
    for _ in 0..batches.len() / passes {
        assert!(run.step(&mut batches, &stop, &mut ())?);
    }
    Ok(())
}

/// Weights and moments, bit by bit.
fn state(run: &Run<'static, Cpu>) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let model = run.model.as_ref().expect("a model");
    let optimizer = run.optimizer.state().expect("the moments");
    let weights = model.tensors().into_iter();
    let mut all: Vec<_> = weights.map(|(name, _, v)| (name, bits(&v))).collect();
    for (name, moments) in optimizer.moments {
        all.push((format!("first/{name}"), bits(&moments.first)));
        all.push((format!("second/{name}"), bits(&moments.second)));
    }
    all
}

/// A position that only the longest rows read.
const LAST: usize = 28;

/// Makes position `LAST` no number in the weights.
fn spoil(run: &mut Run<'static, Cpu>) {
    let model = run.model.take().expect("a model");
    let tensors = model
        .tensors()
        .into_iter()
        .map(|(name, shape, mut values)| {
            if name == "albert.embeddings.position_embeddings.weight" {
                values[LAST * shape[1]..][..shape[1]].fill(f32::NAN);
            }
            (name, values)
        });
    let tensors = tensors.collect();
    run.model = Some(model.with_tensors(tensors).expect("the same shapes"));
}

/// Batches whose rows end before position `LAST`, and one with a longer row.
fn batches(run: &Run<'static, Cpu>, count: usize) -> (Vec<HostBatch>, HostBatch) {
    let mut short = Vec::new();
    let mut long = None;
    for batch in Prepared::new(run.sources.training(0), Position::default()).take(2000) {
        let batch = batch.expect("a batch");
        match batch.len > LAST {
            true => long = Some(batch),
            false => short.push(batch),
        }
        if short.len() >= count && long.is_some() {
            break;
        }
    }
    short.truncate(count);
    assert_eq!(short.len(), count);
    (short, long.expect("a batch with a long row"))
}

/// A batch whose every answer is wrong: `<pad>`, which is never there.
fn wrong(batch: &HostBatch) -> HostBatch {
    let mut batch = batch.clone();
    batch.masked_labels.fill(0);
    batch
}

fn spikes(run: &Run<'static, Cpu>) -> Vec<Spike> {
    let text = std::fs::read_to_string(run.output.join("spikes.jsonl")).unwrap_or_default();
    let spike = |line| serde_json::from_str(line).expect("a spike");
    text.lines().map(spike).collect()
}

#[test]
fn a_skipped_batch_might_never_have_come() {
    let home = home();
    let (good, long) = batches(&run(home.path(), "look", STEADY), 80);
    let bad = [
        ("nan", long.clone(), Reason::LossNotFinite),
        ("spike", wrong(&good[60]), Reason::LossSpike),
    ];
    for (name, bad, reason) in bad {
        let mut without = run(home.path(), &format!("{name}-without"), STEADY);
        let mut with = run(home.path(), &format!("{name}-with"), STEADY);
        if reason == Reason::LossNotFinite {
            spoil(&mut without);
            spoil(&mut with);
        }
        steps(&mut without, &good).expect("good steps");
        steps(&mut with, &good[..60]).expect("good steps");
        let before = state(&with);
        steps(&mut with, std::slice::from_ref(&bad)).expect("a skipped step");
        assert!(before == state(&with), "{name}: the step changed something");
        steps(&mut with, &good[60..]).expect("good steps");

        assert!(state(&without) == state(&with), "{name}: other weights");
        assert_eq!((without.info.step, with.info.step), (80, 81));
        assert_eq!(without.info.tokens, with.info.tokens);
        assert_eq!((without.info.skipped, with.info.skipped), (0, 1));
        assert!(without.info.sums.masked_lm_loss.is_finite());
        assert_eq!(with.info.sums.skipped, 1);
        assert!(spikes(&without).is_empty());
        let [spike] = &spikes(&with)[..] else {
            panic!("{name}: {:?}", spikes(&with))
        };
        assert_eq!((spike.step, spike.reason), (60, reason), "{spike}");
        assert_eq!(
            (spike.pass, spike.batch),
            (bad.position.pass, bad.position.batch)
        );
        assert_eq!(spike.examples, bad.examples);
        assert!(spike.skipped);
        assert_eq!(spike.loss.is_some(), reason == Reason::LossSpike);
        assert!(spike.loss_z.is_none_or(|z| z > 7.0), "{spike}");
    }
}

#[test]
fn too_many_bad_steps_end_the_run() {
    let home = home();
    let (good, long) = batches(&run(home.path(), "look", STEADY), 8);
    let mut guarded = run(home.path(), "guarded", STEADY);
    spoil(&mut guarded);
    steps(&mut guarded, &good).expect("good steps");
    let bad = vec![long; 4];
    steps(&mut guarded, &bad[..3]).expect("three may be skipped");
    let error = steps(&mut guarded, &bad[3..]).expect_err("four may not");
    let Error::TooManySpikes {
        count,
        window,
        spike,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*count, *window, spike.step), (4, 24, 11));
    let message = error.to_string();
    for part in [
        "4 of its last 24 steps",
        "step 11 (pass ",
        "not finite",
        "spikes.jsonl",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }

    // Without a guard the first is the last.
    let recipe = STEADY.replace("[guard]", "[guard]\nskip = false");
    let mut bare = run(home.path(), "bare", &recipe);
    spoil(&mut bare);
    steps(&mut bare, &good).expect("good steps");
    let before = state(&bare);
    let error = steps(&mut bare, &bad[..1]).expect_err("a loss that is no number");
    assert!(matches!(error, Error::NotFinite { step: 8, .. }), "{error}");
    assert!(before == state(&bare), "the weights are as they were");
}

/// Accumulation, dropout, a warm-up, clipping at every step.
fn varied(kind: &str) -> String {
    let model = "preset = \"tiny\"\nhidden_dropout_prob = 0.1\nattention_probs_dropout_prob = 0.1";
    STEADY
        .replace("preset = \"tiny\"", model)
        .replace("batch = 8", "batch = 8\naccumulation = 2")
        .replace("decay = \"none\"", "warmup_steps = 3")
        .replace("rate = 1e-3", "rate = 1e-3\nclip = 0.5")
        .replace("adamw", kind)
}

#[test]
fn numbers_read_late_are_those_read_at_once() {
    let home = home();
    for kind in ["lamb", "adamw"] {
        let mut now = run(home.path(), &format!("{kind}-now"), &varied(kind));
        let mut late = run(home.path(), &format!("{kind}-late"), &varied(kind));
        late.late = true;
        let (batches, _) = batches(&now, 24);
        steps(&mut now, &batches).expect("steps");
        steps(&mut late, &batches).expect("steps");
        assert_eq!(late.unread.len(), 12, "nothing was read yet");
        assert_eq!(late.info.sums, Sums::default());
        late.read(&mut ()).expect("the numbers");
        let (a, b) = (now.info.sums, late.info.sums);
        assert_eq!((a.steps, a.passes, a.tokens), (12, 24, b.tokens));
        assert_eq!((a.masked, a.pairs), (b.masked, b.pairs));
        assert!(a.masked > 0 && a.masked_right.abs_diff(b.masked_right) <= 1);
        assert!(a.order_right.abs_diff(b.order_right) <= 1);
        // Two things differ: sums of two losses in 32 bits (half a unit, 6e-8), and the norm, a sum
        // in 32 bits of up to 4,096 squares a tensor, which may be off by some 64 units, 4e-6. It
        // scales all gradients of a step alike, which both rules divide out again but for epsilon.
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-5;
        assert!(near(a.masked_lm_loss, b.masked_lm_loss), "{a:?} {b:?}");
        assert!(near(a.order_loss, b.order_loss), "{a:?} {b:?}");
        assert!(near(a.gradient_norm, b.gradient_norm), "{a:?} {b:?}");
    }
}

#[test]
fn a_run_that_reads_late_writes_the_same_rows() {
    let home = home();
    let report = "[report]\ndev_share = 0.1\ndev_examples = 16\nreport_steps = 7\n\
                  evaluate_steps = 15\ncheckpoint_steps = 10\n";
    let recipe = varied("lamb").replace("steps = 1000", "steps = 40") + report;
    let mut now = run(home.path(), "now", &recipe);
    let mut late = run(home.path(), "late", &recipe);
    now.late = false;
    late.late = true;
    let rows = |run: Run<'static, Cpu>| {
        let output = run.output.clone();
        let outcome = run.carry_out(&AtomicBool::new(false), &mut ());
        assert_eq!(outcome.expect("a finished run").steps, 40);
        let rows = Metrics::open(&output, 40).expect("metrics.csv").rows;
        let numbers = |row: &Row| {
            let dev = row.dev.unwrap_or_default();
            [row.loss, row.gradient_norm, row.rate, dev.loss]
        };
        let rows = rows.iter().map(|row| (row.step, row.tokens, numbers(row)));
        rows.collect::<Vec<_>>()
    };
    let (now, late) = (rows(now), rows(late));
    assert_eq!(now.len(), 8, "{now:?}");
    for ((step, tokens, now), late) in now.iter().zip(&late) {
        assert_eq!((*step, *tokens), (late.0, late.1));
        for (a, b) in now.iter().zip(late.2) {
            // Forty steps on from gradients that differ by some 1e-6 of themselves, and the five
            // decimals of a row.
            assert!((a - b).abs() <= 1e-4 * a.abs() + 1e-5, "{step}: {a} {b}");
        }
    }
}

#[test]
fn judged_late_a_bad_gradient_counts_as_zero_and_a_spike_is_told() {
    let home = home();
    let mut late = run(home.path(), "late", STEADY);
    late.late = true;
    spoil(&mut late);
    let (good, long) = batches(&late, 64);
    steps(&mut late, &good[..40]).expect("good steps");
    let before = state(&late);
    steps(&mut late, &[long.clone(), wrong(&good[40])]).expect("steps");
    steps(&mut late, &good[41..60]).expect("good steps");
    late.read(&mut ()).expect("two spikes are not too many");
    let told: Vec<_> = spikes(&late)
        .iter()
        .map(|spike| (spike.step, spike.reason, spike.skipped))
        .collect();
    let expected = [
        (40, Reason::LossNotFinite, true),
        (41, Reason::LossSpike, false),
    ];
    assert_eq!(told, expected);
    // Only what was no number before is none now.
    for ((name, before), (_, after)) in before.iter().zip(state(&late)) {
        for (before, after) in before.iter().zip(after) {
            let (before, after) = (f32::from_bits(*before), f32::from_bits(after));
            assert_eq!(before.is_finite(), after.is_finite(), "{name}");
        }
    }
    assert!(late.info.sums.masked_lm_loss.is_finite());
    steps(&mut late, &vec![long; 4]).expect("steps");
    let error = late.read(&mut ()).expect_err("too many");
    assert!(matches!(error, Error::TooManySpikes { .. }), "{error}");
}
