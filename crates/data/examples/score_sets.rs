//! Scores sets of predictions, for `golden/data/metrics.py` to hold against other programs.
//!
//! Reads JSON objects from the standard input, one a line, each with a `kind` and what belongs to
//! it, and writes the scores of each as one.

#[path = "../tests/common/sets.rs"]
mod sets;

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let set: sets::Set = serde_json::from_str(&line?)?;
        writeln!(out, "{}", sets::scores(&set))?;
    }
    Ok(())
}
