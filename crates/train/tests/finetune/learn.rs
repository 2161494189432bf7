//! Every task is learnt, and the folder answers by the tasks that people use.

use std::sync::atomic::AtomicBool;

use albert_checkpoint::Checkpoint;
use albert_model::Cpu;
use albert_tasks::{
    AnswerOptions, Answerer, Chooser, Classifier, Embedder, Tagger, TaskSettings, TextInput, open,
};
use albert_train::finetune;
use albert_train::finetune::Task;

use crate::common::{Told, any_classes, choices, classes, options, questions, run, scores, tags};

const RECIPE: &str = "epochs = 10\nbatch = 8\nrates = [3e-4]\nevaluations = 0.2";

fn input(text: &str) -> TextInput<'_> {
    TextInput { text, pair: None }
}

#[test]
fn classes_are_learnt_and_confidence_is_calibrated() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let options = options(Task::Classify, classes(64), classes(32), RECIPE, &output);
    let report = run(&options).unwrap();
    assert_eq!(report.dev.main_value(), 1.0, "{:?}", report.dev);
    let calibration = report.calibration.unwrap();
    assert!(calibration.temperature > 0.0 && calibration.error_before < 0.5);

    let (engine, tokenizer) = open(&output, Default::default()).unwrap();
    let settings = TaskSettings::read(&output).unwrap();
    assert_eq!(settings.temperature, Some(calibration.temperature as f32));
    let task = Classifier::new(engine, tokenizer).unwrap();
    let said = task
        .classify(&[input("We saw a horse in the street.")])
        .unwrap();
    assert_eq!(said[0].label.as_deref(), Some("animal"));
    for name in [
        "finetune.json",
        "finetune.csv",
        "curves.svg",
        "tokenizer.json",
    ] {
        assert!(output.join(name).exists(), "{name}");
    }
    assert!(!output.join("training").exists());
}

#[test]
fn any_number_of_classes_is_learnt() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let data = (any_classes(64), any_classes(32));
    let options = options(Task::Classify, data.0, data.1, RECIPE, &output);
    let report = run(&options).unwrap();
    assert!(report.dev.values["micro_f1"] > 0.95, "{:?}", report.dev);
    let (engine, tokenizer) = open(&output, Default::default()).unwrap();
    let task = Classifier::new(engine, tokenizer).unwrap();
    let said = task.classify(&[input("I saw a dog in the house. There was a king.")]);
    let mut assigned = said.unwrap()[0].assigned.clone().unwrap();
    assigned.sort();
    assert_eq!(assigned, ["animal", "king"]);
}

#[test]
fn numbers_and_vectors_are_learnt() {
    let home = tempfile::tempdir().unwrap();
    for task in [Task::Regress, Task::Embed] {
        let output = home.path().join(task.name());
        let options = options(task, scores(64), scores(32), RECIPE, &output);
        let report = run(&options).unwrap();
        // Half of the numbers are equal: the best rank correlation of other numbers is 0.866.
        assert!(report.dev.main_value() > 0.8, "{task:?}: {:?}", report.dev);
    }
    let (engine, tokenizer) = open(&home.path().join("embed"), Default::default()).unwrap();
    let task = Embedder::new(engine, tokenizer);
    let alike = task
        .similarity("There is a dog.", "I see the dog.")
        .unwrap();
    let other = task
        .similarity("There is a dog.", "I see the axe.")
        .unwrap();
    assert!(alike > other, "{alike} {other}");
}

#[test]
fn tags_are_learnt() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let options = options(Task::Tag, tags(64), tags(16), RECIPE, &output);
    let report = run(&options).unwrap();
    assert_eq!(report.dev.values["f1"], 1.0, "{:?}", report.dev);
    let (engine, tokenizer) = open(&output, Default::default()).unwrap();
    let task = Tagger::new(engine, tokenizer).unwrap();
    let said = task.tag(&["The lion is in the old town now."]).unwrap();
    let found: Vec<(&str, usize, usize)> = said[0]
        .entities
        .iter()
        .map(|e| (e.text.as_str(), e.start, e.end))
        .collect();
    assert_eq!(found, [("old town", 19, 27)]);
}

