//! Evaluating the models that ship on a few made-up examples.

use std::path::{Path, PathBuf};

use albert_data::{
    AnswerText, Dataset, Format, QuestionExample, ScoreExample, TagExample, TextExample,
};
use albert_eval::{Evaluation, Model, Prediction, Result, evaluate, report};
use albert_tasks::{Classifier, TaskSettings, TextInput, open};

fn model(name: &str) -> Model {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name);
    let (engine, tokenizer) = open(&dir, Default::default()).unwrap();
    Model {
        engine,
        tokenizer,
        settings: TaskSettings::read(&dir).unwrap(),
    }
}

fn score(name: &str, data: &Dataset, format: Option<Format>) -> Result<Evaluation> {
    evaluate(
        &model(name),
        data,
        Path::new("dev.tsv"),
        format,
        &mut |_, _| {},
    )
}

fn classes(rows: &[(&str, Option<&str>, &str)]) -> Dataset {
    let example = |(i, (text, pair, label)): (usize, &(&str, Option<&str>, &str))| TextExample {
        line: i + 2,
        text: (*text).to_owned(),
        text_pair: pair.map(str::to_owned),
        labels: vec![(*label).to_owned()],
    };
    Dataset::Classes {
        examples: rows.iter().enumerate().map(example).collect(),
        multi_label: false,
    }
}

/// The one label that differs makes the difference, resample by resample.
#[test]
fn two_models_are_compared_on_the_same_resamples() {
    let rows = [
        ("A wonderful film.", None, "positive"),
        ("A terrible mess.", None, "negative"),
        ("Dull, dull, dull.", None, "negative"),
    ];
    let sentiment = score("sentiment", &classes(&rows), None).unwrap();
    let with_itself = sentiment.lead_over(&sentiment);
    let accuracy = with_itself["accuracy"];
    assert_eq!((accuracy.value, accuracy.interval), (0.0, [0.0, 0.0]));

    let mut wrong = rows;
    wrong[0].2 = "negative";
    let other = score("sentiment", &classes(&wrong), None).unwrap();
    let lead = sentiment.lead_over(&other)["accuracy"];
    let difference = sentiment.metrics["accuracy"] - other.metrics["accuracy"];
    assert_eq!(lead.value, difference);
    assert!(lead.value.abs() > 0.3, "{lead:?}");
    // Of three draws, none to three are of that one; the sign never changes.
    assert_eq!(lead.interval, [0.0, 1.0].map(|x| x * lead.value.signum()));
    assert!(
        sentiment
            .lead_over(&score("sentiment", &classes(&rows[1..]), None).unwrap())
            .is_empty()
    );
}

#[test]
fn scores_are_counted_from_what_the_task_says() {
    let rows = [
        ("A wonderful film.", None, "1"),
        ("A terrible mess.", None, "negative"),
        ("A terrible mess again.", None, "1"),
        ("It is fine.", None, "0"),
        ("Dull, dull, dull.", None, "0"),
    ];
    let scored = score("sentiment", &classes(&rows), Some(Format::Sst2)).unwrap();
    let Model {
        engine,
        tokenizer,
        settings,
    } = model("sentiment");
    let task = Classifier::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    let inputs = rows.map(|(text, ..)| TextInput { text, pair: None });
    let said = task.classify(&inputs).unwrap();
    let names = ["negative", "positive"];
    let right = |label: &str| {
        match label {
            "0" => names[0],
            "1" => names[1],
            name => name,
        }
        .to_owned()
    };
    let hits = said
        .iter()
        .zip(rows)
        .filter(|(said, (.., label))| said.label == Some(right(label)));
    assert_eq!(scored.metrics["accuracy"], hits.count() as f64 / 5.0);
    for (name, interval) in &scored.intervals {
        let value = scored.metrics[name];
        assert!(
            interval[0] <= value && value <= interval[1],
            "{name}: {value} {interval:?}"
        );
    }
    let confusion = scored.confusion.as_ref().unwrap();
    assert_eq!(confusion.counts.concat().iter().sum::<usize>(), 5);
    let ids: Vec<&str> = scored.predictions.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["2", "3", "4", "5", "6"]);
    assert!(
        scored
            .mistakes
            .windows(2)
            .all(|w| w[0].confidence >= w[1].confidence)
    );
    assert!(report("x", &scored).contains("negative"));
}

#[test]
fn a_model_of_three_classes_of_inference_is_asked_for_two() {
    let rows = [
        ("A man sleeps.", Some("A man is asleep."), "entailment"),
        ("A man sleeps.", Some("Nobody sleeps."), "not_entailment"),
    ];
    let scored = score("nli", &classes(&rows), Some(Format::Rte)).unwrap();
    let labels = &scored.confusion.as_ref().unwrap().labels;
    assert_eq!(labels, &["entailment", "not_entailment"]);
    assert!(scored.metrics.contains_key("f1") && !scored.metrics.contains_key("calibration_error"));
}

#[test]
fn intents_out_of_scope_are_told_apart() {
    let rows = [
        ("translate hello into spanish", None, "translate"),
        ("who made the pyramids of this planet", None, "oos"),
    ];
    let scored = score("intents", &classes(&rows), Some(Format::Clinc150)).unwrap();
    let [all, in_scope, oos] =
        ["accuracy", "in_scope_accuracy", "oos_recall"].map(|name| scored.metrics[name]);
    assert_eq!(all, (in_scope + oos) / 2.0);
    let scored = score("intents", &classes(&rows[..1]), None).unwrap();
    assert!(!scored.metrics.contains_key("oos_recall"));
    let scored = score("intents", &classes(&rows[1..]), Some(Format::Clinc150)).unwrap();
    assert!(!scored.metrics.contains_key("in_scope_accuracy"));
    // 0 and 1 are not the first two of 151 intents.
    let error = score(
        "intents",
        &classes(&[("Fine.", None, "1")]),
        Some(Format::Sst2),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("which has 151, cannot be asked"), "{error}");
}

