//! Options for few examples.

use std::sync::atomic::AtomicBool;

use albert_model::Cpu;
use albert_train::finetune::{Task, folds, learning_curve};

use crate::common::{classes, mini, options, questions, run};

#[test]
fn folds_and_seeds_have_a_spread() {
    let home = tempfile::tempdir().unwrap();
    let recipe = "epochs = 4\nbatch = 8\nrates = [3e-4]";
    let options = options(
        Task::Classify,
        classes(24),
        classes(8),
        recipe,
        &home.path().join("x"),
    );
    let stop = AtomicBool::new(false);
    let report = folds::<Cpu>(&options, 3, 2, &Default::default(), &stop, &mut ());
    let report = report.unwrap().unwrap();
    assert_eq!(
        report.scores.iter().map(Vec::len).collect::<Vec<_>>(),
        [3, 3]
    );
    let all: Vec<f64> = report.scores.concat();
    assert!((report.mean - all.iter().sum::<f64>() / 6.0).abs() < 1e-12);
    assert!(report.mean > 0.5 && report.metric == "accuracy");

    let curve = learning_curve::<Cpu>(
        &options,
        &[0.25, 1.0],
        1,
        &Default::default(),
        &stop,
        &mut (),
    );
    let curve = curve.unwrap().unwrap();
    assert_eq!(
        curve.points.iter().map(|p| p.0).collect::<Vec<_>>(),
        [6, 24]
    );
    assert!(curve.svg("x").contains("accuracy"));
    assert!(!home.path().join("x").exists());
}

#[test]
fn questions_about_a_context_go_to_one_fold() {
    let home = tempfile::tempdir().unwrap();
    let recipe = "epochs = 1\nbatch = 4\nrates = [3e-4]";
    let output = home.path().join("x");
    // Eight contexts, each asked about three times.
    let options = options(Task::Answer, questions(24), questions(1), recipe, &output);
    let stop = AtomicBool::new(false);
    let folds = |count| folds::<Cpu>(&options, count, 1, &Default::default(), &stop, &mut ());
    let report = folds(2).unwrap().unwrap();
    assert_eq!((report.metric.as_str(), report.scores[0].len()), ("f1", 2));
    let message = folds(9).unwrap_err().to_string();
    assert!(message.contains("has 8 contexts; 9 folds"), "{message}");
}

#[test]
fn what_does_not_learn_stays_to_the_bit() {
    let home = tempfile::tempdir().unwrap();
    let base = albert_checkpoint::Checkpoint::open(&mini()).unwrap();
    for (parts, still) in [
        ("layers", "albert.embeddings.word_embeddings.weight"),
        ("head", "albert.encoder.embedding_hidden_mapping_in.weight"),
    ] {
        let recipe =
            format!("epochs = 1\nbatch = 8\nrates = [1e-3]\ntrain = \"{parts}\"\nrate_decay = 0.5");
        let output = home.path().join(parts);
        run(&options(
            Task::Classify,
            classes(16),
            classes(8),
            &recipe,
            &output,
        ))
        .unwrap();
        let tuned = albert_checkpoint::Checkpoint::open(&output).unwrap();
        let values = |of: &albert_checkpoint::Checkpoint, name: &str| {
            of.tensor(name).unwrap().to_f32().into_owned()
        };
        assert!(values(&base, still) == values(&tuned, still), "{parts}");
        let pooler = "albert.pooler.weight";
        assert!(values(&base, pooler) != values(&tuned, pooler), "{parts}");
    }
}

#[test]
fn few_examples_are_learnt_by_contrast_and_by_agreement() {
    let home = tempfile::tempdir().unwrap();
    for (name, recipe) in [
        (
            "contrast",
            "epochs = 20\nbatch = 8\nrates = [3e-3]\nfew_shot_epochs = 6\nevaluations = 0.2",
        ),
        (
            "agreement",
            "epochs = 10\nbatch = 8\nrates = [3e-4]\nr_drop = 1.0\nclassifier_dropout = 0.3\nevaluations = 0.2",
        ),
        (
            "balance",
            "epochs = 10\nbatch = 8\nrates = [3e-4]\nclass_weights = \"balanced\"\nevaluations = 0.2",
        ),
    ] {
        let output = home.path().join(name);
        let options = options(Task::Classify, classes(32), classes(32), recipe, &output);
        let report = run(&options).unwrap();
        assert!(report.dev.main_value() > 0.9, "{name}: {:?}", report.dev);
    }
}
