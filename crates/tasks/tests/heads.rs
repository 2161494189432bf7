//! The tasks over heads of made-up numbers on the encoder that ships.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, DType, ProblemType, SaveTensor};
use albert_tasks::engine::{Batch, Engine, What};
use albert_tasks::text::Tokenizer;
use albert_tasks::{
    AnswerOptions, Answerer, Chooser, Classifier, Embedder, Error, Pooling, Tagger, TaskSettings,
    TextInput, ZeroShot, cosine, features, open,
};

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini")
}

/// A model of `mini`'s encoder under another head.
struct Folder {
    home: tempfile::TempDir,
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
}

fn folder(architecture: Architecture, labels: &[&str], problem: Option<ProblemType>) -> Folder {
    let checkpoint = Checkpoint::open(&mini()).unwrap();
    let mut config: AlbertConfig = checkpoint.config().clone().with_architecture(architecture);
    config.id2label = labels.iter().map(|&label| label.to_owned()).collect();
    config.problem_type = problem;
    let values: Vec<_> = config
        .parameters()
        .into_iter()
        .map(|spec| {
            let values = match checkpoint.tensor(&spec.name) {
                Ok(tensor) => tensor.to_f32().into_owned(),
                // Numbers that tell positions apart, of the size that heads have.
                Err(_) => (0..spec.elements())
                    .map(|i| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) / 8.0)
                    .collect(),
            };
            (spec.name, spec.shape, values)
        })
        .collect();
    let tensors: Vec<SaveTensor<'_>> = values
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect();
    let home = tempfile::tempdir().unwrap();
    let tokenizer = mini().join("tokenizer.json");
    let extra = [("tokenizer.json", tokenizer.as_path())];
    let dir = home.path().join("model");
    albert_checkpoint::save(&dir, &config, &tensors, DType::F32, &extra).unwrap();
    let (engine, tokenizer) = open(&dir, Default::default()).unwrap();
    Folder {
        home,
        engine,
        tokenizer,
    }
}

impl Folder {
    fn parts(&self) -> (Arc<Engine>, Arc<Tokenizer>) {
        (self.engine.clone(), self.tokenizer.clone())
    }
}

fn texts<'a>(texts: &[&'a str]) -> Vec<TextInput<'a>> {
    let input = |text: &&'a str| TextInput { text, pair: None };
    texts.iter().map(input).collect()
}

#[test]
fn classes_are_the_softmax_of_the_head_over_the_temperature() {
    let labels = ["a", "b", "c"];
    let folder = folder(Architecture::SequenceClassification, &labels, None);
    let (engine, tokenizer) = folder.parts();
    let settings = TaskSettings {
        temperature: Some(2.0),
        ..TaskSettings::default()
    };
    let task = Classifier::new(engine.clone(), tokenizer.clone())
        .unwrap()
        .with_settings(settings);
    let row = features::text(&tokenizer, "A long day.", Some("It ended."), 64).unwrap();
    let mut batch = Batch::new();
    batch.push(&row.ids, Some(&row.type_ids)).unwrap();
    let what = What {
        head: true,
        ..What::default()
    };
    let logits = engine
        .forward(&batch, &what)
        .unwrap()
        .sequence_logits
        .unwrap();
    let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / 2.0).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let pair = TextInput {
        text: "A long day.",
        pair: Some("It ended."),
    };
    let said = &task.classify(&[pair]).unwrap()[0];
    assert_eq!(said.labels.len(), 3);
    for label in &said.labels {
        let id = labels.iter().position(|&l| l == label.label).unwrap();
        // Stored in 32 bits: a relative rounding of 6e-8, and one more in the exponent.
        assert!((f64::from(label.probability) / (powers[id] / sum) - 1.0).abs() < 1e-6);
    }
    assert!(
        said.labels
            .windows(2)
            .all(|w| w[0].probability >= w[1].probability)
    );
    assert_eq!(said.label.as_ref(), Some(&said.labels[0].label));
    assert_eq!(said.confidence, Some(said.labels[0].probability));
}

#[test]
fn answers_do_not_depend_on_what_is_asked_beside_them() {
    let folder = folder(Architecture::SequenceClassification, &["a", "b"], None);
    let (engine, tokenizer) = folder.parts();
    let task = Classifier::new(engine, tokenizer).unwrap();
    let long = "word ".repeat(300);
    let all = [
        "Short.",
        long.as_str(),
        "",
        "A sentence of middle length, not more.",
    ];
    let together = task.classify(&texts(&all)).unwrap();
    for (text, said) in all.iter().zip(&together) {
        assert_eq!(&task.classify(&texts(&[text])).unwrap()[0], said);
    }
    let longer = "word ".repeat(600);
    let said = &task.classify(&texts(&[&longer])).unwrap()[0];
    assert_eq!(said.truncated, 602 - 512);
    assert!(task.classify(&[]).unwrap().is_empty());
}

