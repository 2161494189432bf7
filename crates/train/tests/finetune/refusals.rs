//! What cannot be learnt is refused by file and line.

use albert_checkpoint::{AlbertConfig, Checkpoint, DType, SaveTensor, save};
use albert_data::Dataset;
use albert_train::finetune::Task;

use crate::common::{any_classes, classes, mini, options, questions, run, scores, tags};

const RECIPE: &str = "epochs = 1\nbatch = 8\nrates = [1e-4]";

fn refusal(task: Task, train: Dataset, dev: Dataset) -> String {
    let home = tempfile::tempdir().unwrap();
    let options = options(task, train, dev, RECIPE, &home.path().join("model"));
    let message = run(&options).unwrap_err().to_string();
    assert!(!options.output.exists(), "{message}");
    message
}

#[test]
fn labels_and_kinds_that_do_not_fit() {
    let mut dev = classes(8);
    if let Dataset::Classes { examples, .. } = &mut dev {
        examples[2].labels = vec!["plant".into()];
    }
    let message = refusal(Task::Classify, classes(8), dev);
    assert_eq!(
        message,
        "dev.jsonl: line 3: the label `plant` is not among those that are learnt: animal, tool"
    );

    let message = refusal(Task::Classify, scores(8), classes(8));
    assert!(
        message.starts_with("train.jsonl: has 0 classes"),
        "{message}"
    );
    let message = refusal(Task::Answer, classes(8), questions(8));
    assert!(
        message.starts_with("train.jsonl: has classes; `answer` needs questions"),
        "{message}"
    );
    let message = refusal(Task::Embed, classes(8), scores(8));
    assert!(
        message.contains("train.jsonl: line 1: has one text"),
        "{message}"
    );

    let mut train = questions(8);
    if let Dataset::Questions(examples) = &mut train {
        examples[1].question = "why ".repeat(300);
    }
    let message = refusal(Task::Answer, train, questions(8));
    assert!(
        message.starts_with("train.jsonl: question q1: the question has"),
        "{message}"
    );
}

#[test]
fn settings_that_would_do_nothing() {
    for (setting, task, data) in [
        ("few_shot_epochs = 1.0", Task::Tag, tags(8)),
        ("r_drop = 1.0", Task::Answer, questions(8)),
        ("r_drop = 1.0", Task::Classify, any_classes(8)),
        ("class_weights = \"balanced\"", Task::Regress, scores(8)),
    ] {
        let home = tempfile::tempdir().unwrap();
        let recipe = format!("{RECIPE}\n{setting}");
        let output = home.path().join("model");
        let options = options(task, data.clone(), data, &recipe, &output);
        let message = run(&options).unwrap_err().to_string();
        let name = setting.split(' ').next().unwrap();
        assert!(
            message.contains(&format!("`{name}`: goes with")),
            "{message}"
        );
    }
}

/// Before anything is learnt, not after.
#[test]
fn a_difference_from_a_difference() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("model");
    let mut options = options(Task::Classify, classes(8), classes(8), RECIPE, &output);
    options.model = mini().with_file_name("sentiment");
    options.difference = true;
    let message = run(&options).unwrap_err().to_string();
    assert!(message.contains("cannot be a base"), "{message}");
    assert!(!output.exists());
}

/// A classifier whose labels have no names looks like a head for numbers.
#[test]
fn numbers_are_learnt_from_a_classifier_without_names() {
    let home = tempfile::tempdir().unwrap();
    let first = home.path().join("classifier");
    run(&options(
        Task::Classify,
        classes(8),
        classes(8),
        RECIPE,
        &first,
    ))
    .unwrap();
    let path = first.join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config
        .replace("animal", "LABEL_0")
        .replace("tool", "LABEL_1");
    std::fs::write(&path, config).unwrap();
    let second = home.path().join("numbers");
    let mut given = options(Task::Regress, scores(8), scores(8), RECIPE, &second);
    given.model = first;
    run(&given).unwrap();
    let checkpoint = Checkpoint::open(&second).unwrap();
    assert_eq!(checkpoint.config().id2label.len(), 1);
}

#[test]
fn answers_that_are_not_there_are_counted() {
    let home = tempfile::tempdir().unwrap();
    let mut train = questions(8);
    if let Dataset::Questions(examples) = &mut train {
        examples[1].answers[0].text = "moon".into();
    }
    let output = home.path().join("model");
    let report = run(&options(Task::Answer, train, questions(8), RECIPE, &output)).unwrap();
    assert_eq!(report.examples, 7);
    let note = &report.notes[0];
    let expected = "1 of 8 answers do not occur in their contexts and are not learnt from";
    assert!(note.starts_with(expected), "{note}");
    let Dataset::Questions(mut examples) = questions(8) else {
        panic!("questions");
    };
    let named = format!("question {} in train", examples[1].id);
    assert!(note.contains(&named), "{note}");
    // A second answer that is there is learnt; where none is, there is nothing to learn from.
    let there = examples[1].answers[0].clone();
    examples[1].answers[0].text = "moon".into();
    examples[1].answers.push(there);
    let train = Dataset::Questions(examples.clone());
    let output = home.path().join("second");
    let report = run(&options(Task::Answer, train, questions(8), RECIPE, &output)).unwrap();
    assert_eq!((report.examples, report.notes.len()), (8, 0));
    assert!(report.train.is_some() && report.calibration.is_some());
    for example in &mut examples {
        example.answers.truncate(1);
        example.answers[0].text = "moon".into();
    }
    let message = refusal(Task::Answer, Dataset::Questions(examples), questions(8));
    assert!(
        message.contains("none of its 8 answers occurs in its context"),
        "{message}"
    );
}

#[test]
fn a_folder_with_numbers_that_are_none_is_not_fine_tuned() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("broken");
    let checkpoint = Checkpoint::open(&mini()).unwrap();
    let config: AlbertConfig = checkpoint.config().clone();
    let mut values: Vec<_> = checkpoint
        .tensors()
        .map(|t| (t.name.to_owned(), t.shape.to_vec(), t.to_f32().into_owned()))
        .collect();
    values[3].2[5] = f32::NAN;
    let name = values[3].0.clone();
    let tensors: Vec<SaveTensor<'_>> = values
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect();
    let tokenizer = mini().join("tokenizer.json");
    let extra = [("tokenizer.json", tokenizer.as_path())];
    save(&dir, &config, &tensors, DType::F32, &extra).unwrap();
    let output = home.path().join("model");
    let mut options = options(Task::Classify, classes(8), classes(8), RECIPE, &output);
    options.model = dir;
    let message = run(&options).unwrap_err().to_string();
    assert!(
        message.contains(&name) && message.contains("not finite"),
        "{message}"
    );
}

#[test]
fn a_rate_that_is_far_too_high_is_told() {
    let home = tempfile::tempdir().unwrap();
    let recipe = "epochs = 40\nbatch = 8\nrates = [1e30]\nwarmup_steps = 0";
    let output = home.path().join("model");
    let options = options(Task::Classify, classes(16), classes(8), recipe, &output);
    let message = run(&options).unwrap_err().to_string();
    assert!(
        message.contains("at rate 1e30 the loss came apart"),
        "{message}"
    );
}
