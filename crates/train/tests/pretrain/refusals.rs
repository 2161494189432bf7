//! What does not fit a run is refused by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use albert_model::Cpu;
use albert_train::{Error, PretrainOptions, pretrain};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::common::*;

#[test]
fn what_does_not_fit_is_refused_before_anything_is_tokenised() {
    let home = Home::new();
    let mut options = home.options("run", &TWELVE_STEPS.replace("steps = 7", "steps = 1"));
    run(&options).expect("a finished run");
    options.resume = true;
    let refused = |options: &PretrainOptions| {
        let mut notes = Notes::default();
        let stop = AtomicBool::new(false);
        let error = pretrain::<Cpu>(options, &Default::default(), &stop, &mut notes)
            .expect_err("what does not fit");
        assert!(!notes.1, "the corpus was tokenised first");
        error
    };
    // The recipe is looked at before the corpus.
    let mut other = options.clone();
    other.recipe.optimizer.rate = 1.0;
    other.corpus = vec![home.path("missing.txt")];
    let error = refused(&other);
    assert!(matches!(error, Error::RecipeChanged { .. }), "{error}");

    // Without a cache the text would have to be tokenised to be compared.
    let text = std::fs::read_to_string(home.path("corpus.txt")).expect("the corpus");
    std::fs::write(home.path("corpus.txt"), text + "\n\nOne more. It is short.").expect("a corpus");
    let error = refused(&options);
    assert!(
        matches!(error, Error::InputChanged { what: "corpus", .. }),
        "{error}"
    );
}

#[test]
fn what_cannot_be_written_or_held_out_is_refused_before_anything_is_tokenised() {
    let home = Home::new();
    std::fs::write(home.path("file"), "in the way").expect("a file");
    std::fs::write(home.path("notes.md"), "Held out.").expect("a file");
    let options = home.options("run", TWELVE_STEPS);
    let refused = |change: &dyn Fn(&mut PretrainOptions)| {
        let mut options = options.clone();
        change(&mut options);
        let (mut notes, stop) = (Notes::default(), AtomicBool::new(false));
        let error = pretrain::<Cpu>(&options, &Default::default(), &stop, &mut notes)
            .expect_err("what cannot be done");
        assert!(!notes.1, "the corpus was tokenised first");
        assert!(!options.output.exists() || !options.output.is_dir());
        error.to_string()
    };
    let error = refused(&|options| options.output = home.path("file"));
    assert!(error.contains("file"), "{error}");
    let error = refused(&|options| options.output = home.path("file/run"));
    assert!(error.contains("file"), "{error}");
    let error = refused(&|options| options.cache = Some(home.path("file/cache")));
    assert!(error.contains("cache"), "{error}");
    let held_out =
        |path| refused(&|options| options.recipe.report.dev_corpus = Some(home.path(path)));
    let error = held_out("notes.md");
    assert!(error.contains("notes.md: not a corpus"), "{error}");
    let error = held_out("missing.txt");
    assert!(error.contains("missing.txt"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_when_resuming() {
    let home = Home::new();
    let mut options = home.options("run", &TWELVE_STEPS.replace("steps = 7", "steps = 1"));
    run(&options).expect("a finished run");

    let error = run(&options).expect_err("the folder is in use");
    assert!(matches!(error, Error::OutputExists { .. }), "{error}");
    // Killed before its first state was whole: nothing is there but a file that was begun.
    let begun = home.options("begun", &TWELVE_STEPS.replace("steps = 7", "steps = 1"));
    std::fs::create_dir_all(begun.output.join("training")).expect("a folder");
    std::fs::write(begun.output.join("training/.albert-x.part"), "half").expect("a leftover");
    run(&begun).expect("a finished run");

    options.resume = true;
    let state = options.output.join("training/state.safetensors");
    let good = std::fs::read(&state).expect("a state");
    change_info(&state, |info| info["stage"] = 9.into());
    let error = run(&options).expect_err("another stage").to_string();
    assert!(
        error.contains("state.safetensors") && error.contains("stage[9]"),
        "{error}"
    );
    std::fs::write(&state, good).expect("the state again");
    let mut other = options.clone();
    other.recipe.optimizer.rate = 1.0;
    let error = run(&other).expect_err("another rate").to_string();
    assert!(
        error.contains("`optimizer.rate` was 0.002 when the run began and is 1.0"),
        "{error}"
    );

    let text = std::fs::read_to_string(home.path("corpus.txt")).expect("the corpus");
    std::fs::write(home.path("corpus.txt"), text.replacen("cat", "cow", 1)).expect("a corpus");
    let error = run(&options).expect_err("another corpus").to_string();
    assert!(error.contains("the corpus is not the one"), "{error}");

    other = PretrainOptions {
        output: home.path("nowhere"),
        ..options.clone()
    };
    let error = run(&other).expect_err("no run there");
    assert!(matches!(error, Error::NothingToResume { .. }), "{error}");

    let state = options.output.join("training/state.safetensors");
    let bytes = std::fs::read(&state).expect("the state");
    let damaged = |bytes: &[u8]| {
        std::fs::write(&state, bytes).expect("a damaged state");
        let error = run(&options).expect_err("a damaged state").to_string();
        assert!(
            error.contains("state.safetensors") && error.contains("damaged"),
            "{error}"
        );
    };
    damaged(&bytes[..bytes.len() / 2]);
    // One bit, of a number, of the position in the data.
    let mut other = bytes.clone();
    other[bytes.len() - 2] ^= 0x40;
    damaged(&other);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1 << 16)]).into_owned();
    let step = text.find("\\\"step\\\":").expect("the step") + "\\\"step\\\":".len();
    let mut other = bytes.clone();
    other[step] ^= 1;
    damaged(&other);
}

