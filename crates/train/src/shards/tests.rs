//! Shards hold what tokenising into memory gives, survive being stopped, and are refused when
//! anything about them is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert_text::{Tokenizer, UnigramOptions, train_unigram};

use super::*;
use crate::batches::{BatchSource, HostBatch, Masks, Position, Prepared};
use crate::corpus::{Corpus, Limits};
use crate::error::{Error, Result};
use crate::examples::{PairRules, SentenceTask};
use crate::masking::MaskRules;
use crate::random::{Random, SplitMix64};
use crate::start::tokenizer_checksum;
use crate::vocabulary::Vocabulary;

/// A folder with a tokenizer and room for corpora.
struct Home(tempfile::TempDir);

const WORDS: [&str; 12] = [
    "cat", "dog", "house", "river", "went", "slept", "the", "a", "near", "old", "green", "saw",
];

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a temporary folder"));
        let text = (0..300).map(|i| documents(1, i).concat());
        let options = UnigramOptions {
            vocab_size: 64,
            ..UnigramOptions::default()
        };
        let tokenizer = train_unigram(text, &options, &mut |_| {}).expect("a tokenizer");
        tokenizer.save(home.0.path()).expect("a saved tokenizer");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a written file");
        path
    }

    fn options(&self, corpus: &[PathBuf], output: &str) -> BuildOptions {
        BuildOptions {
            corpus: corpus.to_vec(),
            tokenizer: self.path("tokenizer.json"),
            output: self.path(output),
            shard_bytes: 40_000,
            max_bytes: None,
            drop_markup: true,
            threads: Some(2),
        }
    }

    fn open(&self, output: &str) -> Result<Shards> {
        let tokenizer = tokenizer_checksum(&self.path("tokenizer.json"))?;
        let pieces = Tokenizer::from_file(self.path("tokenizer.json"))?.vocab_size();
        Shards::open(&self.path(output), (tokenizer, pieces), 2)
    }

    /// Two files of two megabytes, one of each kind.
    fn large(&self) -> Vec<PathBuf> {
        let rows: String = documents(3_000, 1)
            .iter()
            .map(|text| format!("{{\"text\": {text:?}}}\n"))
            .collect();
        vec![
            self.write("large.txt", &documents(3_000, 2).join("\n\n")),
            self.write("large.jsonl", &rows),
        ]
    }
}

/// Texts of one to thirty sentences, each other than the rest.
fn documents(count: usize, seed: u64) -> Vec<String> {
    let mut random = SplitMix64::new(seed);
    let mut document = |number: usize| {
        let mut text = format!("Number {number} of {seed} went near the old house.");
        for _ in 0..random.below(30) {
            let words: Vec<&str> = (0..3 + random.below(12))
                .map(|_| WORDS[random.below(WORDS.len())])
                .collect();
            text += &format!(" The {}.", words.join(" "));
        }
        text
    };
    (0..count).map(&mut document).collect()
}

fn silent(options: &BuildOptions) -> Result<Built> {
    build(options, &mut |_| Ok(()))
}

/// The files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let bytes = std::fs::read(entry.path()).expect("a file");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

fn source(corpus: Corpus, tokenizer: &Tokenizer) -> BatchSource {
    BatchSource {
        documents: Arc::new((0..corpus.documents() as u32).collect()),
        corpus: Arc::new(corpus),
        vocabulary: Arc::new(Vocabulary::new(tokenizer)),
        pairs: PairRules {
            length: 64,
            short_share: 0.1,
            both_orders: false,
            task: SentenceTask::Order,
        },
        masks: Masks::Training(MaskRules {
            share: 0.15,
            max_words: 3,
            replaced: 0.8,
            random: 0.1,
        }),
        rows: 16,
        seed: 3,
    }
}

