//! A run that was stopped or killed goes on, to the bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use albert_model::Cpu;
use albert_train::{PretrainOptions, Progress, StepReport, pretrain};
use safetensors::tensor::SafeTensors;

use crate::common::*;

/// The tokenised corpora in a run's folder.
fn caches(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("training"));
    let paths = entries.into_iter().flatten().flatten();
    let paths = paths.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "bin"))
        .collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_to_the_bit() {
    let home = Home::new();
    let whole = home.options("whole", TWELVE_STEPS);
    let outcome = run(&whole).expect("a finished run");
    assert!(outcome.finished && outcome.steps == 12);

    // Stopped twice, once in each stage.
    let mut parts = home.options("parts", TWELVE_STEPS);
    for stop_at in [5, 9] {
        // A damaged cache is made anew.
        for cache in caches(&parts.output) {
            let mut bytes = std::fs::read(&cache).expect("a cache");
            bytes[100] ^= 1;
            std::fs::write(&cache, bytes).expect("a damaged cache");
        }
        let stop = AtomicBool::new(false);
        let mut progress = StopAt(stop_at, &stop);
        let outcome = pretrain::<Cpu>(&parts, &Default::default(), &stop, &mut progress)
            .expect("a stopped run");
        assert!(!outcome.finished && outcome.steps == stop_at);
        parts.resume = true;
    }
    assert_eq!(run(&parts).expect("a finished run").steps, 12);
    assert!(
        weights(&whole.output) == weights(&parts.output),
        "the same weights"
    );
    assert_eq!(metrics(&whole.output), metrics(&parts.output));

    // Resuming a finished run changes nothing.
    let before = weights(&parts.output);
    assert!(run(&parts).expect("a finished run").finished);
    assert!(before == weights(&parts.output));
}

/// Copies the output folder whenever a checkpoint was saved, as a power cut would leave it:
/// with rows of metrics that are younger than the checkpoint.
struct Copy<'a>(&'a Path, &'a Path);

impl Progress for Copy<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == 6 && !self.1.exists() {
            copy(self.0, self.1);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copied file");
        }
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let home = Home::new();
    // A checkpoint after every step; the folder is copied in the middle of the run.
    let recipe = format!("{TWELVE_STEPS}\ncheckpoint_minutes = 1e-9\n");
    let whole = home.options("whole", &recipe);
    let copied = home.path("copied");
    let mut progress = Copy(&whole.output, &copied);
    pretrain::<Cpu>(
        &whole,
        &Default::default(),
        &AtomicBool::new(false),
        &mut progress,
    )
    .expect("a finished run");
    // What a kill in the middle of writing leaves.
    std::fs::write(copied.join("training/.albert-x.part"), b"half").expect("a file");
    let mut csv = std::fs::read_to_string(copied.join("metrics.csv")).expect("metrics.csv");
    csv += "6,12";
    std::fs::write(copied.join("metrics.csv"), csv).expect("metrics.csv");

    let rest = PretrainOptions {
        output: copied.clone(),
        resume: true,
        ..whole.clone()
    };
    run(&rest).expect("a finished run");
    assert!(
        weights(&whole.output) == weights(&copied),
        "the same weights"
    );
    assert_eq!(metrics(&whole.output), metrics(&copied));
    assert!(
        !copied.join("training/.albert-x.part").exists(),
        "the leftover is gone"
    );
}

/// Stops the folder's time at a step: copies it then, with rows that are younger than its last
/// checkpoint.
struct CopyAt<'a>(u64, &'a Path, &'a Path);

impl Progress for CopyAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            copy(self.1, self.2);
        }
    }
}

/// Every weight and moment of a run's state.
fn state(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder.join("training/state.safetensors")).expect("the state");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let tensors = tensors.tensors().into_iter();
    tensors
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