#[test]
fn numbers_and_any_number_of_classes() {
    let regression = Some(ProblemType::Regression);
    let number = folder(Architecture::SequenceClassification, &["score"], regression);
    let (engine, tokenizer) = number.parts();
    let task = Classifier::new(engine, tokenizer).unwrap();
    let logits = task.logits(&texts(&["Hello."])).unwrap();
    let said = &task.classify(&texts(&["Hello."])).unwrap()[0];
    assert_eq!(said.score, Some(logits[0].0[0]));
    assert!(said.label.is_none() && said.labels.is_empty());

    let multi = Some(ProblemType::MultiLabel);
    let any = folder(
        Architecture::SequenceClassification,
        &["a", "b", "c"],
        multi,
    );
    let (engine, tokenizer) = any.parts();
    let task = Classifier::new(engine.clone(), tokenizer.clone()).unwrap();
    let logits = task.logits(&texts(&["Hello."])).unwrap();
    let said = &task.classify(&texts(&["Hello."])).unwrap()[0];
    let over = logits[0].0.iter().filter(|&&logit| logit > 0.0).count();
    assert_eq!(said.assigned.as_ref().unwrap().len(), over);
    let none = TaskSettings {
        multi_label_threshold: Some(0.999),
        ..TaskSettings::default()
    };
    let task = Classifier::new(engine, tokenizer)
        .unwrap()
        .with_settings(none);
    let said = &task.classify(&texts(&["Hello."])).unwrap()[0];
    assert_eq!(said.assigned.as_deref(), Some(&[][..]));
}

#[test]
fn inference_becomes_classes_by_name() {
    let labels = ["Contradiction", "entailment", "neutral"];
    let folder = folder(Architecture::SequenceClassification, &labels, None);
    let (engine, tokenizer) = folder.parts();
    let classifier = Classifier::new(engine, tokenizer).unwrap();
    let pair = |class: &str| format!("This text is about {class}.");
    let logit = |class: &str| {
        let said = pair(class);
        let input = TextInput {
            text: "It rains.",
            pair: Some(&said),
        };
        f64::from(classifier.logits(&[input]).unwrap()[0].0[1])
    };
    let (sport, weather) = (logit("sport"), logit("weather"));
    let expected = weather.exp() / (weather.exp() + sport.exp());
    let task = ZeroShot::new(classifier).unwrap();
    let said = task
        .classify("It rains.", &["sport", "weather"], false)
        .unwrap();
    let found = said.labels.iter().find(|l| l.label == "weather").unwrap();
    assert!((f64::from(found.probability) - expected).abs() < 1e-6);
    assert!(matches!(
        task.classify("x", &[], false),
        Err(Error::NoChoice)
    ));
    for (classes, place) in [(["a", "b", "a"], 2), (["a", " ", "b"], 1)] {
        let refused = task.classify("x", &classes, true);
        assert!(matches!(refused, Err(Error::Class { class, .. }) if class == place));
    }
    let message = task.with_hypothesis("No place.").err().unwrap().to_string();
    assert!(message.contains("No place."), "{message}");

    let other = self::folder(Architecture::SequenceClassification, &["yes", "no"], None);
    let (engine, tokenizer) = other.parts();
    let message = ZeroShot::new(Classifier::new(engine, tokenizer).unwrap());
    let message = message.err().unwrap().to_string();
    assert!(
        message.contains("`entailment`") && message.contains("yes, no"),
        "{message}"
    );
}

