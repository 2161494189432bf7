//! `albert tokenizer train`.

use std::cell::{Cell, RefCell};

use albert_tasks::text::{TrainProgress, UnigramOptions, train_unigram};
use albert_train::documents::Documents;
use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::args::TokenizerTrainArgs;
use crate::output;
use crate::progress::Steps;

pub fn run(args: TokenizerTrainArgs) -> Result<()> {
    let target = args.output.join("tokenizer.json");
    if target.exists() {
        bail!("{}: exists already; name another folder", target.display());
    }
    // Before the work, so that a folder that cannot be written costs none.
    std::fs::create_dir_all(&args.output).with_context(|| args.output.display().to_string())?;
    let options = UnigramOptions {
        vocab_size: args.vocab_size as usize,
        max_bytes: args.sample_mb as usize * 1_000_000,
        ..UnigramOptions::default()
    };
    // The trainer takes plain texts; the first reading error ends them and is reported after.
    let failed = RefCell::new(None);
    let dropped = Cell::new(0u64);
    let texts = args
        .corpus
        .iter()
        .flat_map(|path| {
            let (documents, error) = match Documents::open(path) {
                Ok(documents) => (Some(documents), None),
                Err(error) => (None, Some(Err(error))),
            };
            documents.into_iter().flatten().chain(error)
        })
        .map_while(|document| match document {
            Ok(document) => Some(document),
            Err(error) => {
                *failed.borrow_mut() = Some(error);
                None
            }
        })
        .filter(|document| {
            let markup = document.is_markup();
            dropped.set(dropped.get() + u64::from(markup));
            !markup
        })
        .flat_map(|document| document.paragraphs);

    let mut steps = Steps::new();
    let trained = train_unigram(texts, &options, &mut |progress| match progress {
        TrainProgress::Reading { texts, bytes } => {
            steps.show(&format!(
                "reading: {texts} paragraphs, {}",
                output::bytes(bytes)
            ));
        }
        TrainProgress::Counting { done, total } => {
            steps.show(&format!("counting words: {}%", 100 * done / total.max(1)));
        }
        TrainProgress::Seeding { words, alphabet } => {
            steps.show(&format!(
                "finding candidates in {words} words of {alphabet} letters"
            ));
        }
        TrainProgress::Estimating { pieces, target } => {
            steps.show(&format!(
                "estimating: {pieces} pieces left of {target} wanted"
            ));
        }
    });
    steps.finish();
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    let tokenizer = trained?;
    let path = tokenizer.save(&args.output)?;
    if args.json {
        let pieces = tokenizer.vocab_size();
        return output::json(
            &json!({ "tokenizer": path, "vocab_size": pieces, "dropped": dropped.get() }),
        );
    }
    output::line(&format!(
        "{} pieces in {}",
        tokenizer.vocab_size(),
        path.display()
    ))
}