#[test]
fn shards_give_the_batches_that_the_corpus_in_memory_gives() {
    let home = Home::new();
    let paths = home.large();
    let built = silent(&home.options(&paths, "shards")).expect("a corpus");
    assert!(
        built.manifest.shards.len() > 10,
        "{:?}",
        built.manifest.shards.len()
    );

    let tokenizer = Tokenizer::from_folder(home.0.path()).expect("the tokenizer");
    let limits = Limits {
        max_documents: None,
        max_bytes: None,
        drop_markup: true,
    };
    let memory = Corpus::tokenise(&paths, &limits, &tokenizer, 2, &mut |_| Ok(())).expect("text");
    let mapped = Corpus::from(home.open("shards").expect("the shards"));
    let sizes = |corpus: &Corpus| (corpus.documents(), corpus.sentences(), corpus.pieces());
    assert_eq!(sizes(&memory), sizes(&mapped));
    for document in 0..memory.documents() {
        let sentences = memory.document(document);
        assert_eq!(sentences, mapped.document(document));
        for sentence in sentences.clone() {
            assert_eq!(memory.sentence_len(sentence), mapped.sentence_len(sentence));
        }
        assert_eq!(
            memory.sentence_pieces(sentences.clone()),
            mapped.sentence_pieces(sentences)
        );
    }
    let batches = |corpus: Corpus| -> Vec<HostBatch> {
        Prepared::new(source(corpus, &tokenizer), Position::default())
            .take(300)
            .collect::<Result<_>>()
            .expect("batches")
    };
    assert_eq!(batches(memory), batches(mapped));
}

#[test]
fn what_is_left_out_is_counted() {
    let home = Home::new();
    let kept = documents(5, 9);
    let markup = "{| style=x || [[File:a]] <br> The cat went. The dog slept.";
    let texts = [
        &kept[0],
        "Hello.",
        &kept[1],
        &kept[0],
        markup,
        "A cat slept here",
        markup,
        &kept[2],
    ];
    let first = home.write("first.txt", &texts.join("\n\n"));
    let second = home.write("second.txt", &[&*kept[1], "Hello.", &kept[3]].join("\n\n"));
    let third = home.write("third.jsonl", "{\"text\":\"\"}\n{\"paragraphs\":[]}\n");
    let options = home.options(&[first, second, third], "shards");
    let manifest = silent(&options).expect("a corpus").manifest;
    let counts = manifest.counts;
    let left_out = (counts.duplicates, counts.near_empty, counts.markup);
    assert_eq!((counts.documents, left_out), (5, (4, 3, 1)), "{counts:?}");
    let shards = home.open("shards").expect("the shards");
    assert_eq!((shards.documents(), Corpus::from(shards).dropped()), (5, 1));

    let keeping = BuildOptions {
        drop_markup: false,
        output: home.path("keeping"),
        ..options.clone()
    };
    let counts = silent(&keeping).expect("a corpus").manifest.counts;
    assert_eq!((counts.documents, counts.markup), (6, 0));
    let limited = BuildOptions {
        max_bytes: Some(1),
        output: home.path("limited"),
        ..options
    };
    let counts = silent(&limited).expect("a corpus").manifest.counts;
    assert_eq!(
        (counts.documents, counts.duplicates),
        (2, 0),
        "one of each file"
    );
}

