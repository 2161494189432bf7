//! A run that is stopped goes on as if it had not been.

use std::sync::atomic::{AtomicBool, Ordering};

use albert_model::Cpu;
use albert_train::finetune;
use albert_train::finetune::{FinetuneProgress, FinetuneStep, Task};

use crate::common::{classes, mini, options, run};

const RECIPE: &str =
    "epochs = 3\nbatch = 8\nrates = [1e-4, 3e-4]\ntrial_share = 0.5\nclassifier_dropout = 0.1";

/// Stops after so many steps of all trials.
struct StopAfter<'a> {
    left: usize,
    stop: &'a AtomicBool,
}

impl FinetuneProgress for StopAfter<'_> {
    fn step(&mut self, _step: &FinetuneStep) {
        self.left -= 1;
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn stopping_anywhere_changes_no_bit() {
    let home = tempfile::tempdir().unwrap();
    let at_once = home.path().join("at-once");
    run(&options(
        Task::Classify,
        classes(40),
        classes(16),
        RECIPE,
        &at_once,
    ))
    .unwrap();
    // In the first trial, the second, and the last: 8, 8 and 15 steps.
    let output = home.path().join("in-parts");
    let mut given = options(Task::Classify, classes(40), classes(16), RECIPE, &output);
    for steps in [3, 9, 10] {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter {
            left: steps,
            stop: &stop,
        };
        let outcome = finetune::<Cpu>(&given, &Default::default(), &stop, &mut progress);
        assert_eq!(outcome.unwrap(), None);
        assert!(output.join("training/state.safetensors").exists());
        given.resume = true;
    }
    run(&given).unwrap();
    for name in ["model.safetensors", "config.json", "task.json"] {
        let read = |dir: &std::path::Path| std::fs::read(dir.join(name)).unwrap();
        assert!(read(&at_once) == read(&output), "{name}");
    }
}

#[test]
fn only_the_same_run_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let mut given = options(Task::Classify, classes(40), classes(16), RECIPE, &output);
    given.resume = true;
    let message = run(&given).unwrap_err().to_string();
    assert!(message.contains("nothing to resume"), "{message}");

    given.resume = false;
    let stop = AtomicBool::new(false);
    let mut progress = StopAfter {
        left: 2,
        stop: &stop,
    };
    finetune::<Cpu>(&given, &Default::default(), &stop, &mut progress).unwrap();
    let message = run(&given).unwrap_err().to_string();
    assert!(message.contains("is not empty"), "{message}");

    let mut other = options(Task::Classify, classes(38), classes(16), RECIPE, &output);
    other.resume = true;
    let message = run(&other).unwrap_err().to_string();
    assert!(message.contains("other examples"), "{message}");

    // Other weights of the same shapes.
    let mut other = options(Task::Classify, classes(40), classes(16), RECIPE, &output);
    other.model = mini().with_file_name("sentences");
    other.resume = true;
    let message = run(&other).unwrap_err().to_string();
    assert!(message.contains("another model"), "{message}");
}

#[test]
fn a_rate_that_came_apart_does_not_end_the_others() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let recipe = "epochs = 6\nbatch = 8\nrates = [1e30, 1e-4]\ntrial_share = 1.0";
    let mut given = options(Task::Classify, classes(40), classes(16), recipe, &output);
    let stop = AtomicBool::new(false);
    let mut progress = StopInSecond { stop: &stop };
    let outcome = finetune::<Cpu>(&given, &Default::default(), &stop, &mut progress);
    assert_eq!(outcome.unwrap(), None);
    given.resume = true;
    let report = run(&given).unwrap();
    assert_eq!(report.rate, 1e-4);
    assert_eq!(report.tried[0], (1e30, f64::NEG_INFINITY));
}

/// Stops in the second trial.
struct StopInSecond<'a> {
    stop: &'a AtomicBool,
}

impl FinetuneProgress for StopInSecond<'_> {
    fn step(&mut self, step: &FinetuneStep) {
        if step.trial.0 == 2 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
