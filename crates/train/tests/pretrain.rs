//! Whole runs on small text: they learn, resume to the bit, stop at what is not finite, and
//! refuse what does not fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use albert_checkpoint::Checkpoint;
use albert_model::Cpu;
use albert_text::{UnigramOptions, train_unigram};
use albert_train::{
    DevScores, Error, Outcome, PretrainOptions, Progress, Recipe, RunReport, StepReport,
    TokenisingReport, pretrain,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// A folder with a corpus of simple sentences and a tokenizer learned from it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a temporary folder"));
        let text = documents();
        std::fs::write(home.path("corpus.txt"), text.join("\n\n")).expect("a corpus");
        let options = UnigramOptions {
            vocab_size: 56,
            ..UnigramOptions::default()
        };
        let tokenizer =
            train_unigram(text.into_iter(), &options, &mut |_| {}).expect("a tokenizer");
        tokenizer.save(home.0.path()).expect("a saved tokenizer");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self, output: &str, recipe: &str) -> PretrainOptions {
        let tokenizer = self.path("tokenizer.json");
        let text = format!(
            "tokenizer = {:?}\n{recipe}",
            tokenizer.display().to_string()
        );
        PretrainOptions {
            recipe: Recipe::parse(&text).expect("a recipe"),
            corpus: vec![self.path("corpus.txt")],
            output: self.path(output),
            resume: false,
            cache: None,
            threads: Some(2),
        }
    }
}

/// Small stories, whose second sentence follows from the first.
fn documents() -> Vec<String> {
    let animals = ["cat", "dog", "bird", "horse", "fish", "mouse", "cow"];
    let places = ["house", "garden", "river", "field", "road"];
    let story = |i: usize| {
        let (animal, place) = (animals[i % 7], places[i % 5]);
        let other = animals[(i * 3 + 1) % 7];
        [
            format!("One day the {animal} went to the {place}."),
            format!("At the {place} the {animal} met a {other}."),
            format!("Then the {animal} and the {other} went home."),
            format!("In the end the {animal} was happy."),
        ]
        .join(" ")
    };
    (0..200).map(story).collect()
}

/// Two lengths, accumulation, dropout, LAMB: everything that a resumed run must get right.
const TWELVE_STEPS: &str = r#"
    seed = 7
    [model]
    preset = "tiny"
    hidden_dropout_prob = 0.1
    attention_probs_dropout_prob = 0.1
    [[stage]]
    length = 32
    batch = 8
    accumulation = 2
    steps = 7
    [[stage]]
    length = 48
    batch = 4
    steps = 5
    [optimizer]
    kind = "lamb"
    rate = 2e-3
    [schedule]
    warmup_steps = 3
    [report]
    dev_share = 0.1
    dev_examples = 8
    evaluate_steps = 4
    report_steps = 2
"#;

fn run(options: &PretrainOptions) -> Result<Outcome, Error> {
    pretrain::<Cpu>(
        options,
        &Default::default(),
        &AtomicBool::new(false),
        &mut (),
    )
}

/// Stops the run after so many steps.
struct StopAt<'a>(u64, &'a AtomicBool);

impl Progress for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// `metrics.csv` without the columns that a clock makes.
fn metrics(folder: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("metrics.csv")).expect("metrics.csv");
    let row = |line: &str| {
        let fields = line.split(',').enumerate();
        fields
            .filter(|(i, _)| ![2, 3].contains(i))
            .map(|(_, field)| field.to_owned())
            .collect()
    };
    text.lines().map(row).collect()
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).expect("model.safetensors")
}

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

/// What a run says before it goes on.
#[derive(Default)]
struct Notes(Vec<String>, bool);

impl Progress for Notes {
    fn begins(&mut self, report: &RunReport) {
        self.0.clone_from(&report.notes);
    }

    fn tokenising(&mut self, _report: &TokenisingReport) {
        self.1 = true;
    }
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

/// Writes the state of a run again after `change` has had all that is no tensor.
fn change_info(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = std::fs::read(path).expect("the state");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let mut metadata = metadata.metadata().clone().expect("metadata");
    let text = metadata.get_mut("albert_training").expect("the run");
    let mut info = serde_json::from_str(text).expect("JSON");
    change(&mut info);
    *text = info.to_string();
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let bytes = safetensors::serialize(tensors.tensors(), Some(metadata)).expect("a file");
    std::fs::write(path, bytes).expect("the changed state");
}

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
    std::fs::write(&state, &bytes[..bytes.len() / 2]).expect("half a state");
    let error = run(&options).expect_err("half a state").to_string();
    assert!(
        error.contains("state.safetensors") && error.contains("damaged"),
        "{error}"
    );
}