/// Name, type, shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Writes the state of a run again after `change` has had its tensors; without a checksum, as
/// earlier versions wrote it.
fn change_state(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = std::fs::read(path).expect("the state");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors: BTreeMap<_, _> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (shape, data) = (view.shape().to_vec(), view.data().to_vec());
            (name, (view.dtype(), shape, data))
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = TensorView::new(*dtype, shape.clone(), data).expect("a tensor");
        (name, view)
    });
    let mut metadata = metadata.metadata().clone().expect("metadata");
    metadata.remove("checksum");
    let bytes = safetensors::serialize(views, Some(metadata)).expect("a file");
    std::fs::write(path, bytes).expect("the changed state");
}

#[test]
fn a_state_whose_tensors_do_not_fit_is_refused() {
    let home = Home::new();
    let mut options = home.options("run", TWELVE_STEPS);
    run(&options).expect("a finished run");
    options.resume = true;
    let path = options.output.join("training/state.safetensors");
    let good = std::fs::read(&path).expect("the state");
    let name = "albert.pooler.bias";
    let refused = |change: &dyn Fn(&mut Tensors)| {
        std::fs::write(&path, &good).expect("the good state");
        change_state(&path, change);
        let error = run(&options).expect_err("a state that does not fit");
        assert!(matches!(error, Error::State { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(name), "{message}");
        message
    };
    for kind in ["weight", "first", "second"] {
        let key = format!("{kind}/{name}");
        refused(&|tensors| {
            tensors.remove(&key).expect("the tensor");
        });
        refused(&|tensors| {
            let (_, shape, data) = tensors.get_mut(&key).expect("the tensor");
            shape[0] -= 1;
            data.truncate(4 * shape[0]);
        });
        let message = refused(&|tensors| {
            let (dtype, shape, _) = tensors.get_mut(&key).expect("the tensor");
            *dtype = Dtype::F16;
            shape[0] *= 2;
        });
        assert!(message.contains("F16"), "{message}");
    }
    refused(&|tensors| {
        tensors.remove(&format!("first/{name}"));
        tensors.remove(&format!("second/{name}"));
    });
    // Nothing else was wrong with it.
    std::fs::write(&path, &good).expect("the good state");
    run(&options).expect("a finished run");
}

#[test]
fn weights_of_another_model_are_refused() {
    let home = Home::new();
    let first = home.options("first", &TWELVE_STEPS.replace("steps = 7", "steps = 1"));
    run(&first).expect("a finished run");
    let refused = |options: &PretrainOptions| {
        let error = run(options).expect_err("another model");
        let message = error.to_string();
        assert!(message.contains("start_from"), "{message}");
        message
    };
    let mut next = home.options("next", TWELVE_STEPS);
    next.recipe.start_from = Some(first.output.clone());
    next.recipe.model.num_hidden_layers = Some(7);
    next.recipe.model.num_attention_heads = Some(1);
    next.recipe.model.hidden_act = Some("relu".into());
    let message = refused(&next);
    for part in [
        "`num_hidden_layers` is ",
        " and 7 here",
        "`num_attention_heads` is ",
        " and 1 here",
        "`hidden_act` is gelu_new there and relu here",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }

    // As many pieces of another text: ids would change their meaning.
    let text: Vec<String> = documents()
        .iter()
        .map(|text| text.replace('h', "z").replace('o', "q"))
        .collect();
    let other = home.path("other");
    std::fs::create_dir(&other).expect("a folder");
    save_tokenizer_of(text, &other);
    let mut next = home.options("next", TWELVE_STEPS);
    next.output = home.path("after");
    next.recipe.start_from = Some(first.output);
    next.recipe.tokenizer = other;
    let message = refused(&next);
    assert!(
        message.contains("the tokenizer (checksum ") && message.contains(": piece "),
        "{message}"
    );
}

#[test]
fn bad_corpora_are_named() {
    let home = Home::new();
    let error = |name: &str, content: &[u8]| {
        let path = home.path(name);
        std::fs::write(&path, content).expect("a corpus");
        let corpus = vec![path];
        let output = home.path(&format!("out-{name}"));
        let options = PretrainOptions {
            corpus,
            output,
            ..home.options("x", TWELVE_STEPS)
        };
        let error = run(&options).expect_err("a bad corpus").to_string();
        // The folder can be used again, with a better corpus.
        let good = PretrainOptions {
            corpus: vec![home.path("corpus.txt")],
            ..options
        };
        let stop = AtomicBool::new(false);
        let mut at_once = StopAt(1, &stop);
        let begun = pretrain::<Cpu>(&good, &Default::default(), &stop, &mut at_once);
        assert!(!begun.expect("a run in the same folder").finished);
        error
    };
    assert!(error("empty.txt", b"").contains("the corpus is empty"));
    assert!(error("blank.jsonl", b"{\"text\": \"  \"}\n").contains("the corpus is empty"));
    assert!(error("latin.txt", b"A good line.\n\xe9t\xe9\n").contains("latin.txt: line 2 is not"));
    assert!(error("one.txt", b"One sentence. And two.").contains("a single document"));
    let words = error("words.txt", b"Yes.\n\nNo.\n\nYes.");
    assert!(words.contains("no document has two sentences"), "{words}");
    assert!(error("a.parquet", b"").contains("not a corpus"));
    let missing = PretrainOptions {
        corpus: vec![home.path("missing.txt")],
        ..home.options("y", TWELVE_STEPS)
    };
    assert!(
        run(&missing)
            .expect_err("no file")
            .to_string()
            .contains("missing.txt")
    );
}