#[test]
fn a_build_that_was_stopped_goes_on_to_the_same_bytes() {
    let home = Home::new();
    let paths = home.large();
    let whole = silent(&home.options(&paths, "whole")).expect("a corpus");
    let expected = files(&home.path("whole"));
    assert!(expected.contains_key("index.json") && !expected.contains_key("progress.json"));

    let mut stopped = 0;
    let mut caught_up = false;
    let last = loop {
        let options = BuildOptions {
            threads: Some(1 + stopped % 3),
            ..home.options(&paths, "parts")
        };
        let mut shards_worth = 0;
        let outcome = build(&options, &mut |report| {
            caught_up |= report.phase == BuildPhase::CatchingUp;
            shards_worth = report.text_bytes;
            match report.text_bytes > 500_000 {
                true => Err(Error::Interrupted),
                false => Ok(()),
            }
        });
        match outcome {
            Ok(built) => break built,
            Err(Error::Interrupted) => stopped += 1,
            Err(error) => panic!("{error}"),
        }
        let progress = inspect(&home.path("parts"), 2).expect("a part of a corpus");
        assert!(progress.next.is_some());
        assert!(
            home.open("parts")
                .expect_err("a part")
                .to_string()
                .contains("not finished")
        );
        // What a killed program leaves.
        home.write("parts/.albert-x.part", "half a shard");
        let next = format::shard_name(progress.shards.len());
        home.write(&format!("parts/{next}"), "a shard that was not noted down");
    };
    assert!(stopped >= 3, "stopped {stopped} times");
    assert!(last.shards_before > 0 && last.text_bytes < whole.text_bytes);
    assert_eq!(files(&home.path("parts")), expected);

    home.write("parts/progress.json", "left behind");
    let again = silent(&home.options(&paths, "parts")).expect("the same corpus");
    assert!(again.was_finished && again.manifest == last.manifest);
    assert_eq!(files(&home.path("parts")), expected);
}

#[test]
fn other_inputs_and_options_are_refused_by_name() {
    let home = Home::new();
    let paths = home.large();
    let options = home.options(&paths, "shards");
    let outcome = build(&options, &mut |report| match report.text_bytes > 300_000 {
        true => Err(Error::Interrupted),
        false => Ok(()),
    });
    assert!(matches!(outcome, Err(Error::Interrupted)));
    let refused = |options: &BuildOptions, named: &[&str]| {
        let message = silent(options).expect_err("a refusal").to_string();
        for name in named {
            assert!(message.contains(name), "{name} is not in: {message}");
        }
    };
    let mut other = options.clone();
    other.shard_bytes += 1;
    refused(&other, &["shards: ", "bytes a shard", "40000", "40001"]);
    other = options.clone();
    other.max_bytes = Some(5);
    refused(&other, &["limit", "none", "5"]);
    other = options.clone();
    other.drop_markup = false;
    refused(&other, &["markup", "left out", "kept"]);
    other = options.clone();
    other.corpus.pop();
    refused(&other, &["2 corpus files, not 1"]);
    other = options.clone();
    other.corpus.reverse();
    refused(&other, &["large.jsonl: not what the corpus"]);
    let tokenizer = std::fs::read_to_string(home.path("tokenizer.json")).expect("a tokenizer");
    other = options.clone();
    other.tokenizer = home.write("other.json", &format!("{tokenizer}\n"));
    refused(&other, &["shards: ", "another tokenizer"]);

    // As long as before, changed behind what was read.
    let text = std::fs::read_to_string(&paths[1]).expect("a corpus");
    let at = text.rfind("old").expect("a word");
    home.write(
        "large.jsonl",
        &format!("{}new{}", &text[..at], &text[at + 3..]),
    );
    refused(
        &options,
        &["large.jsonl: not what the corpus", "begun with"],
    );
    home.write("large.jsonl", &text[..text.len() / 2]);
    refused(&options, &["large.jsonl: not what the corpus"]);
    home.write("large.jsonl", &text);
    silent(&options).expect("the corpus, with the old file back");
    home.write("large.jsonl", "");
    refused(&options, &["large.jsonl"]);

    std::fs::create_dir(home.path("foreign")).expect("a folder");
    home.write("foreign/thesis.txt", "mine");
    refused(&home.options(&paths, "foreign"), &["foreign: is not empty"]);
}