#[test]
fn every_word_of_a_text_of_any_length_has_a_tag() {
    let folder = folder(
        Architecture::TokenClassification,
        &["O", "B-x", "I-x"],
        None,
    );
    let (engine, tokenizer) = folder.parts();
    let short = TaskSettings {
        max_length: Some(32),
        ..TaskSettings::default()
    };
    let task = Tagger::new(engine.clone(), tokenizer.clone())
        .unwrap()
        .with_settings(short);
    let text = "Ça va, señor? 漢字 naïve (word) ".repeat(20);
    let said = &task.tag(&[&text]).unwrap()[0];
    let characters: Vec<char> = text.chars().collect();
    assert_eq!(said.words.len(), 20 * 10);
    for word in &said.words {
        let there: String = characters[word.start..word.end].iter().collect();
        assert_eq!(there, word.text);
    }
    for entity in &said.entities {
        let there: String = characters[entity.start..entity.end].iter().collect();
        assert_eq!((there, entity.label.as_str()), (entity.text.clone(), "x"));
    }
    assert!(said.words.iter().any(|word| word.confidence < 1.0));
    assert!(
        task.tag(&["", "  "])
            .unwrap()
            .iter()
            .all(|t| t.words.is_empty())
    );

    // A text that fits is read once, as its words are in fine-tuning.
    let whole = Tagger::new(engine.clone(), tokenizer.clone()).unwrap();
    let words = vec!["play", "blue", "moon"];
    let (row, places) = features::words(&tokenizer, &words, 32).unwrap();
    let mut batch = Batch::new();
    batch.push(&row.ids, Some(&row.type_ids)).unwrap();
    let what = What {
        head: true,
        ..What::default()
    };
    let logits = engine.forward(&batch, &what).unwrap().token_logits.unwrap();
    let tags = whole.tag_words(&[words]).unwrap();
    for (place, (tag, _)) in places.iter().zip(&tags[0]) {
        let row = &logits[place.unwrap() * 3..][..3];
        let id = ["O", "B-x", "I-x"].iter().position(|t| t == tag).unwrap();
        assert!(row.iter().all(|&other| other <= row[id]));
    }
}

#[test]
fn the_first_pieces_of_words_are_found_by_their_characters() {
    let (_, tokenizer) = open(&mini(), Default::default()).unwrap();
    let words = ["Élan's", "\u{200b}", "漢字", "unbelievableness", ".", "of"];
    let (row, places) = features::words(&tokenizer, &words, 64).unwrap();
    let joined = words.join(" ");
    let characters: Vec<char> = joined.chars().collect();
    let mut start = 0;
    for (word, place) in words.iter().zip(&places) {
        let count = word.chars().count();
        if let Some(place) = *place {
            let (from, to) = row.offsets[place];
            let piece: String = characters[from..to].iter().collect();
            // The piece may take the space before its word along.
            assert!(
                word.starts_with(piece.trim()) && to > start,
                "{word}: {piece:?}"
            );
            assert!(
                from + 1 >= start && to <= start + count,
                "{word}: {from}..{to}"
            );
        }
        start += count + 1;
    }
    assert!(places[0].is_some() && places[3].is_some() && places[5].is_some());
    let (cut, places) = features::words(&tokenizer, &words, 6).unwrap();
    assert!(cut.truncated > 0 && places[5].is_none());
}

#[test]
fn answers_are_places_in_a_text_of_any_length_and_differ() {
    let folder = folder(
        Architecture::QuestionAnswering,
        &["LABEL_0", "LABEL_1"],
        None,
    );
    let (engine, tokenizer) = folder.parts();
    let task = Answerer::new(engine, tokenizer.clone()).unwrap();
    let sentence = |i: usize| {
        format!("Zoë {i} lived in Zürich.  She was a painter; her café (the “Größe”) burnt down. ")
    };
    let context: String = (0..1400).map(sentence).collect();
    assert!(context.split_whitespace().count() > 20_000);
    let options = AnswerOptions {
        top: 5,
        max_length: Some(64),
        ..AnswerOptions::default()
    };
    let said = task
        .answer("Where did Zoë live?", &context, &options)
        .unwrap();
    // Every window has something that its neighbours have not.
    let pieces = tokenizer.tokens(&context, false).unwrap().len();
    assert!(said.windows > pieces / 64 && said.windows < pieces / 16);
    assert!((1..=5).contains(&said.answers.len()));
    let characters: Vec<char> = context.chars().collect();
    for answer in &said.answers {
        let there: String = characters[answer.start..answer.end].iter().collect();
        assert_eq!(there, answer.text);
    }
    assert!(said.answers.windows(2).all(|w| w[0].score >= w[1].score));
    for (i, a) in said.answers.iter().enumerate() {
        let others = said.answers[i + 1..].iter();
        assert!(others.clone().all(|b| a.end <= b.start || b.end <= a.start));
        let said = |text: &str| text.trim().to_lowercase();
        assert!(others.clone().all(|b| said(&a.text) != said(&b.text)));
    }
    let sum: f32 = said.answers.iter().map(|a| a.confidence).sum();
    assert!(sum > 0.0 && sum <= 1.0 + 1e-6);

    let refusal = |question: &str, context: &str| {
        let said = task.answer(question, context, &options);
        said.unwrap_err().to_string()
    };
    assert!(refusal("Why?", " \n").starts_with("the context is blank"));
    assert!(refusal("", "Text.").starts_with("the question is blank"));
    let message = refusal(&"why ".repeat(70), "Text.");
    assert!(message.contains("the question has 70 pieces"), "{message}");
}

