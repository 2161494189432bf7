//! Learns a vocabulary from lines of text on standard input:
//! `zstd -dc corpus.txt.zst | cargo run --release -p albert-text --example train -- 16000 OUT_FOLDER`

use std::io::BufRead;

use albert_text::{UnigramOptions, train_unigram};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(size), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: train VOCAB_SIZE OUT_FOLDER < LINES".into());
    };
    let options = UnigramOptions {
        vocab_size: size.parse()?,
        ..Default::default()
    };
    let lines = std::io::stdin().lock().lines().map_while(|line| {
        line.map_err(|error| eprintln!("standard input ends early: {error}"))
            .ok()
    });
    let start = std::time::Instant::now();
    let tokenizer = train_unigram(lines, &options, &mut |progress| {
        eprintln!("{:8.1} s  {progress:?}", start.elapsed().as_secs_f64());
    })?;
    println!("{}", tokenizer.save(folder)?.display());
    Ok(())
}
