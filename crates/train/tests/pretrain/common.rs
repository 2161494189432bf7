//! A corpus, recipes and runs that the tests of this folder share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use albert_model::Cpu;
use albert_text::{UnigramOptions, train_unigram};
use albert_train::{
    Error, Outcome, PretrainOptions, Progress, Recipe, RunReport, StepReport, TokenisingReport,
    pretrain,
};
use safetensors::tensor::SafeTensors;

/// A folder with a corpus of simple sentences and a tokenizer learned from it.
pub struct Home(pub tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a temporary folder"));
        let text = documents();
        std::fs::write(home.path("corpus.txt"), text.join("\n\n")).expect("a corpus");
        save_tokenizer_of(text, home.0.path());
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn options(&self, output: &str, recipe: &str) -> PretrainOptions {
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

/// Learns a tokenizer of 56 pieces from the text and saves it.
pub fn save_tokenizer_of(text: Vec<String>, folder: &Path) {
    let options = UnigramOptions {
        vocab_size: 56,
        ..UnigramOptions::default()
    };
    let tokenizer = train_unigram(text.into_iter(), &options, &mut |_| {}).expect("a tokenizer");
    tokenizer.save(folder).expect("a saved tokenizer");
}

/// Small stories, whose second sentence follows from the first.
pub fn documents() -> Vec<String> {
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
pub const TWELVE_STEPS: &str = r#"
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
    both_orders = true
    order_weight = 2.0
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

pub fn run(options: &PretrainOptions) -> Result<Outcome, Error> {
    pretrain::<Cpu>(
        options,
        &Default::default(),
        &AtomicBool::new(false),
        &mut (),
    )
}

/// Stops the run after so many steps.
pub struct StopAt<'a>(pub u64, pub &'a AtomicBool);

impl Progress for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// `metrics.csv` without the columns that a clock makes.
pub fn metrics(folder: &Path) -> Vec<Vec<String>> {
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

pub fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).expect("model.safetensors")
}

/// What a run says before it goes on.
#[derive(Default)]
pub struct Notes(pub Vec<String>, pub bool);

impl Progress for Notes {
    fn begins(&mut self, report: &RunReport) {
        self.0.clone_from(&report.notes);
    }

    fn tokenising(&mut self, _report: &TokenisingReport) {
        self.1 = true;
    }
}

/// Writes the state of a run again after `change` has had all that is no tensor; without a checksum,
/// as earlier versions wrote it.
pub fn change_info(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = std::fs::read(path).expect("the state");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let mut metadata = metadata.metadata().clone().expect("metadata");
    metadata.remove("checksum").expect("a checksum");
    let text = metadata.get_mut("albert_training").expect("the run");
    let mut info = serde_json::from_str(text).expect("JSON");
    change(&mut info);
    *text = info.to_string();
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let bytes = safetensors::serialize(tensors.tensors(), Some(metadata)).expect("a file");
    std::fs::write(path, bytes).expect("the changed state");
}
