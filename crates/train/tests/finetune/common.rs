//! What the tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use albert_checkpoint::DType;
use albert_data::{AnswerText, ChoiceExample, Dataset, QuestionExample, ScoreExample, TagExample};
use albert_data::{Format, TextExample};
use albert_model::Cpu;
use albert_train::finetune::{FinetuneProgress, Report, Source, Starts, Task};
use albert_train::{FinetuneOptions, FinetuneRecipe, Result, finetune};

/// The model that ships.
pub fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini")
}

const ANIMALS: [&str; 8] = [
    "dog", "cat", "horse", "cow", "bird", "fish", "sheep", "lion",
];
const TOOLS: [&str; 8] = [
    "hammer", "knife", "sword", "wheel", "gun", "axe", "rope", "engine",
];
const PLACES: [&str; 8] = [
    "garden", "house", "river", "town", "forest", "church", "street", "school",
];

/// Texts about animals and about tools.
pub fn classes(count: usize) -> Dataset {
    let example = |i: usize| {
        let (word, label) = match i % 2 {
            0 => (ANIMALS[i / 2 % 8], "animal"),
            _ => (TOOLS[i / 2 % 8], "tool"),
        };
        TextExample {
            line: i + 1,
            text: format!("I saw a {word} in the {}.", PLACES[i * 3 % 8]),
            text_pair: None,
            labels: vec![label.to_owned()],
        }
    };
    Dataset::Classes {
        examples: (0..count).map(example).collect(),
        multi_label: false,
    }
}

/// The same texts with any number of classes.
pub fn any_classes(count: usize) -> Dataset {
    let Dataset::Classes { mut examples, .. } = classes(count) else {
        unreachable!("classes are classes");
    };
    for (i, example) in examples.iter_mut().enumerate() {
        if i % 4 == 0 {
            example.text += " There was a king.";
            example.labels.push("king".to_owned());
        }
    }
    Dataset::Classes {
        examples,
        multi_label: true,
    }
}

/// Pairs that are alike where both speak of the same thing.
pub fn scores(count: usize) -> Dataset {
    let example = |i: usize| {
        let word = ANIMALS[i % 8];
        let other = if i.is_multiple_of(2) {
            word
        } else {
            TOOLS[i / 2 % 8]
        };
        ScoreExample {
            line: i + 1,
            text: format!("There is a {word}."),
            text_pair: Some(format!("I see the {other}.")),
            score: if i.is_multiple_of(2) { 5.0 } else { 0.0 },
        }
    };
    Dataset::Scores((0..count).map(example).collect())
}

/// Sentences whose place is tagged.
pub fn tags(count: usize) -> Dataset {
    let example = |i: usize| {
        let place = PLACES[i % 8];
        let text = format!("the {} is in the old {place} now", ANIMALS[i * 3 % 8]);
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let tag = |word: &String| match word.as_str() {
            "old" => "B-place",
            word if word == place => "I-place",
            _ => "O",
        };
        let tags = words.iter().map(|word| tag(word).to_owned()).collect();
        TagExample {
            line: i + 1,
            words,
            tags,
        }
    };
    Dataset::Tags((0..count).map(example).collect())
}

/// Questions about where an animal is.
pub fn questions(count: usize) -> Dataset {
    let example = |i: usize| {
        let (animal, place) = (ANIMALS[i % 8], PLACES[i * 3 % 8]);
        let context = format!("It was a fine day. The {animal} was in the {place} and slept.");
        QuestionExample {
            id: format!("q{i}"),
            question: format!("Where was the {animal}?"),
            answers: vec![AnswerText {
                text: place.to_owned(),
                start: context.find(place).expect("the place is there"),
            }],
            context,
            impossible: false,
        }
    };
    Dataset::Questions((0..count).map(example).collect())
}

/// Choices of which one names an animal.
pub fn choices(count: usize) -> Dataset {
    let example = |i: usize| ChoiceExample {
        line: i + 1,
        context: "Somebody slept in the garden.".to_owned(),
        question: "It was a _ .".to_owned(),
        choices: match i % 2 {
            0 => vec![ANIMALS[i / 2 % 8].to_owned(), TOOLS[i / 2 % 8].to_owned()],
            _ => vec![TOOLS[i / 2 % 8].to_owned(), ANIMALS[i / 2 % 8].to_owned()],
        },
        answer: i % 2,
    };
    Dataset::Choices((0..count).map(example).collect())
}

/// Options over data in memory; `recipe` is TOML.
pub fn options(
    task: Task,
    train: Dataset,
    dev: Dataset,
    recipe: &str,
    output: &Path,
) -> FinetuneOptions {
    let source = |name: &str, data| Source {
        path: name.into(),
        data,
    };
    FinetuneOptions {
        task,
        model: mini(),
        train: vec![source("train.jsonl", train)],
        dev: source("dev.jsonl", dev),
        format: Some(Format::Jsonl),
        recipe: FinetuneRecipe::parse(recipe).expect("a recipe"),
        starts: Starts::Pretrained,
        output: output.to_owned(),
        difference: false,
        dtype: DType::F32,
        resume: false,
    }
}

/// Runs to the end.
pub fn run(options: &FinetuneOptions) -> Result<Report> {
    let report = finetune::<Cpu>(
        options,
        &Default::default(),
        &AtomicBool::new(false),
        &mut (),
    )?;
    Ok(report.expect("nothing stopped the run"))
}

/// Keeps what is told.
#[derive(Default)]
pub struct Told {
    pub notes: Vec<String>,
    pub rates: Vec<f64>,
}

impl FinetuneProgress for Told {
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn trial(&mut self, _trial: (usize, usize), rate: f64, _steps: u64) {
        self.rates.push(rate);
    }
}