#[test]
fn damaged_shards_are_refused_by_name() {
    let home = Home::new();
    let corpus = home.write("corpus.txt", &documents(400, 4).join("\n\n"));
    let options = home.options(&[corpus], "shards");
    silent(&options).expect("a corpus");
    let name = "shards/shard-00001.bin";
    let whole = std::fs::read(home.path(name)).expect("a shard");
    let refused = |named: &[&str]| {
        for message in [
            home.open("shards").expect_err("a refusal").to_string(),
            inspect(&home.path("shards"), 1)
                .expect_err("a refusal")
                .to_string(),
            silent(&options).expect_err("a refusal").to_string(),
        ] {
            for name in named {
                assert!(message.contains(name), "{name} is not in: {message}");
            }
        }
    };
    let put = |bytes: &[u8]| std::fs::write(home.path(name), bytes).expect("a written shard");
    let mut random = SplitMix64::new(8);
    let spots = (0..whole.len()).step_by(997).chain(0..80);
    for at in spots.chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.below(8);
        put(&bytes);
        refused(&["shard-00001.bin: "]);
    }
    for length in [0, 10, 64, whole.len() / 2, whole.len() - 1] {
        put(&whole[..length]);
        refused(&["shard-00001.bin: truncated"]);
    }
    put(&[&whole[..], &[0]].concat());
    refused(&["shard-00001.bin: damaged"]);
    // Whole, but another.
    put(&std::fs::read(home.path("shards/shard-00000.bin")).expect("a shard"));
    refused(&["shard-00001.bin: "]);
    std::fs::remove_file(home.path(name)).expect("a removed shard");
    refused(&["shard-00001.bin"]);
    put(&whole);
    home.open("shards").expect("the shards, whole again");
    let error = Shards::open(&home.path("shards"), (5, 1), 1).expect_err("another tokenizer");
    assert!(
        error
            .to_string()
            .contains("index.json: these shards were made with another tokenizer")
    );

    let index = std::fs::read_to_string(home.path("shards/index.json")).expect("an index");
    for (from, to, named) in [
        ("shard-00001.bin", "../../etc/passwd", "is called"),
        ("\"format\": 1", "\"format\": 9", "format 9"),
        ("\"counts\"", "\"amounts\"", "damaged"),
        ("{", "", "damaged"),
    ] {
        home.write("shards/index.json", &index.replacen(from, to, 1));
        refused(&["index.json: ", named]);
    }
    let (from, to) = ("\"vocab_size\": ", "\"vocab_size\": 9");
    home.write("shards/index.json", &index.replacen(from, to, 1));
    let error = home.open("shards").expect_err("more pieces").to_string();
    assert!(
        error.contains("index.json: `setup.vocab_size` is 9"),
        "{error}"
    );
    let message = inspect(home.0.path(), 1)
        .expect_err("no corpus")
        .to_string();
    assert!(message.contains("no corpus in this folder"), "{message}");
}

#[test]
fn a_failed_start_leaves_nothing_behind() {
    let home = Home::new();
    let long = home.write("long.txt", &"The cat slept.\n".repeat(5_000_000));
    for (corpus, named) in [
        (
            home.write("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": 1}\n"),
            "bad.jsonl: line 2",
        ),
        (home.write("empty.txt", "\n\n"), "empty"),
        (home.write("short.txt", "Hello.\n\nYes."), "empty"),
        (home.path("none.txt"), "none.txt"),
        (home.write("text.pdf", "a"), "text.pdf"),
        (long, "a document of more than 64 MB"),
    ] {
        let message = silent(&home.options(&[corpus], "out"))
            .expect_err("an error")
            .to_string();
        assert!(message.contains(named), "{named} is not in: {message}");
        assert!(!home.path("out").exists(), "{named}");
    }
}

#[test]
fn headers_are_read_back_or_refused() {
    let header = format::Header {
        width: 2,
        pieces: 7,
        sentences: 3,
        documents: 1,
        tokenizer: 0x1234,
        checksum: u64::MAX,
    };
    let bytes = header.to_bytes();
    assert_eq!(format::Header::parse(&bytes), Ok(header));
    let (layout, length) = header.layout().expect("a layout");
    assert_eq!((layout.pieces, length), (80..94, 94));
    for at in 0..bytes.len() {
        let mut bytes = bytes;
        bytes[at] ^= 4;
        assert!(format::Header::parse(&bytes).is_err(), "{at}");
    }
    assert!(format::Header::parse(&bytes[..63]).is_err());
    let huge = format::Header {
        pieces: u64::MAX / 2 + 1,
        ..header
    };
    assert_eq!(huge.layout(), None);
}