#[test]
fn tags_that_the_model_does_not_have_are_told() {
    let example = |tags: [&str; 2]| TagExample {
        line: 4,
        words: vec!["play".to_owned(), "jazz".to_owned()],
        tags: tags.map(str::to_owned).to_vec(),
    };
    let tagged = |tags| score("slots", &Dataset::Tags(vec![example(tags)]), None);
    let error = tagged(["O", "B-PERSON"]).unwrap_err().to_string();
    assert!(
        error.contains("line 4: the model has no label `B-PERSON`"),
        "{error}"
    );
    let scored = tagged(["B-genre", "B-PERSON"]).unwrap();
    assert!(
        scored.notes[0].contains("1 tags are none of the model's"),
        "{:?}",
        scored.notes
    );
    let known = tagged(["O", "B-genre"]).unwrap();
    assert!(known.notes.is_empty());
    for name in ["f1", "precision", "recall", "accuracy", "calibration_error"] {
        assert!(known.metrics.contains_key(name), "{name}");
    }
}

#[test]
fn questions_without_an_answer_have_scores_of_their_own() {
    let question = |id: &str, answer: Option<&str>| QuestionExample {
        id: id.to_owned(),
        question: "Where did she live?".to_owned(),
        context: "Ann lived in Rome.".to_owned(),
        answers: answer
            .into_iter()
            .map(|text| AnswerText {
                text: text.to_owned(),
                start: 0,
            })
            .collect(),
        impossible: answer.is_none(),
    };
    let questions = vec![
        question("a", Some("Rome")),
        question("b", None),
        question("c", Some("Paris")),
    ];
    let scored = score("qa", &Dataset::Questions(questions), Some(Format::Squad)).unwrap();
    // This model always answers.
    assert_eq!(scored.metrics["no_answer_f1"], 0.0);
    let share = scored.metrics["has_answer_exact"] * 2.0 / 3.0;
    assert!((scored.metrics["exact_match"] - share).abs() < 1e-12);
    for name in ["exact", "f1"] {
        let best = scored.metrics[&format!("best_{name}")];
        assert!(
            best >= 1.0 / 3.0
                && scored
                    .metrics
                    .contains_key(&format!("best_{name}_threshold"))
        );
    }
    assert!(scored.notes[0].contains("1 of 3 questions") && scored.notes[0].contains("question c"));
}

#[test]
fn vectors_are_scored_by_their_cosines() {
    let example = |(i, score): (usize, f32)| ScoreExample {
        line: i + 1,
        text: "A plane is taking off.".to_owned(),
        text_pair: Some(["An airplane takes off.", "A man plays.", "A plane lands."][i].to_owned()),
        score,
    };
    let mut examples: Vec<ScoreExample> = [0.0; 3].into_iter().enumerate().map(example).collect();
    // Given its own cosines, the model is right; given their opposites, it could not be more wrong.
    let scored = score("sentences", &Dataset::Scores(examples.clone()), None).unwrap();
    let cosine = |it: &Prediction| it.answer.parse().unwrap();
    let cosines: Vec<f32> = scored.predictions.iter().map(cosine).collect();
    assert!(cosines.iter().all(|cosine| (-1.0..1.0).contains(cosine)));
    for (sign, expected) in [(1.0, 1.0), (-1.0, -1.0)] {
        for (example, cosine) in examples.iter_mut().zip(&cosines) {
            example.score = sign * cosine;
        }
        let scored = score("sentences", &Dataset::Scores(examples.clone()), None).unwrap();
        // But for the rounding of the square roots.
        assert!((scored.metrics["spearman"] - expected).abs() < 1e-12);
    }
    examples[1].text_pair = None;
    let error = score("sentences", &Dataset::Scores(examples), None).unwrap_err();
    assert!(
        error.to_string().contains("albert finetune regress"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_scored_is_told() {
    let rows = [("Fine.", None, "1"), ("Fine.", None, "mixed")];
    let error = score("sentiment", &classes(&rows), None).unwrap_err();
    let expected = "dev.tsv: line 3: the model has no label `mixed`; it has negative, positive";
    assert_eq!(error.to_string(), expected);
    let error = score("mini", &classes(&rows), None).unwrap_err();
    assert!(
        error.to_string().contains("AlbertForPreTraining"),
        "{error}"
    );

    let question = QuestionExample {
        id: "q7".to_owned(),
        question: "why ".repeat(300),
        context: "Because.".to_owned(),
        answers: vec![AnswerText {
            text: "Because".to_owned(),
            start: 0,
        }],
        impossible: false,
    };
    let mut short = question.clone();
    short.question = "Why?".to_owned();
    let error = score(
        "qa",
        &Dataset::Questions(vec![short.clone(), question]),
        None,
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("dev.tsv: question q7: the question has"),
        "{error}"
    );
    let scored = score("qa", &Dataset::Questions(vec![short]), Some(Format::Squad)).unwrap();
    assert!(scored.metrics["f1"] >= scored.metrics["exact_match"]);
    assert_eq!(scored.predictions[0].id, "q7");
}
