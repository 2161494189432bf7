//! Questions whose rows others run: the same answers as the verbs', to the bit.

use std::path::Path;

use albert_tasks::{
    AnswerOptions, Answerer, Asked, Classifier, Embedder, Error, FillMask, LongText, Tagger,
    TaskSettings, TextInput, ZeroShot, engine::Engine, open, run_rows,
};

const SHORT: &str = "play blue moon by billie holiday";

/// A text longer than every model that ships reads.
fn long() -> String {
    "The ship sailed to Rome [MASK] and came back late. ".repeat(80)
}

fn shipped(
    name: &str,
) -> (
    std::sync::Arc<Engine>,
    std::sync::Arc<albert_tasks::text::Tokenizer>,
    TaskSettings,
) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name);
    let (engine, tokenizer) = open(&dir, Default::default()).unwrap();
    (engine, tokenizer, TaskSettings::read(&dir).unwrap())
}

/// Runs every row by itself, the last first.
fn alone<A: 'static>(engine: &Engine, mut asked: Asked<A>) -> A {
    let rows = asked.take_rows();
    for (index, row) in rows.iter().enumerate().rev() {
        let numbers = run_rows(engine, &[row], asked.wanted()).unwrap();
        asked.take(index, numbers.concat());
    }
    asked.answer().unwrap()
}

fn text(text: &str) -> TextInput<'_> {
    TextInput { text, pair: None }
}

#[test]
fn rows_run_one_by_one_answer_as_the_verbs_do() {
    let long = long();
    for text_ in [SHORT, &long] {
        let (engine, tokenizer, settings) = shipped("sentiment");
        let task = Classifier::new(engine.clone(), tokenizer)
            .unwrap()
            .with_settings(settings);
        let expected = task.classify(&[text(text_)]).unwrap();
        assert_eq!(
            alone(&engine, task.ask(text(text_), None).unwrap()),
            expected[0]
        );

        let (engine, tokenizer, settings) = shipped("slots");
        let task = Tagger::new(engine.clone(), tokenizer)
            .unwrap()
            .with_settings(settings);
        let expected = task.tag(&[text_]).unwrap();
        assert_eq!(alone(&engine, task.ask(text_, None).unwrap()), expected[0]);

        let (engine, tokenizer, settings) = shipped("sentences");
        let task = Embedder::new(engine.clone(), tokenizer).with_settings(settings);
        let expected = task.embed(&[text_]).unwrap();
        assert_eq!(alone(&engine, task.ask(text_, None).unwrap()), expected[0]);

        let (engine, tokenizer, settings) = shipped("qa");
        let task = Answerer::new(engine.clone(), tokenizer)
            .unwrap()
            .with_settings(settings);
        let options = AnswerOptions::default();
        let expected = task.answer("Where to?", text_, &options).unwrap();
        let asked = task.ask("Where to?", text_, &options, None).unwrap();
        assert_eq!(alone(&engine, asked), expected);

        let (engine, tokenizer, settings) = shipped("nli");
        let task = Classifier::new(engine.clone(), tokenizer)
            .unwrap()
            .with_settings(settings);
        let task = ZeroShot::new(task).unwrap();
        for multi_label in [false, true] {
            let classes = ["music", "sport", "travel"];
            let expected = task.classify(text_, &classes, multi_label).unwrap();
            let asked = task.ask(text_, &classes, multi_label, None).unwrap();
            assert_eq!(alone(&engine, asked), expected);
        }
    }

    let (engine, tokenizer, _) = shipped("mini");
    let task = FillMask::new(engine.clone(), tokenizer).unwrap();
    let expected = task.fill(&[&long], 3).unwrap();
    assert_eq!(expected[0].masks.len(), 80);
    assert_eq!(
        alone(&engine, task.ask(&long, 3, None).unwrap()),
        expected[0]
    );
}