/// Name, type, shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Writes the state of a run again after `change` has had its tensors.
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
    let bytes = safetensors::serialize(views, metadata.metadata().clone()).expect("a file");
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
    let options = UnigramOptions {
        vocab_size: 56,
        ..UnigramOptions::default()
    };
    let other = home.path("other");
    std::fs::create_dir(&other).expect("a folder");
    let tokenizer = train_unigram(text.into_iter(), &options, &mut |_| {}).expect("a tokenizer");
    tokenizer.save(&other).expect("a saved tokenizer");
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
fn a_run_learns_and_leaves_a_checkpoint_with_its_curves() {
    struct Evaluations(Vec<DevScores>);
    impl Progress for Evaluations {
        fn evaluated(&mut self, _step: u64, scores: &DevScores) {
            self.0.push(*scores);
        }
    }
    let home = Home::new();
    let options = home.options(
        "run",
        r#"
        [model]
        preset = "tiny"
        initializer_range = 0.1
        [[stage]]
        length = 48
        batch = 16
        epochs = 40
        [optimizer]
        kind = "adamw"
        rate = 5e-3
        [schedule]
        warmup_steps = 20
        [report]
        dev_share = 0.1
        dev_examples = 64
        evaluate_steps = 50
        dtype = "f16"
        "#,
    );
    let mut seen = Evaluations(Vec::new());
    pretrain::<Cpu>(
        &options,
        &Default::default(),
        &AtomicBool::new(false),
        &mut seen,
    )
    .expect("a finished run");
    let (first, last) = (seen.0[0], seen.0[seen.0.len() - 1]);
    assert!(
        last.masked_lm_loss < first.masked_lm_loss - 0.5,
        "{first:?} {last:?}"
    );
    assert!(
        last.masked_lm_accuracy > first.masked_lm_accuracy,
        "{first:?} {last:?}"
    );

    let checkpoint = Checkpoint::open(&options.output).expect("a checkpoint");
    assert_eq!(checkpoint.config().vocab_size, 56);
    assert!(checkpoint.tokenizer_file().is_some());
    let curves = std::fs::read_to_string(options.output.join("curves.svg")).expect("curves");
    assert!(curves.contains("masked-LM accuracy") && curves.ends_with("</svg>\n"));
    let rows = metrics(&options.output);
    assert!(rows.len() > 5 && rows.iter().all(|row| row.len() == rows[0].len()));

    // Another run may begin with these weights.
    let mut next = home.options("next", TWELVE_STEPS);
    next.recipe.model.initializer_range = None;
    next.recipe.start_from = Some(options.output.clone());
    next.recipe.stage.truncate(1);
    next.recipe.stage[0].steps = Some(1);
    let outcome = run(&next).expect("a finished run");
    let loss = outcome.dev.expect("an evaluation").masked_lm_loss;
    // Fresh weights begin at about ln 56 = 4.0.
    assert!(loss < 3.5, "{loss}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let home = Home::new();
    let recipe = TWELVE_STEPS
        .replace("rate = 2e-3", "rate = 1e30")
        .replace("lamb", "adamw");
    // A guard skips what it may first.
    let guarded = home.options("guarded", &format!("{recipe}[guard]\nmost_skips = 3"));
    let error = run(&guarded).expect_err("a rate of 1e30");
    let Error::TooManySpikes { count, spike, .. } = &error else {
        panic!("{error}")
    };
    assert!(*count == 3 && spike.step > 2 && spike.examples.len() >= 4);
    let spikes = std::fs::read_to_string(guarded.output.join("spikes.jsonl")).expect("spikes");
    assert_eq!(spikes.lines().count(), 3);

    let options = home.options("run", &format!("{recipe}[guard]\nskip = false"));
    let error = run(&options).expect_err("a rate of 1e30");
    let Error::NotFinite {
        step,
        pass,
        examples,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(*step > 0 && *pass == 0 && examples.len() >= 8);
    let message = error.to_string();
    assert!(
        message.contains(" at step ") && message.contains("examples "),
        "{message}"
    );
    // The last checkpoint is whole and finite.
    let checkpoint = Checkpoint::open(&options.output).expect("the last checkpoint");
    let bias = checkpoint.tensor("albert.pooler.bias").expect("a tensor");
    assert!(bias.to_f32().iter().all(|value| value.is_finite()));
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
        run(&options).expect_err("a bad corpus").to_string()
    };
    assert!(error("empty.txt", b"").contains("the corpus is empty"));
    assert!(error("blank.jsonl", b"{\"text\": \"  \"}\n").contains("the corpus is empty"));
    assert!(error("latin.txt", b"A good line.\n\xe9t\xe9\n").contains("latin.txt: line 2 is not"));
    assert!(error("one.txt", b"One sentence. And two.").contains("a single document"));
    assert!(error("words.txt", b"Yes.\n\nNo.\n\nYes.").contains("too small"));
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
