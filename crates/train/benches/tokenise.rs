//! Text to ids, in megabytes of text a second: the `tokenizers` crate by itself and this project's
//! ways, in turn in one run.
//!
//! `cargo bench -p albert-train --bench tokenise -- CORPUS TOKENIZER [MEGABYTES] [THREADS]`

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use albert_text::{IdEncoder, Tokenizer, sentences};
use albert_train::Documents;
use albert_train::corpus::{Corpus, Limits};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut given = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (Some(corpus), Some(file)) = (given.next(), given.next()) else {
        println!("skipped: give CORPUS TOKENIZER [MEGABYTES] [THREADS]");
        return Ok(());
    };
    let (corpus, file) = (PathBuf::from(corpus), PathBuf::from(file));
    let megabytes: u64 = given.next().map_or(Ok(50), |text| text.parse())?;
    let threads: usize = given.next().map_or(Ok(2), |text| text.parse())?;

    let start = Instant::now();
    let (mut paragraphs, mut bytes) = (Vec::new(), 0);
    for document in Documents::open(&corpus)? {
        let document = document?;
        bytes += document.bytes() as u64;
        paragraphs.extend(document.paragraphs);
        if bytes >= megabytes * 1_000_000 {
            break;
        }
    }
    let all: Vec<&str> = paragraphs
        .iter()
        .flat_map(|text| sentences(text).into_iter().map(|range| &text[range]))
        .collect();
    println!(
        "{:.1} MB of text in {} sentences, read in {:.2} s; {threads} threads",
        bytes as f64 / 1e6,
        all.len(),
        start.elapsed().as_secs_f64()
    );
    let tokenizer = open(&file)?;
    let json = tokenizer_json(&file);
    for round in 1..=3 {
        println!("round {round}");
        rate("  cutting into sentences", bytes, || {
            on_threads(threads, &paragraphs, || {
                |text: &String| Ok(sentences(text).len())
            })
        })?;
        let crates = match &json {
            Some(json) => {
                let theirs = tokenizers::Tokenizer::from_file(json)?;
                let seconds = rate("  tokenizers, encode_fast", bytes, || {
                    on_threads(threads, &all, || {
                        |text: &&str| Ok(theirs.encode_fast(*text, false)?.len())
                    })
                })?;
                Some(seconds)
            }
            None => None,
        };
        rate("  ours, tokens", bytes, || {
            on_threads(threads, &all, || {
                |text: &&str| Ok(tokenizer.tokens(text, false)?.len())
            })
        })?;
        let seconds = rate("  ours, IdEncoder", bytes, || {
            on_threads(threads, &all, || {
                let mut encoder = IdEncoder::new(&tokenizer);
                let mut ids = Vec::new();
                move |text: &&str| {
                    ids.clear();
                    encoder.encode(text, &mut ids)?;
                    Ok(ids.len())
                }
            })
        })?;
        if let Some(theirs) = crates {
            println!("  IdEncoder / tokenizers: {:.1}", theirs / seconds);
        }
        rate("  ours, file to corpus in memory", bytes, || {
            let limits = Limits {
                max_documents: None,
                max_bytes: Some(megabytes * 1_000_000),
                drop_markup: false,
            };
            let paths = std::slice::from_ref(&corpus);
            let corpus = Corpus::tokenise(paths, &limits, &tokenizer, threads, &mut |_| Ok(()))?;
            Ok(corpus.pieces())
        })?;
    }
    Ok(())
}

fn open(file: &Path) -> Outcome<Tokenizer> {
    Ok(match file.is_dir() {
        true => Tokenizer::from_folder(file)?,
        false => Tokenizer::from_file(file)?,
    })
}

/// The file that the `tokenizers` crate can read, if there is one.
fn tokenizer_json(file: &Path) -> Option<PathBuf> {
    let json = match file.is_dir() {
        true => file.join("tokenizer.json"),
        false => file.to_owned(),
    };
    let named = json.extension().is_some_and(|name| name == "json");
    (named && json.exists()).then_some(json)
}

/// Prints a rate and what `work` counted; returns its seconds.
fn rate(what: &str, bytes: u64, work: impl FnOnce() -> Outcome<usize>) -> Outcome<f64> {
    let start = Instant::now();
    let counted = work()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {:.1} MB/s ({counted})",
        bytes as f64 / 1e6 / seconds
    );
    Ok(seconds)
}

/// The sum of what `start`'s function gives for every item, the items shared out to threads.
fn on_threads<T: Sync, F: FnMut(&T) -> Outcome<usize>>(
    threads: usize,
    items: &[T],
    start: impl Fn() -> F + Sync,
) -> Outcome<usize> {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Ok(0)));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut work = start();
                let mut share = || -> Outcome<usize> {
                    let mut sum = 0;
                    loop {
                        let from = next.fetch_add(64, Ordering::Relaxed);
                        if from >= items.len() {
                            return Ok(sum);
                        }
                        for item in &items[from..(from + 64).min(items.len())] {
                            sum += work(item)?;
                        }
                    }
                };
                let found = share();
                if let Ok(mut sum) = sum.lock() {
                    *sum = match (std::mem::replace(&mut *sum, Ok(0)), found) {
                        (Ok(before), Ok(found)) => Ok(before + found),
                        (Err(error), _) | (_, Err(error)) => Err(error),
                    };
                }
            });
        }
    });
    sum.into_inner().unwrap_or(Ok(0))
}