#[test]
fn answers_are_learnt_and_found_in_a_long_text() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let recipe =
        "epochs = 12\nbatch = 8\nrates = [3e-4]\nevaluations = 0.2\nmax_length = 64\nstride = 16";
    let options = options(Task::Answer, questions(96), questions(16), recipe, &output);
    let report = run(&options).unwrap();
    assert!(report.dev.values["f1"] > 0.9, "{:?}", report.dev);

    let (engine, tokenizer) = open(&output, Default::default()).unwrap();
    let task = Answerer::new(engine, tokenizer)
        .unwrap()
        .with_settings(TaskSettings::read(&output).unwrap());
    // 20,000 words with one sentence among them that answers.
    let filler = "Élan and café were words that nobody needed there. ".repeat(2222);
    let middle = filler.len() / 2;
    let middle = (middle..)
        .find(|&i| filler[..i].ends_with("there. "))
        .unwrap();
    let (before, after) = filler.split_at(middle);
    let context = format!("{before}The cow was in the church and slept. {after}");
    assert!(context.split_whitespace().count() >= 20_000);
    let said = task.answer("Where was the cow?", &context, &AnswerOptions::default());
    let said = said.unwrap();
    let best = &said.answers[0];
    assert_eq!(best.text, "church");
    let characters: Vec<char> = context.chars().collect();
    let found: String = characters[best.start..best.end].iter().collect();
    assert_eq!(found, "church");
    assert!(said.windows > 400);
}

#[test]
fn choices_are_learnt() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let options = options(Task::Choose, choices(64), choices(16), RECIPE, &output);
    let report = run(&options).unwrap();
    assert_eq!(report.dev.main_value(), 1.0, "{:?}", report.dev);
    let (engine, tokenizer) = open(&output, Default::default()).unwrap();
    let task = Chooser::new(engine, tokenizer).unwrap();
    let context = "Somebody slept in the garden.";
    let said = task.choose(context, "It was a _ .", &["engine", "cow"]);
    assert_eq!(said.unwrap().choice, 1);
}

#[test]
fn a_difference_answers_as_the_whole_does() {
    let home = tempfile::tempdir().unwrap();
    let recipe = "epochs = 2\nbatch = 8\nrates = [3e-4]\ntrain = \"layers\"";
    let data = || (classes(32), classes(16));
    let mut folders = Vec::new();
    for difference in [false, true] {
        let output = home.path().join(format!("difference-{difference}"));
        let (train, dev) = data();
        let mut options = options(Task::Classify, train, dev, recipe, &output);
        options.difference = difference;
        run(&options).unwrap();
        folders.push(output);
    }
    let [whole, part] = [&folders[0], &folders[1]].map(|dir| Checkpoint::open(dir).unwrap());
    assert_eq!(part.config(), whole.config());
    for tensor in whole.tensors() {
        let other = part.tensor(tensor.name).unwrap();
        assert!(*tensor.to_f32() == *other.to_f32(), "{}", tensor.name);
    }
    assert!(part.bytes() < whole.bytes() - 7_000_000);
    assert!(!folders[1].join("tokenizer.json").exists());
    assert!(open(&folders[1], Default::default()).is_ok());
}

#[test]
fn rates_are_tried_and_the_best_goes_all_the_way() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let recipe = "epochs = 4\nbatch = 8\nrates = [3e-4, 1e-9]\ntrial_share = 0.5";
    let options = options(Task::Classify, classes(48), classes(32), recipe, &output);
    let mut told = Told::default();
    let stop = AtomicBool::new(false);
    let report = finetune::<Cpu>(&options, &Default::default(), &stop, &mut told);
    let report = report.unwrap().unwrap();
    assert_eq!(told.rates, [3e-4, 1e-9, 3e-4]);
    assert_eq!((report.rate, report.tried.len()), (3e-4, 2));
    assert_eq!(report.steps, 24);
}