#[test]
fn two_hundred_steps_and_two_hundred_more_are_four_hundred() {
    // A guard so narrow that it skips steps all the time, on both sides of the kill.
    let guard = "[guard]\nloss_z = 1.5\nwindow = 16\nwarmup_steps = 16\nmost_skips = 16\n";
    let recipe = TWELVE_STEPS
        .replace("steps = 7", "steps = 150")
        .replace("steps = 5", "steps = 250")
        .replace(
            "evaluate_steps = 4",
            "evaluate_steps = 90\ncheckpoint_steps = 50",
        )
        .replace("report_steps = 2", "report_steps = 20")
        .replace("[report]", &format!("{guard}[report]"));
    let home = Home::new();
    let whole = home.options("whole", &recipe);
    let copied = home.path("copied");
    // Step 200 ended, and its checkpoint was not begun: the last one is step 150's.
    let mut progress = CopyAt(200, &whole.output, &copied);
    let outcome = pretrain::<Cpu>(
        &whole,
        &Default::default(),
        &AtomicBool::new(false),
        &mut progress,
    )
    .expect("a finished run");
    assert!(outcome.finished && outcome.steps == 400);
    assert!(outcome.skipped > 4, "{} skipped", outcome.skipped);
    let beside = outcome.beside_model.expect("on the processor");
    assert!((0.0..1.0).contains(&beside), "{beside}");

    let rest = PretrainOptions {
        output: copied.clone(),
        resume: true,
        ..whole.clone()
    };
    let resumed = run(&rest).expect("a finished run");
    assert_eq!(resumed.skipped, outcome.skipped);
    assert_eq!(resumed.dev, outcome.dev);
    assert!(weights(&whole.output) == weights(&copied), "other weights");
    assert!(state(&whole.output) == state(&copied), "another state");
    assert_eq!(metrics(&whole.output), metrics(&copied));
    let spikes = |folder: &Path| std::fs::read(folder.join("spikes.jsonl")).expect("spikes");
    assert!(spikes(&whole.output) == spikes(&copied), "other spikes");
}

#[test]
fn another_processor_and_a_high_rate_are_told() {
    let home = Home::new();
    let mut options = home.options("run", TWELVE_STEPS);
    let go_on = |options: &PretrainOptions| {
        let mut notes = Notes::default();
        let stop = AtomicBool::new(false);
        pretrain::<Cpu>(options, &Default::default(), &stop, &mut notes).expect("a finished run");
        notes.0
    };
    // 16 rows a step: the published rate is 0.00176 / 16.
    let high = go_on(&options);
    assert_eq!(high.len(), 1, "{high:?}");
    assert!(
        high[0].contains("0.002 is 18.2 times") && high[0].contains("1.100e-4"),
        "{high:?}"
    );
    let mut slow = home.options(
        "slow",
        &TWELVE_STEPS.replace("warmup_steps = 3", "warmup_steps = 13"),
    );
    slow.recipe.optimizer.rate = 1e-4;
    let notes = go_on(&slow);
    assert!(
        notes.len() == 1 && notes[0].contains("after 12 steps") && notes[0].contains("is 13"),
        "{notes:?}"
    );
    options.resume = true;
    options.recipe.optimizer.rate = 2e-3;
    // In the second stage a step has 4 rows.
    assert!(go_on(&options)[0].contains("steps of 4 rows"));

    let path = options.output.join("training/state.safetensors");
    change_info(&path, |info| info["arithmetic"] = "an abacus".into());
    let notes = go_on(&options);
    assert!(
        notes[0].contains("saved by an abacus, and goes on by ") && notes[0].contains("to the bit"),
        "{notes:?}"
    );
    // From here on it is this one.
    assert_eq!(go_on(&options).len(), 1);
    // A run of an earlier version knows nothing of it.
    change_info(&path, |info| {
        let info = info.as_object_mut().expect("an object");
        for field in [
            "arithmetic",
            "corpus_files",
            "dev_corpus_files",
            "guard",
            "skipped",
        ] {
            info.remove(field).expect("the field");
        }
    });
    assert_eq!(go_on(&options).len(), 1);
}

#[test]
fn a_budget_in_minutes_counts_on_when_resumed() {
    let home = Home::new();
    let recipe = TWELVE_STEPS
        .replace("accumulation = 2\n", "")
        .replace("steps = 7", "minutes = 0.01")
        .replace("steps = 5", "minutes = 0.01");
    let mut options = home.options("run", &recipe);
    let stop = AtomicBool::new(false);
    let mut progress = StopAt(2, &stop);
    let first = pretrain::<Cpu>(&options, &Default::default(), &stop, &mut progress)
        .expect("a stopped run");
    assert!(!first.finished && first.steps == 2);
    options.resume = true;
    let last = run(&options).expect("a finished run");
    assert!(last.finished && last.steps > 2);
    // 1.2 seconds in all, and at most a step, an evaluation and a checkpoint more.
    assert!(
        last.seconds >= 1.2 && last.seconds < 10.0,
        "{}",
        last.seconds
    );
}