#[test]
fn what_becomes_of_a_long_text_is_the_callers_choice() {
    let long = long();
    let (engine, tokenizer, settings) = shipped("sentiment");
    let most = settings.max_length.unwrap();
    let task = Classifier::new(engine.clone(), tokenizer)
        .unwrap()
        .with_settings(settings);
    let refused = task.ask(text(&long), Some(LongText::Refuse)).err();
    assert!(matches!(refused, Some(Error::TooLong { most: m, length }) if m == most && length > m));
    assert!(task.ask(text(SHORT), Some(LongText::Refuse)).is_ok());
    let cut = alone(&engine, task.ask(text(&long), Some(LongText::Cut)).unwrap());
    assert!(cut.truncated > 0);
    let whole = alone(
        &engine,
        task.ask(text(&long), Some(LongText::Windows)).unwrap(),
    );
    assert_eq!(whole.truncated, 0);
    let pair = TextInput {
        text: &long,
        pair: Some(SHORT),
    };
    let refused = task.ask(pair, Some(LongText::Windows)).err();
    assert!(matches!(refused, Some(Error::NoWindows)));

    let (engine, tokenizer, settings) = shipped("sentences");
    let task = Embedder::new(engine.clone(), tokenizer.clone()).with_settings(settings);
    assert!(matches!(
        task.ask(&long, Some(LongText::Refuse)).err(),
        Some(Error::TooLong { .. })
    ));
    let cut = alone(&engine, task.ask(&long, Some(LongText::Cut)).unwrap());
    let whole = alone(&engine, task.ask(&long, None).unwrap());
    assert_eq!((cut.windows, whole.windows > 1), (1, true));
    // What is read and what is not are the whole.
    let room = engine.config().max_position_embeddings - 2;
    let all = tokenizer.tokens(&long, false).unwrap().ids.len();
    assert_eq!((cut.truncated, whole.truncated), (all - room, 0));

    let (engine, tokenizer, settings) = shipped("slots");
    let task = Tagger::new(engine.clone(), tokenizer)
        .unwrap()
        .with_settings(settings);
    assert!(matches!(
        task.ask(&long, Some(LongText::Refuse)).err(),
        Some(Error::TooLong { .. })
    ));
    let cut = alone(&engine, task.ask(&long, Some(LongText::Cut)).unwrap());
    let last = cut.words.last().unwrap();
    assert_eq!((last.tag.as_str(), last.confidence), ("O", 1.0));
    let whole = alone(&engine, task.ask(&long, None).unwrap());
    assert_eq!((cut.truncated > 0, whole.truncated), (true, 0));

    let (engine, tokenizer, settings) = shipped("qa");
    let task = Answerer::new(engine.clone(), tokenizer)
        .unwrap()
        .with_settings(settings);
    let ask = |choice| task.ask("Where to?", &long, &AnswerOptions::default(), Some(choice));
    assert!(matches!(
        ask(LongText::Refuse).err(),
        Some(Error::TooLong { .. })
    ));
    let cut = alone(&engine, ask(LongText::Cut).unwrap());
    assert_eq!((cut.windows, cut.truncated > 0), (1, true));
    let whole = alone(&engine, ask(LongText::Windows).unwrap());
    assert_eq!((whole.windows > 1, whole.truncated), (true, 0));

    let (engine, tokenizer, settings) = shipped("nli");
    let classifier = Classifier::new(engine.clone(), tokenizer).unwrap();
    let task = ZeroShot::new(classifier.with_settings(settings)).unwrap();
    let cut = task.ask(&long, &["a", "b"], false, Some(LongText::Cut));
    assert!(alone(&engine, cut.unwrap()).truncated > 0);
    let short = task.ask(SHORT, &["a", "b"], false, Some(LongText::Cut));
    assert_eq!(alone(&engine, short.unwrap()).truncated, 0);

    let (engine, tokenizer, _) = shipped("mini");
    let task = FillMask::new(engine.clone(), tokenizer).unwrap();
    assert!(matches!(
        task.ask(&long, 1, Some(LongText::Refuse)).err(),
        Some(Error::TooLong { .. })
    ));
    let cut = alone(&engine, task.ask(&long, 1, Some(LongText::Cut)).unwrap());
    assert!(cut.windowed && !cut.masks.is_empty() && cut.masks.len() < 80);
    let whole = alone(&engine, task.ask(&long, 1, None).unwrap());
    assert_eq!((cut.truncated > 0, whole.truncated), (true, 0));
}

#[test]
fn an_answer_before_all_rows_is_an_error() {
    let (_, tokenizer, settings) = shipped("sentiment");
    let (engine, ..) = shipped("sentiment");
    let task = Classifier::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    let asked = task.ask(text(SHORT), None).unwrap();
    assert!(matches!(asked.answer(), Err(Error::Unanswered(0))));
}