#[test]
fn a_score_of_none_beyond_the_threshold_is_no_answer() {
    let folder = folder(
        Architecture::QuestionAnswering,
        &["LABEL_0", "LABEL_1"],
        None,
    );
    let (engine, tokenizer) = folder.parts();
    let answer = |threshold: Option<f32>| {
        let settings = TaskSettings {
            no_answer_threshold: threshold,
            ..TaskSettings::default()
        };
        let task = Answerer::new(engine.clone(), tokenizer.clone())
            .unwrap()
            .with_settings(settings);
        task.answer("Where?", "In Rome.", &AnswerOptions::default())
            .unwrap()
    };
    let plain = answer(None);
    assert!(!plain.no_answer);
    let score = plain.no_answer_score;
    assert!(answer(Some(score - 0.1)).no_answer && !answer(Some(score + 0.1)).no_answer);
    let probability = answer(Some(score)).no_answer_probability.unwrap();
    assert!((probability - 0.5).abs() < 1e-6);
    assert_eq!(plain.no_answer_probability, None);
}

#[test]
fn one_choice_is_the_likeliest() {
    let folder = folder(Architecture::MultipleChoice, &["LABEL_0"], None);
    let (engine, tokenizer) = folder.parts();
    let task = Chooser::new(engine, tokenizer).unwrap();
    let context = "A long story. ".repeat(300);
    let said = task
        .choose(&context, "It was _ .", &["a dog", "a cat", "nothing"])
        .unwrap();
    assert!((said.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(said.confidence, said.probabilities[said.choice]);
    assert!(said.probabilities.iter().all(|&p| p <= said.confidence));
    assert!(said.truncated > 0);
    assert!(matches!(
        task.choose("", "", &["one"]),
        Err(Error::NoChoice)
    ));
}

#[test]
fn vectors_have_length_one_and_long_texts_all_their_windows() {
    let (engine, tokenizer) = open(&mini(), Default::default()).unwrap();
    let task = Embedder::new(engine.clone(), tokenizer.clone());
    let long = "word by word it went on ".repeat(200);
    let said = task.embed(&["Hello.", &long, ""]).unwrap();
    assert_eq!(
        said.iter().map(|s| s.windows > 1).collect::<Vec<_>>(),
        [false, true, false]
    );
    for embedding in &said {
        let norm = cosine(&embedding.vector, &embedding.vector);
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    assert!((task.similarity("Hello.", "Hello.").unwrap() - 1.0).abs() < 1e-5);
    let first = Embedder::new(engine, tokenizer).with_pooling(Pooling::Cls);
    assert!(first.embed(&["Hello."]).unwrap()[0].vector != said[0].vector);
}

#[test]
fn a_folder_without_the_head_says_how_to_get_one() {
    let (engine, tokenizer) = open(&mini(), Default::default()).unwrap();
    let errors = [
        Classifier::new(engine.clone(), tokenizer.clone()).err(),
        Tagger::new(engine.clone(), tokenizer.clone()).err(),
        Answerer::new(engine.clone(), tokenizer.clone()).err(),
        Chooser::new(engine, tokenizer).err(),
    ];
    for (error, task) in errors
        .into_iter()
        .zip(["classify", "tag", "answer", "choose"])
    {
        let message = error.unwrap().to_string();
        assert!(message.contains("AlbertForPreTraining"), "{message}");
        assert!(
            message.contains(&format!("albert finetune {task}")),
            "{message}"
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let folder = folder(Architecture::TokenClassification, &["O", "B-x"], None);
    let dir = folder.home.path().join("model");
    assert_eq!(TaskSettings::read(&dir).unwrap(), TaskSettings::default());
    let settings = TaskSettings {
        max_length: Some(64),
        temperature: Some(1.5),
        pooling: Some(Pooling::Cls),
        ..TaskSettings::default()
    };
    settings.save(&dir).unwrap();
    assert_eq!(TaskSettings::read(&dir).unwrap(), settings);
    for (text, named) in [
        ("{\"temperature\": 0}", "temperature"),
        ("{\"max_length\": 3}", "max_length"),
        ("{\"multi_label_threshold\": 1.5}", "multi_label_threshold"),
        ("{\"temprature\": 1}", "temprature"),
        ("{\"pooling\": \"max\"}", "max"),
        ("[", "task.json"),
    ] {
        std::fs::write(dir.join("task.json"), text).unwrap();
        let message = TaskSettings::read(&dir).unwrap_err().to_string();
        assert!(
            message.contains("task.json") && message.contains(named),
            "{message}"
        );
    }
}
